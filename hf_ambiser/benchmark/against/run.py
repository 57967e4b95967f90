"""The rows of the side-by-side benchmark, one after another; each finished row is kept, and a stopped run goes on."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from hf_ambiser.benchmark.against import answers, training
from hf_ambiser.benchmark.against.models import BUILDERS, SameEncoder
from hf_ambiser.benchmark.against.operators import operators
from hf_ambiser.benchmark.against.rows import FASTER, NO_SLOWER, Measured, Settings, reached
from hf_ambiser.benchmark.against.speech import Speech
from hf_ambiser.benchmark.against.turns import Ratio, ratio_of
from hf_ambiser.benchmark.grid import device_name
from hf_ambiser.benchmark.kept_rows import kept_rows
from hf_ambiser.run_folder.layout import write_whole
from hf_ambiser.runs.environment import describe_environment
from hf_ambiser.untrusted.printed import in_one_line


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        name: As `--rows` takes it; a dash divides what is measured from the encoder or method.
        what: In words.
        encoder: Of the models, a key of `BUILDERS`.
        measure: Does it.
        goal: What the ratio should reach (`FASTER`), or not pass (`NO_SLOWER`); None: nothing is compared.
        ratio: What the ratio means.
    """

    name: str
    what: str
    encoder: str
    measure: Callable[[SameEncoder, Settings], Measured]
    goal: float | None = None
    ratio: str = FASTER


def _rows() -> Iterator[Row]:
    for encoder in BUILDERS:
        yield Row(f"files-{encoder}", "files to answers, mixed lengths", encoder, answers.files, 2.0)
    for encoder in BUILDERS:
        same = "files to answers, mixed lengths, one classifier"
        yield Row(f"same-{encoder}", same, encoder, lambda pair, s: answers.files(pair, s, same_model=True), 2.0)
    for encoder in BUILDERS:
        yield Row(f"single-{encoder}", "one utterance at a time", encoder, answers.single, 1.05, NO_SLOWER)
    for encoder in BUILDERS:
        mixed: Any = lambda pair, s: training.against_trainer(pair, s, mixed=True)  # noqa: E731
        yield Row(f"mixed-{encoder}", "training, mixed lengths", encoder, mixed, 1.3)
    for encoder in BUILDERS:
        similar: Any = lambda pair, s: training.against_trainer(pair, s, mixed=False)  # noqa: E731
        yield Row(f"similar-{encoder}", "training, similar lengths", encoder, similar, 1.0)
    for method in training.METHODS:
        corrected: Any = lambda pair, s, method=method: training.correction(pair, s, method)  # noqa: E731
        yield Row(f"correction-{method}", f"correction: `{method}`", "whisper", corrected, 1.03, NO_SLOWER)
    yield Row("bfloat16-whisper", "training under bfloat16 autocast", "whisper", training.bfloat16, 2.0)
    yield Row("stream-whisper", "a stream of chunks", "whisper", answers.stream)


ROWS = {row.name: row for row in _rows()}


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Args:
        rows: Names of rows, or how they begin ("files" for all of them); empty: all.
        seconds: No round of a row begins after so many seconds.
        quick: Tiny random models, four utterances, two rounds: to see that it runs. Its figures mean nothing.
        profile: Whether the operators of every row are listed, and not only of rows that missed their goal.
        threads: Number of torch's threads; None: torch's choice.
    """

    rows: Sequence[str] = field(default=())
    seconds: float = 25.0
    quick: bool = False
    profile: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise ValueError(f"seconds {self.seconds} must be a number above 0.")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads {self.threads} must be 1 or more.")
        for name in self.rows:
            if not _named(name):
                raise ValueError(f"rows {name!r} is not one of {sorted(ROWS)}, nor how some of them begin.")

    def chosen(self) -> list[Row]:
        """Return the rows in the order of the table."""
        names = {row.name for name in self.rows for row in _named(name)} if self.rows else ROWS.keys()
        return [row for row in ROWS.values() if row.name in names]

    def settings(self) -> Settings:
        """Return how a row measures."""
        if self.quick:
            return Settings(Speech.find(16), seconds=0.01, least=2, lengths=(0.3, 0.9), few=4)
        return Settings(Speech.find(64), self.seconds, least=3, lengths=(1.0, 12.0))


def _named(name: str) -> list[Row]:
    return [row for row in ROWS.values() if row.name == name or row.name.startswith(f"{name}-")]


def run_against(wanted: Wanted, out: Path | None = None) -> list[dict[str, Any]]:
    """Measure rows one after another, in this process, on the CPU.

    Args:
        wanted: Which rows, and how.
        out: JSON file of `environment`, `settings` and `rows`, written whole after every row. Rows that it already
            has from the same environment and settings are not measured again; failed ones are.

    Returns:
        One dict per row: `row` (its name), `what`, `encoder`, `other`, `goal`, `meaning`, `utterances` (of a round),
        `wall_s` and `cpu_s` (way -> seconds of each round), `ratio` and `cpu_ratio` (value, low, high; of wall and of
        processor times), `note`, `figures`, `operators`; or `row`, `what` and `error`.

    Raises:
        ValueError: If there is no such row, too little speech, or `out` was measured elsewhere or otherwise.
    """
    environment = {**describe_environment(), "device": device_name(torch.device("cpu"))}
    settings = wanted.settings()
    about = {"seconds": wanted.seconds, "quick": wanted.quick, "speech": settings.speech.source}
    with _quiet(), _threads(wanted.threads):
        environment["threads"] = torch.get_num_threads()
        rows = kept_rows(out, {"environment": environment, "settings": about}, {"row": str})
        pair = cache(lambda encoder: BUILDERS[encoder](wanted.quick))
        answer = []
        for row in (bar := tqdm(wanted.chosen(), desc="side by side", unit="row", dynamic_ncols=True)):
            bar.set_postfix_str(row.name)
            found = next((one for one in rows if one["row"] == row.name), None)
            if found is None:
                found = _measured(row, pair, settings, wanted.profile)
                rows.append(found)
                if out is not None:
                    write_whole(
                        out, json.dumps({"environment": environment, "settings": about, "rows": rows}, indent=1)
                    )
            answer.append(found)
    return answer


def _measured(row: Row, pair: Callable[[str], SameEncoder], settings: Settings, profile: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"row": row.name, "what": row.what}
    try:
        with tempfile.TemporaryDirectory() as folder:
            measured = row.measure(pair(row.encoder), replace(settings, folder=Path(folder)))
            said |= _said(row, measured)
            if measured.ways and (profile or not (settings.few or reached(said))):
                said["operators"] = {way: operators(once) for way, once in measured.ways.items()}
    except Exception as error:
        return {"row": row.name, "what": row.what, "error": f"{type(error).__name__}: {in_one_line(error, 300)}"[:300]}
    return said


def _said(row: Row, measured: Measured) -> dict[str, Any]:
    said: dict[str, Any] = {
        "encoder": measured.encoder,
        "other": measured.other,
        "goal": row.goal,
        "meaning": row.ratio,
        "utterances": measured.utterances,
        "wall_s": {way: [spent.wall for spent in rounds] for way, rounds in measured.rounds.items()},
        "cpu_s": {way: [spent.cpu for spent in rounds] for way, rounds in measured.rounds.items()},
        "note": measured.note,
        "figures": measured.figures,
    }
    if row.goal is not None:
        said["ratio"], said["cpu_ratio"] = (asdict(_ratio(said[which], row.ratio)) for which in ("wall_s", "cpu_s"))
    return said


def _ratio(seconds: dict[str, list[float]], meaning: str) -> Ratio:
    ours, other = seconds.values()
    return ratio_of(other, ours) if meaning == FASTER else ratio_of(ours, other)


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from saying that its pipeline does not know our classifier, and from drawing bars."""
    from transformers.utils import logging as theirs

    before, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(before)
        if bars:
            theirs.enable_progress_bar()
