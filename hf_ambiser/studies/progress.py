"""One progress bar over the cells of a study; its estimate of the time left says how many cells it is based on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from statistics import mean

from tqdm import tqdm

from hf_ambiser.run_folder.attempts import FINISHED, Attempts
from hf_ambiser.studies.cells import Cell


class StudyBar:
    """Counts finished cells, no matter who runs them; the time estimate uses only cells that a runner finished.

    Args:
        cells: All cells of this call.
        jobs: Number of cells at a time.
        stale: See `attempts.STALE`.
        show: Whether to show a bar.
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
        """Show the bar, with the cells that are already finished."""
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
        """Advance to the number of finished cells; redraw only if the text changed."""
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
        """Close the bar; its last state stays visible."""
        if self.bar is not None:
            self.bar.close()

    def _look(self) -> None:
        self._finished |= {cell.key for cell in self.cells if cell.key not in self._finished and cell.finished}

    def seconds(self, cell: Cell) -> float | None:
        """Return the seconds of a finished cell over all its attempts; None if no runner finished it."""
        if cell.key not in self._seconds:
            attempts = Attempts(cell.attempts, self.stale).all()
            if not attempts or attempts[-1].outcome != FINISHED:
                return None
            self._seconds[cell.key] = sum(attempt.seconds for attempt in attempts)
        return self._seconds[cell.key]

    def time_left(self, failed: Collection[str] = ()) -> str:
        """Estimate the time of the remaining cells from finished cells of the same system, or else of any system.

        It names the systems that no finished cell is of: their cells may cost a hundred times as much.
        """
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
        unknown = [system for system in dict.fromkeys(cell.system for cell in left) if system not in known]
        others = f" and {len(unknown) - 1} more" if unknown[1:] else ""
        none_of = f", none of {unknown[0]}{others}" if unknown else ""
        return f"about {duration(total / self.jobs)} left (from {count} finished{none_of})"


def duration(seconds: float) -> str:
    """Write seconds as `45 s`, `12 min`, `3.5 h` or `4.2 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
