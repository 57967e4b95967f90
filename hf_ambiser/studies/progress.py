"""One progress bar over the cells of a study, with an estimate of the time left that says what it rests on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from statistics import mean

from tqdm import tqdm

from hf_ambiser.studies.attempts import FINISHED, Attempts
from hf_ambiser.studies.cells import Cell


class StudyBar:
    """Counts finished cells, whoever runs them; the estimate knows only what cells took that were run to their end.

    Args:
        cells: All cells of this call.
        jobs: Cells at a time.
        stale: See `attempts.STALE`.
        show: Whether there is a bar at all.
    """

    def __init__(self, cells: Sequence[Cell], jobs: int, stale: float, show: bool = True) -> None:
        self.cells = list(cells)
        self.jobs = jobs
        self.stale = stale
        self.show = show
        self.bar: tqdm | None = None
        self._seconds: dict[str, float] = {}
        self._finished: set[str] = set()
        self._shown = ""

    def open(self) -> None:
        """Show it, with what is finished already."""
        self._look()
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} cells, {elapsed}{postfix}"
        self.bar = tqdm(
            total=len(self.cells),
            initial=len(self._finished),
            bar_format=form,
            dynamic_ncols=True,
            disable=not self.show,
        )

    def update(self, running: Iterable[Cell], failed: Collection[str]) -> None:
        """Move to what is finished now; written anew only where it says something new."""
        if self.bar is None or self.bar.disable:
            return
        self._look()
        self.bar.n = len(self._finished)
        words = [
            self.time_left(failed),
            *([f"{len(failed)} failed"] if failed else []),
            *(cell.key for cell in running),
        ]
        shown = f"{self.bar.n} {'; '.join(words)}"
        if shown != self._shown:
            self.bar.set_postfix_str("; ".join(words))
            self._shown = shown

    def close(self) -> None:
        """Leave it as it is."""
        if self.bar is not None:
            self.bar.close()

    def _look(self) -> None:
        self._finished |= {cell.key for cell in self.cells if cell.key not in self._finished and cell.finished}

    def seconds(self, cell: Cell) -> float | None:
        """What a finished cell took over all attempts at it; None where it was not run to its end by a runner."""
        if cell.key not in self._seconds:
            attempts = Attempts(cell.attempts, self.stale).all()
            if not attempts or attempts[-1].outcome != FINISHED:
                return None
            self._seconds[cell.key] = sum(attempt.seconds for attempt in attempts)
        return self._seconds[cell.key]

    def time_left(self, failed: Collection[str] = ()) -> str:
        """Cells to go at what finished cells of the same system took (of any system where there are none)."""
        known: dict[str, list[float]] = {}
        for cell in self.cells:
            if cell.key in self._finished and (seconds := self.seconds(cell)) is not None:
                known.setdefault(cell.system, []).append(seconds)
        if not known:
            return "time left not known before the first cell is finished"
        overall = mean(value for values in known.values() for value in values)
        left = [cell for cell in self.cells if cell.key not in self._finished and cell.key not in failed]
        total = sum(mean(known[cell.system]) if cell.system in known else overall for cell in left)
        count = sum(map(len, known.values()))
        return f"about {duration(total / self.jobs)} left (from {count} finished)"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `4.2 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
