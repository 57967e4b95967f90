"""The network of another run, for training to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file


WEIGHTS = "model.safetensors"


def load_network(model: Any, source: str, run: Path) -> None:
    """Put the weights of a trained network into a model of the same architecture.

    Args:
        model: The model, bare.
        source: A run's folder, a model's, or the name of a system whose cell of the same fold and seed stands beside
            the folder `run`, as a study has it (`<system>/<fold>/<seed>`).
        run: The run that begins.

    Raises:
        ValueError: If there is no such network, or it is of another architecture.
    """
    sibling = run.parent.parent.parent / source / run.parent.name / run.name
    places = [sibling / "model", Path(source) / "model", Path(source)]
    found = next((place for place in places if (place / WEIGHTS).is_file()), None)
    if found is None:
        raise ValueError(
            f"pretrained={source!r}: there is no {WEIGHTS} in {', '.join(map(str, places))}. Give a finished run or a"
            " model's folder, or run that system of the study first."
        )
    weights = load_file(found / WEIGHTS)
    own = model.state_dict()
    other = sorted(
        name for name in {*own, *weights} if name not in own or name not in weights
        or own[name].shape != weights[name].shape
    )  # fmt: skip
    if other:
        raise ValueError(
            f"pretrained={source!r} holds a network of another architecture ({len(other)} tensors differ, the first is"
            f" {other[0]}). Train it with the same model and encoder fields."
        )
    model.load_state_dict(weights)
