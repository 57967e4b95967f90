"""A script of the repository as a module, so that its `main` can be called."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

from helpers.forking import fork, wait_for


ROOT = Path(__file__).parents[2]


def load_script(name: str) -> ModuleType:
    """`train_scripts/benchmark.py`, ...: relative to the repository; nothing of it is run but its definitions."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where a dataclass looks for the names in its annotations, and a process that the script starts for its functions.
    sys.modules[spec.name] = module
    if str((ROOT / name).parent) not in sys.path:
        sys.path.append(str((ROOT / name).parent))
    spec.loader.exec_module(module)
    return module


def start_script(script: Path, *words: object) -> int:
    """The exit status of `python SCRIPT WORD ...`, in a child that is forked."""

    def body() -> None:
        sys.argv[:] = map(str, (script, *words))
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")

    return wait_for(fork(body))[0]
