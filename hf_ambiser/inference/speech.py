"""Whether there is speech in a window: a gate by loudness, and nothing more.

The level of a window is the one that its ten loudest frames of 25 ms reach (0.25 s; of a window under half a second,
the louder half of its frames), in dB of full scale. The level of a frame is its standard deviation, so a constant is
silent. A window has speech if its level is at least -60 dB and at most 30 dB below the level of the recording's
loudest window. Music and steady noise pass this gate.
"""

from __future__ import annotations

import math

import numpy as np


# dB of full scale. The quietest of CREMA-D's 3760 utterances has a level of -46.
FLOOR = -60.0
# dB below the loudest window.
RANGE = 30.0
_FRAME, _LOUD_FRAMES = 0.025, 10
_NOTHING = 1e-10


def level(samples: np.ndarray, rate: int) -> float:
    """Return the level of a window `(T,)` at `rate` Hz in dB of full scale, -200 for digital silence."""
    size = max(1, min(round(_FRAME * rate), len(samples)))
    n = len(samples) // size
    if n == 0:
        return 20 * math.log10(_NOTHING)
    frames = np.sort(samples[: n * size].reshape(n, size).astype(np.float64).std(axis=1))
    reached = frames[-min(_LOUD_FRAMES, max(1, n // 2))]
    return 20 * math.log10(max(float(reached), _NOTHING))


def threshold(loudest: float) -> float:
    """Return the least level of speech in a recording whose loudest window has the level `loudest`."""
    return max(FLOOR, loudest - RANGE)


def has_speech(level: float, loudest: float) -> bool:
    """Whether a window of some level has speech, in a recording whose loudest window has the level `loudest`."""
    return level >= threshold(loudest)
