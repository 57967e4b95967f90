"""What is answered about a recording and about each of its windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_ambiser.inference.decision import Decision
from hf_ambiser.inference.no_audio import ANSWERED


@dataclass(frozen=True)
class Distribution:
    """What a model says: a distribution over K classes, and what follows from it.

    Args:
        probabilities: Class -> probability; they sum to 1.
        emotion: The class that is answered: the leading one, or that of the model's balanced decision; None if the
            model abstains.
        lead: The same, also where the model abstains.
        entropy: Of the distribution, in bits: 0 if one class has all, log2 K if all have the same.
        ambiguity: The entropy divided by log2 K, in [0, 1].
        similarities: Class -> cosine to its prototype; None if the model has no prototypes.
    """

    probabilities: dict[str, float]
    emotion: str | None
    lead: str
    entropy: float
    ambiguity: float
    similarities: dict[str, float] | None = None

    @classmethod
    def of(
        cls, values: np.ndarray, similarities: np.ndarray | None, classes: Sequence[str], decision: Decision
    ) -> Distribution:
        """Return what follows from probabilities `(K,)` and cosines to the prototypes `(K,)`."""
        lead = decision.lead(values)
        abstains = decision.threshold is not None and values[lead] < decision.threshold
        positive = values[values > 0]
        entropy = max(0.0, float(-(positive * np.log2(positive)).sum()))
        return cls(
            dict(zip(classes, map(float, values), strict=True)),
            None if abstains else classes[lead],
            classes[lead],
            entropy,
            entropy / float(np.log2(len(classes))),
            None if similarities is None else dict(zip(classes, map(float, similarities), strict=True)),
        )

    @property
    def status(self) -> str:
        """`answered` or `abstains`."""
        return "abstains" if self.emotion is None else "answered"


class _Reader:
    """What may be asked of an answer without asking first whether there is a distribution: it is None then."""

    distribution: Distribution | None

    @property
    def probabilities(self) -> dict[str, float] | None:
        """Class -> probability."""
        return None if self.distribution is None else self.distribution.probabilities

    @property
    def emotion(self) -> str | None:
        """The class that is answered; None also if the model abstains."""
        return None if self.distribution is None else self.distribution.emotion

    @property
    def entropy(self) -> float | None:
        """Entropy in bits."""
        return None if self.distribution is None else self.distribution.entropy

    @property
    def ambiguity(self) -> float | None:
        """Entropy divided by log2 K."""
        return None if self.distribution is None else self.distribution.ambiguity

    @property
    def similarities(self) -> dict[str, float] | None:
        """Class -> cosine to its prototype."""
        return None if self.distribution is None else self.distribution.similarities

    def _plain(self) -> dict[str, object]:
        names = ("emotion", "entropy", "ambiguity", "probabilities", "similarities")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class WindowAnswer(_Reader):
    """The answer for one window of a recording.

    Args:
        start: Where it begins, in seconds.
        end: Where it ends, in seconds.
        status: A key of `no_audio.STATUSES`.
        level: Loudness in dB of full scale, as `speech.level` measures it.
        distribution: What the model says; None if there is no speech, or for another reason of `status`.
        reason: Why there is no answer; "" if there is one.
    """

    start: float
    end: float
    status: str
    level: float
    distribution: Distribution | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values under the names of the fields, with those of the distribution."""
        head = {"start": self.start, "end": self.end, "status": self.status, "reason": self.reason}
        return {**head, **self._plain(), "level": self.level}


@dataclass(frozen=True)
class Answer(_Reader):
    """The answer for one recording.

    Args:
        recording: Its name: the path as it was given or found, or the kind and number of another input.
        status: A key of `no_audio.STATUSES`.
        reason: Why there is no answer; "" if there is one.
        duration: Seconds, also of a recording with nothing to hear; None if it could not be read to its end.
        distribution: What the model says about the whole recording: the mean over its windows with speech, each
            weighted with its duration. None if there is none.
        windows: Its windows in their order; one if the recording is not longer than a window.
        embedding: `(D,)` float64, the mean over the same windows with the same weights; None if there is no
            distribution, it was not asked for, or the model does not say it. No file that `predict` writes has it.
    """

    recording: str
    status: str
    reason: str
    duration: float | None
    distribution: Distribution | None
    windows: tuple[WindowAnswer, ...]
    embedding: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def has_answer(self) -> bool:
        """Whether the model has answered, also where it abstains."""
        return self.status in ANSWERED

    def to_dict(self) -> dict[str, Any]:
        """Return plain values under the names of the fields, as a line of JSON has them."""
        head = {"recording": self.recording, "status": self.status, "reason": self.reason, "duration": self.duration}
        return {**head, **self._plain(), "windows": [window.to_dict() for window in self.windows]}
