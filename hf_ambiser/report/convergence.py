"""Had the systems converged? A rule, and what it says of each system, from the validation curves of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from hf_ambiser.metrics.display import SCORES
from hf_ambiser.report.groups import Group
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


# A curve is read in fifths: long enough to average over the noise of single evaluations, short enough to be its end.
FIFTHS = 5
# With fewer, a fifth would be a single evaluation, which shows no swing.
LEAST_EVALUATIONS = 2 * FIFTHS
# Of a JS of .2 bit this is .004: a fifth of the training must do less than the .01 bit that a table is read for.
CHANGE_LIMIT = 0.02
# Papers of this field claim gains of one to three points; neighbouring epochs must not differ by as much.
SWING_LIMIT = 0.02
# Early stopping ends a run after a few evaluations without a better one; two are the least that its users ask for.
LATE = 2

CONVERGED = "converged"
MOVES = "still moves"
UNKNOWN = "cannot be told"

TITLE = "Had the systems converged?"
NOTE = (
    "From each cell's figures on validation, as medians over cells. Change: the mean of the last fifth of the"
    " evaluations relative to that of the fifth before it, without its sign; beside it the number of cells in which"
    " the figure falls. Swing: the standard deviation over the fifth that is scored. A cell moves if its JS or loss"
    f" changes by more than {100 * CHANGE_LIMIT:g} %, or if its WA or UA swings by more than {100 * SWING_LIMIT:g}"
    " points. If validation chose the model, the chosen epoch is scored: the swing is that of the fifth that begins"
    f" with it, and the change counts only if it is one of the last {LATE} evaluations. A system {MOVES} if half or"
    f" more of its cells move. Its verdict is '{UNKNOWN}' if half or more of its cells have fewer than"
    f" {LEAST_EVALUATIONS} evaluations. Best at the end: cells whose best epoch (the chosen one, else that of the"
    f" smallest loss) is one of the last {LATE}. Rate at the end: the last learning rate in % of the highest. A rate"
    " that falls to nothing stops every curve, so such a system has converged for its schedule only."
)

_CHANGES = ("js", "loss")
_SWINGS = ("wa", "ua")
_FIGURES = (*_CHANGES, *_SWINGS)


@dataclass(frozen=True)
class Curve:
    """What validation said of one run while it trained.

    Args:
        epoch: `(E,)`, of each evaluation.
        figures: `js` (bit), `loss` (nat), `wa` and `ua` (shares of 1) -> `(E,)`; NaN where a figure has no value.
        chosen: Whether validation chose the model that was scored; otherwise it is the last one.
        scored: Place in `epoch` of the model that was scored; None if it was chosen and the log does not have it.
        last_rate: Last learning rate as a share of the highest; None if none was logged.
    """

    epoch: np.ndarray
    figures: Mapping[str, np.ndarray]
    chosen: bool
    scored: int | None
    last_rate: float | None


def read_curve(run: FinishedRun) -> Curve:
    """Read the validation curve of a run; it is empty if the run had no validation or kept no log."""
    rows = run.evaluations
    figures = {name: np.array([entry.get(f"eval_{name}", np.nan) for entry in rows], float) for name in _FIGURES}
    rates = [entry["learning_rate"] for entry in run.results.get("log") or [] if "learning_rate" in entry]
    last_rate = rates[-1] / max(rates) if rates and max(rates) > 0 else None
    epochs = np.array([entry["epoch"] for entry in rows], float)
    return Curve(epochs, figures, run.chosen_step is not None, run.scored_evaluation, last_rate)


@dataclass(frozen=True)
class CellConvergence:
    """What the rule says of one cell.

    Args:
        curve: Its validation curve.
        change: `js`, `loss` -> relative change at the end of the curve, with its sign; without undefined ones.
        swing: `wa`, `ua` -> standard deviation where the cell is scored, in shares of 1; without undefined ones.
        best_late: Whether its best epoch is one of the last `LATE` evaluations.
        moves: Whether it still moves; None if that cannot be told.
        reason: Why it cannot be told, or "".
    """

    curve: Curve
    change: Mapping[str, float]
    swing: Mapping[str, float]
    best_late: bool
    moves: bool | None
    reason: str = ""


def cell_convergence(curve: Curve) -> CellConvergence:
    """Apply the rule to one cell; `NOTE` says it in words."""
    n = len(curve.epoch)
    late = n > 0 and _best(curve) >= n - LATE
    if n < LEAST_EVALUATIONS:
        return _untold(curve, late, f"fewer than {LEAST_EVALUATIONS} evaluations" if n else "no validation")
    if curve.scored is None:
        return _untold(curve, late, "the log lacks the chosen epoch")
    width = n // FIFTHS
    start = min(curve.scored, n - width)
    change = {name: _change(curve.figures[name][-2 * width :], width) for name in _CHANGES}
    swing = {name: float(np.std(curve.figures[name][start : start + width], ddof=1)) for name in _SWINGS}
    change, swing = ({name: v for name, v in one.items() if np.isfinite(v)} for one in (change, swing))
    if not change or not swing:
        return _untold(curve, late, "validation figures without a value")
    # Where validation chose an earlier epoch, what came after it was worse and is not scored.
    at_the_end = late or not curve.chosen
    drifts = at_the_end and any(abs(value) > CHANGE_LIMIT for value in change.values())
    return CellConvergence(curve, change, swing, late, drifts or any(v > SWING_LIMIT for v in swing.values()))


def _untold(curve: Curve, late: bool, reason: str) -> CellConvergence:
    return CellConvergence(curve, {}, {}, late, None, reason)


def _change(values: np.ndarray, width: int) -> float:
    before, after = values[:width].mean(), values[width:].mean()
    return float(after / before - 1) if before > 0 else float("nan")


def _best(curve: Curve) -> int:
    """Place of the chosen epoch, else of the smallest loss (or JS, without a loss); -1 if none is known."""
    if curve.chosen:
        return -1 if curve.scored is None else curve.scored
    for name in ("loss", "js"):
        if np.isfinite(curve.figures[name]).any():
            return int(np.nanargmin(curve.figures[name]))
    return -1


@dataclass(frozen=True)
class Convergence:
    """What the rule says of one system, from its cells."""

    cells: Sequence[CellConvergence]

    @property
    def told(self) -> list[CellConvergence]:
        """The cells of which it can be told."""
        return [cell for cell in self.cells if cell.moves is not None]

    @property
    def n_moving(self) -> int:
        """The number of cells that still move."""
        return sum(bool(cell.moves) for cell in self.told)

    @property
    def verdict(self) -> str:
        """`CONVERGED`, `MOVES` or `UNKNOWN`."""
        if 2 * len(self.told) <= len(self.cells):
            return UNKNOWN
        return MOVES if 2 * self.n_moving >= len(self.told) else CONVERGED

    def __str__(self) -> str:
        reasons = "; ".join(dict.fromkeys(cell.reason for cell in self.cells if cell.reason))
        return f"{UNKNOWN} ({reasons})" if self.verdict == UNKNOWN else self.verdict


def convergence(group: Group) -> dict[str, Convergence]:
    """What the rule says of each system of a group."""
    return {
        system: Convergence([cell_convergence(read_curve(run)) for run in runs])
        for system, runs in group.systems.items()
    }


def convergence_table(group: Group, found: Mapping[str, Convergence]) -> Table:
    """One row for each system: its evaluations, changes, swings, best epochs, and the verdict."""
    rows: list[list[Entry | str]] = []
    for system, one in found.items():
        row: list[Entry | str] = [system, _count(len(one.cells)), _evaluations(one), _scored(one)]
        row.append(_median([cell.curve.last_rate for cell in one.cells], digits=0))
        row += [_change_entry(one, name) for name in _CHANGES]
        row += [_median([cell.swing.get(name) for cell in one.told], digits=1) for name in _SWINGS]
        evaluated = [cell for cell in one.cells if len(cell.curve.epoch)]
        row += [_share(sum(cell.best_late for cell in evaluated), len(evaluated)), _share(one.n_moving, len(one.told))]
        rows.append([*row, str(one)])
    heads = ["system", "cells", "evaluations", "scored", "rate at the end %"]
    heads += [f"change of {name} %" for name in (SCORES["js"].name, "loss")]
    heads += [f"swing of {SCORES[name].name}, points" for name in _SWINGS]
    heads += ["best at the end", "cells that move", "verdict"]
    return Table(file_name(group.name, "convergence"), heads, rows, NOTE)


def _count(value: int) -> Entry:
    return Entry(str(value), parts={"": value})


def _evaluations(one: Convergence) -> Entry:
    counts = [len(cell.curve.epoch) for cell in one.cells]
    low, high = min(counts), max(counts)
    return Entry(str(low) if low == high else f"{low} to {high}", parts={"least": low, "most": high})


def _scored(one: Convergence) -> str:
    kinds = {cell.curve.chosen for cell in one.cells}
    return "last or chosen" if len(kinds) > 1 else "chosen by validation" if True in kinds else "last"


def _change_entry(one: Convergence, name: str) -> Entry:
    values = [cell.change[name] for cell in one.told if name in cell.change]
    if not values:
        return Entry("-")
    size, falls = 100 * median(map(abs, values)), sum(value < 0 for value in values)
    return Entry(f"{size:.1f}", f"(falls in {falls} of {len(values)})", {"": size, "falls": falls})


def _median(values: Iterable[float | None], digits: int) -> Entry:
    """The median in % of those shares that have a value."""
    known = [value for value in values if value is not None]
    if not known:
        return Entry("-")
    middle = 100 * median(known)
    return Entry(f"{middle:.{digits}f}", parts={"": middle})


def _share(part: int, whole: int) -> Entry:
    return Entry(f"{part} of {whole}", parts={"": part, "of": whole}) if whole else Entry("-")


def convergence_line(found: Mapping[str, Convergence]) -> str:
    """A sentence or two in Markdown: which systems had not converged, and what follows for comparisons."""
    moving, unknown = ([name for name, one in found.items() if one.verdict == kind] for kind in (MOVES, UNKNOWN))
    if not moving and not unknown:
        return "Every system had converged."
    more = f"Not known whether they had converged: {', '.join(unknown)}." if unknown else ""
    return " ".join(filter(None, [not_found(moving), more]))


def moving_systems(group: Group) -> list[str]:
    """The systems of a group that still move."""
    return [system for system, one in convergence(group).items() if one.verdict == MOVES]


def not_found(moving: Sequence[str]) -> str:
    """Say which systems still move, and that no difference to them is found; "" if there is none."""
    return f"Not converged: {', '.join(moving)}. Whatever p says, no difference to them is found." if moving else ""


def both_converged(found: Mapping[str, Convergence], *systems: str) -> str:
    """Say of a test between systems whether they had converged: `yes`, `no: A still moves`, `not known: A`."""
    moving = [system for system in systems if found[system].verdict == MOVES]
    unknown = [system for system in systems if found[system].verdict == UNKNOWN]
    if moving:
        return f"no: {' and '.join(moving)} still {'moves' if len(moving) == 1 else 'move'}"
    return f"not known: {' and '.join(unknown)}" if unknown else "yes"


def about_tests(answers: Iterable[str]) -> str:
    """What a table with p-values must add to its note, given the answers of `both_converged` in its rows."""
    kinds = {answer.partition(":")[0] for answer in answers}
    said = []
    if "no" in kinds:
        said.append(
            "Where a system still moves, its figures depend on the epoch at which training ended. Whatever p says, no"
            " difference to it is found."
        )
    if "not known" in kinds:
        said.append("Not known: too little validation was recorded to say whether that system had converged.")
    return " ".join(said)
