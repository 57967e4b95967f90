"""Frames that a slow feature extractor makes of clips, computed once and kept by `datasets`.

An extractor whose front end is too slow to run in every epoch has `extract(waveform) -> (T, D)`, raw frames of one
clip; `fingerprint`, which differs wherever these may; `collate(frames, ...)`, the padded batch; and
`fit_features(frames)` and `fit(waveforms)`, which take the training set's statistics. One without `extract` gets
waveforms, as ever.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ambiser.data.audio import decode
from hf_ambiser.data.schema import SAMPLING_RATE


if TYPE_CHECKING:
    from datasets import Dataset

FRAMES = "frames"


def with_frames(dataset: Dataset, extractor: Any, max_seconds: float | None = None) -> Dataset:
    """The data set with a column `frames`, read by `read_frames`; `datasets` caches it on disk, audio is not copied.

    Args:
        dataset: Has an `audio` column of encoded bytes. What is selected from the answer shares its frames.
        extractor: See above.
        max_seconds: Longer clips are cut at their end before.
    """
    from datasets import Features, Value, concatenate_datasets

    limit = None if max_seconds is None else round(max_seconds * SAMPLING_RATE)

    def compute(row: dict[str, Any]) -> dict[str, bytes]:
        stream = io.BytesIO()
        np.save(stream, np.asarray(extractor.extract(decode(row["audio"]["bytes"])[:limit]), dtype=np.float32))
        return {FRAMES: stream.getvalue()}

    frames = dataset.select_columns(["audio"]).map(
        compute,
        remove_columns=["audio"],
        features=Features({FRAMES: Value("binary")}),
        # Given by name: a hash of the function would take in everything that the extractor happens to hold.
        new_fingerprint=f"{dataset._fingerprint}-{extractor.fingerprint}-{limit}",
        desc="features",
    )
    return concatenate_datasets([dataset, frames], axis=1)


def read_frames(stored: bytes) -> np.ndarray:
    """`(T, D)` float32."""
    return np.load(io.BytesIO(stored))
