"""Several configurations, several seeds: each cell one ordinary run folder, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hf_ambiser.runs.run import RESULTS


@dataclass(frozen=True)
class Cell:
    """One run to be: a configuration file, a seed, and where it goes."""

    config: Path
    seed: int
    folder: Path

    def command(self, overrides: Mapping[str, Any]) -> list[str]:
        """The training command of this cell."""
        fields = {"seed": self.seed, "output_dir": self.folder, "disable_tqdm": True, **overrides}
        pairs = [part for name, value in fields.items() for part in (f"--{name}", str(value))]
        return [sys.executable, "-m", "hf_ambiser.train", "--config", str(self.config), *pairs]


def cells(configs: Sequence[Path], seeds: Sequence[int], out: Path) -> list[Cell]:
    """Seed by seed, so that a study that is cut short has whole seeds; folders are `out/<config name>/<seed>`.

    Raises:
        ValueError: If two configurations have the same name, and so would share folders.
    """
    names = [config.stem for config in configs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"several configs are named {', '.join(twice)}; run folders are named after them. Rename one."
        )
    return [Cell(config, seed, out / config.stem / str(seed)) for seed in seeds for config in configs]


def run_cells(todo: Sequence[Cell], overrides: Mapping[str, Any], jobs: int = 1) -> list[Cell]:
    """Run what is not finished, `jobs` at a time; each process prints into `train.log` in its folder.

    Returns:
        The cells that failed.

    Raises:
        ValueError: If `jobs` is below 1.
    """
    if jobs < 1:
        raise ValueError(f"jobs={jobs} must be 1 or more.")
    waiting = [cell for cell in todo if not (cell.folder / RESULTS).is_file()]
    running: dict[subprocess.Popen[bytes], Cell] = {}
    failed: list[Cell] = []
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))} if jobs > 1 else {}
    with tqdm(total=len(todo), initial=len(todo) - len(waiting), unit="run") as bar:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    cell = waiting.pop(0)
                    cell.folder.mkdir(parents=True, exist_ok=True)
                    with (cell.folder / "train.log").open("ab") as log:
                        command = cell.command(overrides)
                        process = subprocess.Popen(
                            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | threads
                        )
                    running[process] = cell
                    bar.set_postfix_str(" ".join(f"{c.config.stem}/{c.seed}" for c in running.values()))
                process = _wait_for_any(running)
                cell = running.pop(process)
                if process.returncode != 0:
                    failed.append(cell)
                bar.update()
        finally:
            for process in running:
                process.kill()
    return failed


def _wait_for_any(running: Mapping[subprocess.Popen[bytes], Cell]) -> subprocess.Popen[bytes]:
    while True:
        for process in running:
            try:
                process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
            return process
