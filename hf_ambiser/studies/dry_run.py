"""Describes what a plan would run: its cells, the size of every split, and the time it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ambiser.run_folder.attempts import Attempts
from hf_ambiser.studies.cells import Cell, expand, share
from hf_ambiser.studies.plan import Plan
from hf_ambiser.studies.progress import duration
from hf_ambiser.studies.split_sizes import Sizes, split_sizes
from hf_ambiser.studies.step_time import measure


# Fields with which transformers refuses to train where there is no GPU, unless `use_cpu` is set.
_OF_A_GPU = ("bf16", "fp16", "tf32", "bf16_full_eval", "fp16_full_eval")


def describe(plan: Plan, out: Path, which: str | None, jobs: int) -> str:
    """Return the description as text.

    Raises:
        PlanError: If the plan could not be run. Methods and models that do not exist yet are allowed, and so is a
            missing data set with published counts.
    """
    sizes = [split_sizes(data) for data in plan.datasets]
    everything = expand(plan, [list(size.configs) for size in sizes], out)
    cells = share(everything, which) if which else everything
    lines = [f"{plan.name}: {len(cells)} cells" + (f" (part {which} of {len(everything)})" if which else "")]
    lines += [plan.about] if plan.about else []
    for size in sizes:
        lines += ["", *_size_lines(size)]
    lines += ["", *_system_lines(plan, cells), ""]
    if cells:
        lines += ["cells", *(f"  {cell.key}: {_state(cell)}" for cell in cells), ""]
    built = {data.dataset for data, size in zip(plan.datasets, sizes, strict=True) if size.built}
    measurable = [cell for cell in cells if cell.fields["dataset"] in built]
    return "\n".join([*lines, *_time_lines(measurable, cells, everything, jobs)]) + "\n"


def _size_lines(sizes: Sizes) -> list[str]:
    lines = [sizes.source]
    for config, splits in sizes.configs.items():
        lines.append(f"  {config}: " + ", ".join(f"{name} {rows}" for name, rows in splits.items()))
        printed = sizes.published.get(config, splits)
        differs = [f"{name} {printed.get(name, 0)}" for name in splits if printed.get(name, 0) != splits[name]]
        if differs:
            lines.append(f"    published: {', '.join(differs)}")
    return lines


def _system_lines(plan: Plan, cells: Sequence[Cell]) -> list[str]:
    count = Counter(cell.system for cell in cells)
    lines = []
    for system in plan.systems:
        what = f"{count[system.name]} cells, method {system.fields.get('method')}{_needs_a_gpu(system.fields)}"
        lines.append(f"  {system.name}: " + (f"skipped, {system.missing}" if system.missing else what))
    return ["systems", *lines]


def _needs_a_gpu(fields: Mapping[str, Any]) -> str:
    """Say which field asks for a GPU; "" if a system runs on a CPU as it is."""
    asking = [name for name in _OF_A_GPU if fields.get(name)]
    if not asking or fields.get("use_cpu"):
        return ""
    return f", needs a GPU ({asking[0]}: true; for a CPU set {asking[0]}: false and use_cpu: true)"


def _state(cell: Cell) -> str:
    if cell.finished:
        return "finished"
    attempts = Attempts(cell.attempts)
    last = attempts.last()
    if attempts.is_held(last):
        return "being run"
    if last is not None and last.outcome == "failed":
        return f"failed ({last.error})"
    return "begun" if last is not None else "to run"


def _time_lines(measurable: Sequence[Cell], cells: Sequence[Cell], everything: Sequence[Cell], jobs: int) -> list[str]:
    """Estimate the time of the remaining cells by one measured cell per system; points of a sweep count as equal."""
    left = [cell for cell in cells if not cell.finished]
    if not left:
        return ["time: nothing is left to run" if cells else "time: no cell can be run yet"]
    if not measurable:
        return ["time: not measured, because the data set is not there"]
    one_each = {cell.system.partition("@")[0]: cell for cell in reversed(measurable) if not cell.finished}
    costs = measure(one_each, jobs, every={cell.system: cell for cell in everything})
    lines = ["time, by measured steps of one cell of each system (all points of a sweep are assumed to cost the same)"]
    total = 0.0
    for system, cost in costs.items():
        n = sum(cell.system.partition("@")[0] == system for cell in left)
        lines.append(f"  {system}: {n} x {cost.words}")
        total += n * cost.seconds
    unknown = [system for system, cost in costs.items() if not cost.seconds]
    lines.append(
        f"  about {duration(total / jobs)} with --jobs {jobs} on this machine, as busy as it is now"
        + (f", without {', '.join(unknown)}" if unknown else "")
        + ", if folds are alike and training is not stopped early; starts, cards and figures of the cells come on top"
    )
    return lines
