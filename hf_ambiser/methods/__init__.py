"""Training methods, one folder each; this module finds them by listing the folders.

The folder `hf_ambiser/methods/<name>/` of a method has a `README.md` (its page) and an `__init__.py` that sets
`TRAINER` to a subclass of `AmbiSERTrainer` whose `name` is the folder's name.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from hf_ambiser.training.trainer import AmbiSERTrainer


def available_methods() -> list[str]:
    """Return the names of all methods."""
    return sorted(p.parent.name for p in Path(__file__).parent.glob("*/__init__.py"))


def load_method(name: str) -> type[AmbiSERTrainer]:
    """Return the trainer class of a method.

    Raises:
        ValueError: If there is no such method.
    """
    if name not in available_methods():
        raise ValueError(f"there is no method {name!r}; choose one of {available_methods()}.")
    trainer: type[AmbiSERTrainer] = importlib.import_module(f"hf_ambiser.methods.{name}").TRAINER
    if trainer.name != name:
        raise ValueError(f"methods/{name} exposes a trainer named {trainer.name!r}; its `name` must be {name!r}.")
    return trainer
