"""Several models that answer as one: the mean of their distributions, as a deep ensemble's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.inference.decision import Decision, check_tau
from hf_ambiser.inference.opened_model import OpenedModel, Outputs


class MemberFailed(Exception):
    """One of several models, which takes every recording, has failed."""


@dataclass(frozen=True)
class SeveralModels(OpenedModel):
    """Models whose distributions are averaged; it is used as any other `OpenedModel`.

    The logits of each model are divided by the temperature that is stored in its own configuration. A stored threshold
    was found for the answers of one model alone, so none of them acts. A balance acts if every model has one with the
    same tau: the shares of the mean answer are the mean of their shares. Without a window of the caller's, the
    shortest one of the models is taken, for one that has learnt from segments expects no longer ones.

    Args:
        members: The models, two or more.
    """

    members: tuple[OpenedModel, ...]

    @classmethod
    def of(cls, members: Sequence[OpenedModel]) -> SeveralModels:
        """Put opened models together; of several that were put together before, each counts as one of all.

        Raises:
            ValueError: If there are fewer than two, one is there twice, their classes or sampling rates differ, or the
                stored temperature of one is out of range.
        """
        members = [each for one in members for each in (one.members if isinstance(one, SeveralModels) else [one])]
        if len(members) < 2:
            raise ValueError(f"models: {len(members)} given; allowed: two or more, whose answers are averaged.")
        for one in members:
            try:
                _ = one.temperature
            except ValueError as error:
                raise ValueError(f"model {one.name}: {error}") from error
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
            window=min(one.window for one in members),
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

    def decision(self, threshold: float | None = None, balance: float | None = None) -> Decision:
        """Return what is answered and when: always, but for a `threshold` of the caller's.

        Raises:
            ValueError: If the threshold, or a balance, is out of range, or a balance is asked for and a model has no
                shares for it.
        """
        given = Decision.of(None, threshold)
        check_tau(balance)
        own = [self._decision_of(one, balance) for one in self.members]
        if len({each.tau for each in own}) > 1 or not own[0].tau:
            return given
        shares = [
            [each.shares[one.classes.index(name)] for name in self.classes]
            for one, each in zip(self.members, own, strict=True)
        ]
        return replace(given, tau=own[0].tau, shares=tuple(np.mean(shares, axis=0).tolist()))

    @staticmethod
    def _decision_of(one: OpenedModel, balance: float | None) -> Decision:
        try:
            return one.decision(threshold=0.0, balance=balance)
        except ValueError as error:
            raise ValueError(f"model {one.name}: {error}") from error

    def probabilities(self, waveforms: Sequence[np.ndarray], temperature: float = 1.0) -> Outputs:
        """Answer for N waveforms `(T,)` float32 at the models' rate with the mean of their distributions.

        Args:
            waveforms: The waveforms; one batch for models of ours.
            temperature: Divides the logits of each model, which are divided by its own temperature, too.
        """
        total = np.zeros((len(waveforms), len(self.classes)))
        for one in self.members:
            found = self._of_member(one, waveforms, temperature)
            total += found[:, [one.classes.index(name) for name in self.classes]]
        return Outputs(total / len(self.members), None, None)

    def _of_member(self, one: OpenedModel, waveforms: Sequence[np.ndarray], temperature: float) -> np.ndarray:
        try:
            return one.probabilities(waveforms, temperature * one.temperature).probabilities
        except (RuntimeError, ValueError, IndexError) as error:
            # A model of others may refuse a recording; one of ours refuses none, so this is another fault, and is no
            # answer of the recording.
            if one.ours and not self.ours:
                raise MemberFailed(f"model {one.name} fails: {error}") from error
            raise

    def check_window(self, seconds: float) -> None:
        """Check that every model takes so long a window; see `OpenedModel.check_window`."""
        for one in self.members:
            one.check_window(seconds)

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


def names_given(model: Any, opened: OpenedModel) -> list[str]:
    """The models of `opened` by the names that were given for them: a run folder stays one, and is not its model's.

    Args:
        model: What was given: a place, an opened model, None, or a list of these.
        opened: What `open_model` has made of it.
    """
    given = list(model) if isinstance(model, list | tuple) else [model]
    # A list in the list, or several that were opened before, stand for more models than one.
    if len(given) != len(opened.names):
        return list(opened.names)
    return [str(one) if isinstance(one, str | Path) else name for one, name in zip(given, opened.names, strict=True)]
