"""One process at a time in a run folder: a second one is refused while the first lives."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hf_ambiser.run_folder.attempts import BEAT, FAILED, FINISHED, INTERRUPTED, STALE, Attempt, Attempts
from hf_ambiser.run_folder.layout import RunFolder


logger = logging.getLogger(__name__)
_LOOK = 0.5  # seconds between two looks at a holder on another machine


@contextmanager
def held(run: Path, beat: float = BEAT, stale: float = STALE) -> Iterator[None]:
    """Hold a run folder while the block runs. A process that dies lets go of it, however it dies.

    A holder on another machine is watched for a sign of life, for at most `stale` seconds.

    Args:
        run: The run folder; it is made.
        beat: See `attempts.BEAT`.
        stale: See `attempts.STALE`.

    Raises:
        ValueError: If another process works in the folder.
    """
    attempts = Attempts(RunFolder(run).attempts, stale)
    attempt = _take(attempts, run)
    outcome, error = INTERRUPTED, ""
    try:
        with attempts.alive(attempt, beat):
            yield
        outcome = FINISHED
    except Exception as reason:
        outcome, error = FAILED, f"{type(reason).__name__}: {' '.join(str(reason).split())}"
        raise
    finally:
        with suppress(OSError):  # on a full disk the error that matters is the block's
            attempts.end(attempt, outcome, error)


def _take(attempts: Attempts, run: Path) -> Attempt:
    first: Attempt | None = None
    while True:
        last = attempts.last()
        if not attempts.is_held(last):
            mine = attempts.take(dead=last)
            if mine is not None:
                return mine
            continue  # another process was faster, or the holder has just given a sign of life
        assert last is not None
        if attempts.is_here(last) or (first is not None and last != first):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last.started))
            raise ValueError(
                f"process {last.pid} on {last.host.partition(' ')[0]} works in {run} since {since}. Wait until it has"
                " ended, or give another output_dir."
            )
        if first is None:
            first = last
            logger.warning(
                "%s was being trained on %s, where this process cannot look. Waiting for a sign of life, for at most"
                " %.0f seconds.",
                run,
                last.host.partition(" ")[0] or "another machine",
                attempts.stale,
            )
        time.sleep(min(_LOOK, attempts.stale / 10))
