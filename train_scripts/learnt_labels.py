"""Show what meta learnt about labels and weights: Table 3 and Figure 3 of Fujioka et al., over all runs of a study.

python train_scripts/learnt_labels.py runs/crema_d_meta
python train_scripts/learnt_labels.py runs/crema_d_meta --doubtful 20    # also lists doubtful labels

Prints, for every system below the folder that learns labels or weights, the mean w of each class's training utterances
before and after training (Table 3), and the share of each class's labels that moved to each class (Figure 3), both as
means over its runs. `--out FOLDER` draws them too. `--doubtful N` also lists the N training utterances whose w has
risen most above where its class began, over all runs that had them (geometric mean).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.methods.meta.figures import (  # noqa: E402
    ClassWeights,
    doubt,
    mean_weights,
    plot_moved_labels,
    plot_weights,
    share_moved,
)
from hf_ambiser.report.groups import Group, find, group  # noqa: E402
from hf_ambiser.report.planned import read_planned  # noqa: E402
from hf_ambiser.report.table import Entry, Table, file_name  # noqa: E402
from hf_ambiser.run_folder.finished import FinishedRun


def main(argv: Sequence[str] | None = None) -> int:
    """Read, print and draw. A mistake gives one line on standard error and exit status 2."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds run folders, at any depth; or a run folder")
    parser.add_argument("--system", nargs="+", help="only these (default: all that learn labels or weights)")
    parser.add_argument("--doubtful", type=int, default=0, help="list so many utterances whose label is in doubt")
    parser.add_argument("--out", type=Path, help="folder for figures")
    args = parser.parse_args(argv)
    try:
        cells, _ = find(args.folder)
        planned = read_planned(args.folder, cells)
        groups = group(cells, planned.systems if planned else [])
        _check(args.system, groups)
        parts = [
            part
            for one in groups
            for system, cells in one.systems.items()
            if not args.system or system in args.system
            for part in told(one, system, cells, args.out, args.doubtful)
        ]
        if not parts:
            raise ValueError(f"no run of {args.folder} learnt labels or weights, or none kept its trajectory.")
    except (ValueError, OSError) as error:
        print(f"learnt_labels.py: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(parts))
    return 0


def _check(wanted: Sequence[str] | None, groups: Sequence[Group]) -> None:
    there = sorted({system for one in groups for system in one.systems})
    missing = [name for name in wanted or [] if name not in there]
    if missing:
        raise ValueError(f"--system {missing[0]}: there is no finished run of it; there are {there}.")


def told(one: Group, system: str, cells: Sequence[FinishedRun], out: Path | None, doubtful: int = 0) -> list[str]:
    """Return the Markdown of one system; "" if its runs learnt neither labels nor weights."""
    moved = [shares for cell in cells if (shares := share_moved(cell.folder)) is not None]
    weights = [means for cell in cells if (means := mean_weights(cell.folder)) is not None]
    # Weights that stay what the classes' counts make of them are no result.
    weights = weights if any(_learnt(means) for means in weights) else []
    if not moved and not weights:
        return []
    parts = [f"### {system} ({one.name}, {len(cells)} runs)"]
    if weights:
        initial, learnt = (np.nanmean([getattr(w, part) for w in weights], axis=0) for part in ("initial", "learnt"))
        means = ClassWeights(initial, learnt)
        parts.append(weights_table(means, one.classes).markdown())
        if out is not None:
            parts.append(str(plot_weights(means, out / f"{file_name(one.name, system, 'weights')}.png", one.classes)))
        if doubtful:
            parts.append(doubtful_table(cells, one.classes, doubtful).markdown())
    if moved:
        shares = np.mean(moved, axis=0)
        parts.append(moved_table(shares, one.classes).markdown())
        if out is not None:
            path = out / f"{file_name(one.name, system, 'moved_labels')}.png"
            parts.append(str(plot_moved_labels(shares, path, one.classes)))
    return parts


def _learnt(means: ClassWeights) -> bool:
    return not np.allclose(means.initial, means.learnt, equal_nan=True)


def weights_table(means: ClassWeights, classes: Sequence[str]) -> Table:
    """Make Table 3 of the paper."""
    rows: list[list[Entry | str]] = []
    for name, values in (("initial w", means.initial), ("learnt w", means.learnt)):
        rows.append([name, *(Entry(f"{value:.2f}", parts={"": float(value)}) for value in values)])
    note = "Table 3: mean w of each class's training utterances. Losses are divided by it: a lower one counts more."
    return Table("weights", ["", *classes], rows, note)


def moved_table(shares: np.ndarray, classes: Sequence[str]) -> Table:
    """Make Figure 3 of the paper as a table."""
    rows: list[list[Entry | str]] = []
    for name, row in zip(classes, shares, strict=True):
        rows.append([name, *(Entry(f"{100 * share:.1f}", parts={"": 100 * float(share)}) for share in row)])
    note = "Figure 3: of the training labels of each class (row), the share whose learnt label is of each (column)."
    return Table("moved_labels", ["% of", *classes], rows, note)


def doubtful_table(cells: Sequence[FinishedRun], classes: Sequence[str], most: int) -> Table:
    """List the utterances whose labels are most in doubt, the most doubtful first."""
    logs: dict[str, list[float]] = {}
    given: dict[str, int] = {}
    learnt: dict[str, np.ndarray] = {}
    for found in filter(None, (doubt(cell.folder) for cell in cells)):
        for name, observed, target, value in zip(*found.values(), strict=True):
            logs.setdefault(name, []).append(float(np.log(value)))
            given[name] = int(observed.argmax())
            learnt[name] = learnt.get(name, 0) + target
    means = {name: float(np.mean(values)) for name, values in logs.items()}
    rows: list[list[Entry | str]] = []
    for name in sorted(means, key=lambda name: (-means[name], name))[:most]:
        value = float(np.exp(means[name]))
        runs, trained = len(logs[name]), classes[int(learnt[name].argmax())]
        rows.append([name, classes[given[name]], trained, Entry(f"{value:.2f}", parts={"": value}), str(runs)])
    note = f"{len(rows)} of {len(means)} training utterances; doubt: w over where its class began."
    return Table("doubtful", ["utterance", "label of the data", "label trained on", "doubt", "runs"], rows, note)


if __name__ == "__main__":
    sys.exit(main())
