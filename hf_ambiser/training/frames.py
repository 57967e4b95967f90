"""Frames of slow feature extractors, computed once and cached by `datasets`.

Some extractors are too slow to run in every epoch. Such an extractor has `extract(waveform) -> (T, D)`, which gives
the raw frames of one utterance; `fingerprint`, which changes whenever these frames could change; `collate(frames,
...)`, which makes the padded batch; and `fit_features(frames)` and `fit(waveforms)`, which compute statistics of the
training set. An extractor without `extract` gets waveforms.
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
    """Add a column `frames`, which `read_frames` reads; `datasets` caches it on disk, and audio is not copied.

    Args:
        dataset: Has an `audio` column of encoded bytes. Selections from the result share its frames.
        extractor: See the module's docstring.
        max_seconds: Longer utterances are first cut at their end.
    """
    from datasets import Features, Value, concatenate_datasets

    limit = None if max_seconds is None else round(max_seconds * SAMPLING_RATE)

    def compute(row: dict[str, Any]) -> dict[str, bytes]:
        stream = io.BytesIO()
        signal = decode(row["audio"]["bytes"], f"the audio of {row.get('id')!r}")[:limit]
        np.save(stream, np.asarray(extractor.extract(signal), dtype=np.float32))
        return {FRAMES: stream.getvalue()}

    frames = dataset.select_columns(["audio"]).map(
        compute,
        remove_columns=["audio"],
        features=Features({FRAMES: Value("binary")}),
        # Set the fingerprint here: a hash of the function would include everything that the extractor holds.
        new_fingerprint=f"{dataset._fingerprint}-{extractor.fingerprint}-{limit}",
        desc="features",
    )
    return concatenate_datasets([dataset, frames], axis=1)


def read_frames(stored: bytes) -> np.ndarray:
    """Return frames `(T, D)`, float32, from their stored bytes."""
    return np.load(io.BytesIO(stored))
