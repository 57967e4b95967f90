"""Windows on their way to an answer: which of them the model is asked about, and in which batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hf_ambiser.inference.answers import Distribution, WindowAnswer
from hf_ambiser.inference.decision import Decision
from hf_ambiser.inference.model_door import OpenedModel
from hf_ambiser.inference.speech import FLOOR, has_speech, level, threshold
from hf_ambiser.inference.windows import SHORTEST, Window


# A CPU needs as long for a batch as for its windows one by one, once they are some seconds together: a larger batch
# saves nothing and leaves the caches, and padding is computed like speech (the rows `files` of docs/speed.md).
_SECONDS_ON_CPU = 6.0
_LEAST_SHARE_ON_CPU = 0.9  # of a padded batch that is not padding


@dataclass
class Part:
    """A window, with the model's answer as soon as it is there; then its samples are let go.

    Args:
        start: Index of its first sample in the recording.
        length: Number of samples.
        level: Loudness in dB of full scale.
        samples: `(length,)` float32, or None.
        probabilities: `(K,)`, or None if the model was not asked or has refused.
        similarities: `(K,)` cosines to the class prototypes, or None.
        embedding: `(D,)`, or None.
        reason: Why the model has refused.
    """

    start: int
    length: int
    level: float
    samples: np.ndarray | None
    probabilities: np.ndarray | None = None
    similarities: np.ndarray | None = None
    embedding: np.ndarray | None = None
    reason: str = ""

    @classmethod
    def of(cls, window: Window, rate: int) -> Part:
        """Return a window that nobody has answered yet."""
        return cls(window.start, len(window.samples), level(window.samples, rate), window.samples)

    def answer(self, loudest: float, opened: OpenedModel, decision: Decision) -> WindowAnswer:
        """Return the window's answer in a recording whose loudest window has the level `loudest`."""
        start, end = self.start / opened.rate, (self.start + self.length) / opened.rate
        if self.length < SHORTEST * opened.rate:
            why = f"{end - start:.3f} s are shorter than {SHORTEST} s, the shortest that a model learns from"
            return WindowAnswer(start, end, "too short", self.level, None, why)
        if not has_speech(self.level, loudest):
            why = (
                f"its level is {self.level:.0f} dB of full scale; speech has at least {threshold(loudest):.0f} dB here"
            )
            return WindowAnswer(start, end, "silent", self.level, None, why)
        if self.probabilities is None:
            return WindowAnswer(start, end, "refused", self.level, None, self.reason)
        found = Distribution.of(self.probabilities, self.similarities, opened.classes, decision)
        return WindowAnswer(start, end, found.status, self.level, found)


def answer_parts(
    parts: Sequence[Part], opened: OpenedModel, decision: Decision, batch_size: int, embeddings: bool = False
) -> None:
    """Let the model answer for windows, in batches of similar length, and let go of their samples.

    On a CPU batches are smaller than `batch_size` where that is faster.

    The model is not asked about a window that is too short, or silent however loud the others are. Embeddings are kept
    only if they are wanted, for those of many windows are large.
    """
    asked = [part for part in parts if part.length >= SHORTEST * opened.rate and part.level >= FLOOR]
    asked.sort(key=lambda part: part.length)
    for batch in _batches(asked, opened, batch_size if opened.ours else 1):
        try:
            found = opened.probabilities([_samples(part) for part in batch], decision.temperature)
        except (RuntimeError, ValueError, IndexError) as error:
            if opened.ours:
                raise
            batch[0].reason = f"the model cannot take it ({type(error).__name__})"
            continue
        for i, part in enumerate(batch):
            part.probabilities = found.probabilities[i]
            part.similarities = None if found.similarities is None else found.similarities[i]
            part.embedding = found.embeddings[i] if embeddings and found.embeddings is not None else None
    for part in parts:
        part.samples = None


def _batches(parts: list[Part], opened: OpenedModel, size: int) -> Iterator[list[Part]]:
    """Yield parts, which are sorted by length, as batches of at most `size`."""
    most = _SECONDS_ON_CPU * opened.rate if opened.on_cpu else math.inf
    least = _LEAST_SHARE_ON_CPU if opened.on_cpu else 0.0
    batch: list[Part] = []
    heard = 0  # samples of the batch
    for part in parts:
        padded = (len(batch) + 1) * part.length
        if batch and (len(batch) == size or padded > most or heard + part.length < least * padded):
            yield batch
            batch, heard = [], 0
        batch.append(part)
        heard += part.length
    if batch:
        yield batch


def _samples(part: Part) -> np.ndarray:
    assert part.samples is not None
    return part.samples
