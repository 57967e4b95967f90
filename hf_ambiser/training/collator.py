"""The collator: it makes one padded batch of decoded utterances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


# The role of a row of a training batch. Ambiguous rows and their augmented copies have the same order.
LABELLED, AMBIGUOUS, AUGMENTED = 0, 1, 2


@dataclass
class Example:
    """One row of a batch: a waveform (or frames made of it), the row of the label table it belongs to, its role."""

    waveform: np.ndarray
    index: int
    role: int = LABELLED
    votes: np.ndarray | None = None
    consensus: int = -1


@dataclass
class UtteranceCollator:
    """Flattens items (lists of `Example`) into one batch: labelled rows first, then ambiguous, then augmented ones.

    The batch holds the output of the feature extractor (mostly `input_values (B, T)` float32 and `attention_mask
    (B, T)` int64), `index (B,)`, `role (B,)`, and for evaluation `votes (B, K)` and `consensus (B,)`.

    Args:
        feature_extractor: A `SequenceFeatureExtractor` for raw audio. It is the one saved with the model, so that
            training and inference prepare audio in the same way.
    """

    feature_extractor: Any

    def __call__(self, items: Sequence[Sequence[Example]]) -> dict[str, Tensor]:
        """Return one padded batch of all rows of all items."""
        rows = sorted((row for item in items for row in item), key=lambda row: row.role)
        waveforms, options = [row.waveform for row in rows], {"padding": True, "return_attention_mask": True}
        if waveforms[0].ndim == 2:  # frames, which the extractor has already made
            padded = self.feature_extractor.collate(waveforms, **options, return_tensors="np")
        else:
            rate = self.feature_extractor.sampling_rate
            padded = self.feature_extractor(waveforms, sampling_rate=rate, **options, return_tensors="np")
        kinds = {name: np.int64 if name == "attention_mask" else np.float32 for name in padded}
        batch = {
            **{name: torch.from_numpy(np.asarray(padded[name], dtype=kind)) for name, kind in kinds.items()},
            "index": torch.tensor([row.index for row in rows]),
            "role": torch.tensor([row.role for row in rows]),
        }
        if rows[0].votes is not None:
            batch["votes"] = torch.from_numpy(np.stack([row.votes for row in rows]).astype(np.float32))  # type: ignore[misc]
            batch["consensus"] = torch.tensor([row.consensus for row in rows])
        return batch
