"""The collator: it makes one padded batch of decoded utterances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_ambiser.models.waveform_check import check_type


# The role of a row of a training batch. Ambiguous rows and their augmented copies have the same order.
LABELLED, AMBIGUOUS, AUGMENTED = 0, 1, 2


@dataclass
class Example:
    """One row of a batch: a waveform (or frames made of it), the row of the label table it belongs to, its role.

    `encoded` holds the frames `(L, T, H)` of a frozen encoder; then the waveform is None unless the model needs it.
    """

    waveform: np.ndarray | None
    index: int
    role: int = LABELLED
    votes: np.ndarray | None = None
    consensus: int = -1
    encoded: np.ndarray | None = None


@dataclass
class UtteranceCollator:
    """Flattens items (lists of `Example`) into one batch: labelled rows first, then ambiguous, then augmented ones.

    The batch holds the output of the feature extractor (mostly `input_values (B, T)` float32 and `attention_mask
    (B, T)` int64), `index (B,)`, `role (B,)`, and for evaluation `votes (B, K)` and `consensus (B,)`. Frames of a
    frozen encoder become `encoder_frames (B, L, T, H)` float32 and `encoder_lengths (B,)`.

    Args:
        feature_extractor: A `SequenceFeatureExtractor` for raw audio. It is the one saved with the model, so that
            training and inference prepare audio in the same way.
    """

    feature_extractor: Any

    def __call__(self, items: Sequence[Sequence[Example]]) -> dict[str, Tensor]:
        """Return one padded batch of all rows of all items."""
        rows = sorted((row for item in items for row in item), key=lambda row: row.role)
        batch = {
            **self._audio([row.waveform for row in rows if row.waveform is not None]),
            **_frames([row.encoded for row in rows if row.encoded is not None]),
            "index": torch.tensor([row.index for row in rows]),
            "role": torch.tensor([row.role for row in rows]),
        }
        if rows[0].votes is not None:
            batch["votes"] = torch.from_numpy(np.stack([row.votes for row in rows]).astype(np.float32))  # type: ignore[misc]
            batch["consensus"] = torch.tensor([row.consensus for row in rows])
        return batch

    def _audio(self, waveforms: list[np.ndarray]) -> dict[str, Tensor]:
        """Return what the feature extractor makes of waveforms, or of frames that it has already made."""
        if not waveforms:
            return {}
        for waveform in waveforms:
            check_type(torch.from_numpy(waveform), "waveform")  # below, integers would become floats
        options = {"padding": True, "return_attention_mask": True, "return_tensors": "np"}
        if waveforms[0].ndim == 2:
            padded = self.feature_extractor.collate(waveforms, **options)
        else:
            rate = self.feature_extractor.sampling_rate
            padded = self.feature_extractor(waveforms, sampling_rate=rate, **options)
        kinds = {name: np.int64 if name == "attention_mask" else np.float32 for name in padded}
        return {name: torch.from_numpy(np.asarray(padded[name], dtype=kind)) for name, kind in kinds.items()}


def _frames(encoded: list[np.ndarray]) -> dict[str, Tensor]:
    """Return the frames `(L, T, H)` of an encoder side by side, zero past each utterance's own."""
    if not encoded:
        return {}
    lengths = [frames.shape[1] for frames in encoded]
    padded = np.zeros((len(encoded), encoded[0].shape[0], max(lengths), encoded[0].shape[2]), dtype=np.float32)
    for row, frames, n in zip(padded, encoded, lengths, strict=True):
        row[:, :n] = frames
    return {"encoder_frames": torch.from_numpy(padded), "encoder_lengths": torch.tensor(lengths)}
