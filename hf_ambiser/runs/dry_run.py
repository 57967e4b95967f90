"""What a plan would run."""

from __future__ import annotations

from pathlib import Path

from hf_ambiser.runs.cells import chosen_configs, expand, share
from hf_ambiser.runs.plan import Plan


def describe(plan: Plan, out: Path, which: str | None, jobs: int) -> str:
    """The cells."""
    cells = expand(plan, [chosen_configs(data) for data in plan.datasets], out)
    return "\n".join(cell.key for cell in (share(cells, which) if which else cells)) + "\n"
