"""From decoded clips to one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


# What a row of a training batch is. Ambiguous rows and their augmented copies stand in the same order.
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
class ClipCollator:
    """Flattens items (lists of `Example`) into one batch: labelled rows first, then ambiguous, then augmented ones.

    Gives what the feature extractor makes of the clips (mostly `input_values (B, T)` float32 and `attention_mask
    (B, T)` int64), `index (B,)`, `role (B,)`, and for evaluation `votes (B, K)` and `consensus (B,)`.

    Args:
        feature_extractor: A `SequenceFeatureExtractor` for raw audio, the one saved with the model, so that training
            and inference prepare audio alike.
    """

    feature_extractor: Any

    def __call__(self, items: Sequence[Sequence[Example]]) -> dict[str, Tensor]:
        """One padded batch of all clips of all items."""
        clips = sorted((clip for item in items for clip in item), key=lambda clip: clip.role)
        waveforms, options = [clip.waveform for clip in clips], {"padding": True, "return_attention_mask": True}
        if waveforms[0].ndim == 2:  # frames that the extractor made before
            padded = self.feature_extractor.collate(waveforms, **options, return_tensors="np")
        else:
            rate = self.feature_extractor.sampling_rate
            padded = self.feature_extractor(waveforms, sampling_rate=rate, **options, return_tensors="np")
        kinds = {name: np.int64 if name == "attention_mask" else np.float32 for name in padded}
        batch = {
            **{name: torch.from_numpy(np.asarray(padded[name], dtype=kind)) for name, kind in kinds.items()},
            "index": torch.tensor([clip.index for clip in clips]),
            "role": torch.tensor([clip.role for clip in clips]),
        }
        if clips[0].votes is not None:
            batch["votes"] = torch.from_numpy(np.stack([clip.votes for clip in clips]).astype(np.float32))  # type: ignore[misc]
            batch["consensus"] = torch.tensor([clip.consensus for clip in clips])
        return batch
