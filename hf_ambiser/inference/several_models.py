"""Several models that answer as one: the mean of their distributions, as a deep ensemble's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.inference.decision import Decision
from hf_ambiser.inference.opened_model import OpenedModel, Outputs


@dataclass(frozen=True)
class SeveralModels(OpenedModel):
    """Models whose distributions are averaged; it is used as any other `OpenedModel`.

    The logits of each model are divided by the temperature that is stored in its own configuration. A stored threshold
    was found for the answers of one model alone, so none of them acts.

    Args:
        members: The models, two or more.
    """

    members: tuple[OpenedModel, ...]

    @classmethod
    def of(cls, members: Sequence[OpenedModel]) -> SeveralModels:
        """Put opened models together.

        Raises:
            ValueError: If there are fewer than two, one is there twice, or their classes or sampling rates differ.
        """
        if len(members) < 2:
            raise ValueError(f"models: {len(members)} given; allowed: two or more, whose answers are averaged.")
        first = members[0]
        for place, other in enumerate(members[1:], 1):
            if any(_are_one(one, other) for one in members[:place]):
                raise ValueError(f"model {other.name} is given twice, so it would count twice. Name it once.")
            if set(other.classes) != set(first.classes):
                raise ValueError(
                    f"model {first.name} has the classes {list(first.classes)}, and model {other.name} has"
                    f" {list(other.classes)}; a mean of answers needs the same classes."
                )
            if other.rate != first.rate:
                raise ValueError(
                    f"model {first.name} takes {first.rate} Hz and model {other.name} {other.rate} Hz; a mean of"
                    " answers needs one sampling rate."
                )
        return cls(
            name=" + ".join(one.name for one in members),
            model=None,
            extractor=None,
            classes=first.classes,
            rate=first.rate,
            window=max(one.window for one in members),
            ours=all(one.ours for one in members),
            members=tuple(members),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Folder or Hub name of each model."""
        return tuple(one.name for one in self.members)

    @property
    def kind(self) -> str:
        """The kinds of its models."""
        return "mean of " + ", ".join(one.kind for one in self.members)

    @property
    def says_embeddings(self) -> bool:
        """Whether it says embeddings: no, for those of two models have two spaces."""
        return False

    @property
    def on_cpu(self) -> bool:
        """Whether a CPU computes the answers of one of them."""
        return any(one.on_cpu for one in self.members)

    @property
    def longest_window(self) -> float | None:
        """The longest window that all of them take, in seconds; None: any."""
        return min((longest for one in self.members if (longest := one.longest_window) is not None), default=None)

    def decision(self, threshold: float | None = None) -> Decision:
        """Return when the mean answer is given: always, but for a `threshold` of the caller's.

        Raises:
            ValueError: If the threshold is out of range.
        """
        return Decision.of(None, threshold)

    def probabilities(self, waveforms: Sequence[np.ndarray], temperature: float = 1.0) -> Outputs:
        """Answer for N waveforms `(T,)` float32 at the models' rate with the mean of their distributions.

        Args:
            waveforms: The waveforms; one batch for models of ours.
            temperature: Divides the logits of each model, which are divided by its own temperature, too.
        """
        total = np.zeros((len(waveforms), len(self.classes)))
        for one in self.members:
            found = one.probabilities(waveforms, temperature * one.decision().temperature).probabilities
            total += found[:, [one.classes.index(name) for name in self.classes]]
        return Outputs(total / len(self.members), None, None)

    def outputs_of(self, waveforms: list[np.ndarray]) -> Any:
        """Refuse: several models have no output in common but the mean of their distributions.

        Raises:
            TypeError: Always.
        """
        raise TypeError("several models have no single output; call probabilities.")


def same_place(one: str, other: str) -> bool:
    """Whether two names mean one model: one Hub name, or one folder in two spellings."""
    return one == other or (Path(one).exists() and Path(one).resolve() == Path(other).resolve())


def _are_one(one: OpenedModel, other: OpenedModel) -> bool:
    if one.model is not None and one.model is other.model:
        return True
    # A model that was loaded before it was opened has the name of its class, and others may have it, too.
    loaded = {type(one.model).__name__, type(other.model).__name__}
    return one.name not in loaded and same_place(one.name, other.name)
