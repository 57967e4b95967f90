"""Two or more ways to do the same work, timed in turns, and the ratio of their times with its interval."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Spent:
    """What a piece of work took.

    Args:
        wall: Seconds that passed.
        cpu: Seconds of processor time of this process, over all its threads. A machine that also does other work
            makes `wall` longer, and this hardly.
    """

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)


class Clock:
    """Runs from when it is made; it can be read more than once."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Spent:
        """Return what has been spent so far."""
        return Spent(time.perf_counter() - self._wall, time.process_time() - self._cpu)


def in_turns(
    ways: Mapping[str, Callable[[], Spent]], seconds: float, least: int, most: int = 50
) -> dict[str, list[Spent]]:
    """Do the work in each way, again and again in the same order: A B A B ..., so that a slow minute hits both.

    Args:
        ways: Name -> does the work once, and says what it took.
        seconds: No round begins after so many seconds have passed, setting up included.
        least: Rounds that there are however long they take.
        most: Rounds after which it ends.

    Returns:
        Name -> what each round took.
    """
    start, taken = time.perf_counter(), {name: list[Spent]() for name in ways}
    for done in range(most):
        if done >= least and time.perf_counter() - start >= seconds:
            break
        for name, once in ways.items():
            taken[name].append(once())
    return taken


@dataclass(frozen=True)
class Ratio:
    """How many times as long one way takes as another.

    Args:
        value: Geometric mean of the ratios of the rounds.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def ratio_of(these: Sequence[float], those: Sequence[float]) -> Ratio:
    """Divide the times of each round, and average: each round is one pair, measured side by side.

    The interval is Student's t on the logarithms of the ratios. Few rounds or a noisy machine make it wide.

    Args:
        these: Seconds of each round.
        those: Seconds of the same rounds in the other way; at least two rounds, all above 0.

    Raises:
        ValueError: If there are fewer than two rounds, or not as many of both.
    """
    if len(these) != len(those) or len(these) < 2:
        raise ValueError(f"{len(these)} and {len(those)} rounds; allowed: the same number of both, 2 or more.")
    logs = [math.log(a / b) for a, b in zip(these, those, strict=True)]
    mean, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    reach = float(stats.t.ppf(0.975, len(logs) - 1)) * error
    return Ratio(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))
