"""The 32 features of Fujioka et al. by openSMILE, the paper's own tool (`pip install "hf-ambiser[opensmile]"`).

openSMILE's licence allows private and research use only, not commercial use. So it is an extra, and nothing else here
needs it. A saved model computes the features of `hf_ambiser.models.feature_extraction_acoustic32` by itself, but a
model that is trained on openSMILE's features needs openSMILE wherever it is used.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.data.schema import SAMPLING_RATE


CONFIG = Path(__file__).with_name("opensmile_acoustic32.conf")
# Lengths of the configuration's frames in samples: 25 ms, and 60 ms for pitch and voicing.
FRAME, LONG_FRAME = 400, 960
# openSMILE's names of the descriptors, in the order of `Acoustic32FeatureExtractor.feature_names`.
DESCRIPTORS = (*(f"mfcc[{i}]" for i in range(1, 13)), "RMSloudness", "F0final", "voicingFinalUnclipped", "pcm_zcr")


class OpenSmileError(ValueError):
    """openSMILE is not installed, or cannot take the waveform."""


def opensmile_features(waveform: np.ndarray) -> np.ndarray:
    """Return the features of one utterance, `(T, 32)` float32, as unscaled as `Acoustic32FeatureExtractor.extract`'s.

    The T frames are the same, too. The configuration beside this file says what is computed, and why. F0 (in Hz, 0
    where unvoiced) and voicing probability belong to 60 ms that *begin* with a frame, as in openSMILE's own sets.
    That is 17.5 ms later than ours, which are centred. Where a signal is exactly 0, openSMILE's zero-crossing rate is
    about 1, ours is 0.

    Args:
        waveform: `(samples,)` floating point in [-1, 1] at 16 kHz.

    Raises:
        OpenSmileError: If openSMILE is not installed, or the waveform has another shape or type.
    """
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not waveform.size or waveform.dtype.kind != "f":
        raise OpenSmileError(
            f"waveform has shape {waveform.shape} and type {waveform.dtype}; allowed: (samples,), at least one,"
            " floating point in [-1, 1] (divide 16-bit integers by 32768)."
        )
    smile = _smile()
    # Pad the end so that 60 ms follow the start of the last 25 ms frame, too.
    padded = np.pad(waveform.astype(np.float32), (0, max(FRAME - len(waveform), 0) + LONG_FRAME - FRAME))
    features = np.asarray(smile(padded, SAMPLING_RATE))[0].T
    order = [smile.feature_names.index(name) for name in DESCRIPTORS]
    # The derivatives follow in the descriptors' own order.
    order += [i + len(DESCRIPTORS) for i in order]
    return np.ascontiguousarray(features[:, order], dtype=np.float32)


@lru_cache(maxsize=1)
def _smile() -> Any:
    try:
        import opensmile
    except ModuleNotFoundError as error:
        if error.name != "opensmile":
            raise
        raise OpenSmileError(
            'opensmile is not installed: pip install "hf-ambiser[opensmile]" (its licence is non-commercial), or use '
            "Acoustic32FeatureExtractor, which does not need it."
        ) from None
    return opensmile.Smile(feature_set=str(CONFIG), feature_level="features", sampling_rate=SAMPLING_RATE)
