"""The voice settings of each emotion class in the simulated corpus, and the differences between its speakers.

Reviews of vocal expression report the directions (Scherer 2003; Juslin and Laukka 2003): anger is loud, high and
bright; sadness is quiet, low, slow and breathy; happiness is high and lively, with the shorter vocal tract of a smile.
We chose the sizes so that a simple classifier does well but not perfectly. They do not measure any person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from hf_ambiser.data.simulated.keys import SPEAKER_STREAM, generator


@dataclass(frozen=True)
class VoiceSetting:
    """Acoustic parameters of one utterance, relative to the speaker's own voice; all of them mix linearly."""

    f0_level: float  # semitones above the speaker's base F0
    f0_range: float  # semitones, standard deviation over syllables
    f0_slope: float  # semitones from the first syllable to the last
    accent: float  # semitones, rise and fall inside a stressed syllable
    energy: float  # dB above the speaker's own level
    energy_range: float  # dB, standard deviation over syllables
    rate: float  # natural log of the speaking rate relative to the speaker's own
    tilt: float  # dB per octave added to the source spectrum (positive: brighter)
    jitter: float  # share of a period, standard deviation
    shimmer: float  # dB, standard deviation over glottal pulses
    breath: float  # dB, aspiration noise relative to the voiced source
    formants: float  # natural log of the formant scale (positive: shorter tract, a smile)
    pause: float  # share of syllable boundaries that carry a pause


PARAMETERS: tuple[str, ...] = tuple(field.name for field in fields(VoiceSetting))

# fmt: off
#                              level range slope accent energy e.rng  rate  tilt jitter shim. breath  form. pause
EMOTIONS: dict[str, VoiceSetting] = {
    "anger":     VoiceSetting(4.0,  3.0, -2.0,  3.0,   7.0,  5.0,  0.16,  4.0, 0.016, 1.2, -23.0, -0.06, 0.03),
    "happiness": VoiceSetting(6.5,  4.2,  1.5,  4.0,   3.5,  3.2,  0.10,  0.8, 0.009, 0.6, -19.0,  0.11, 0.06),
    "sadness":   VoiceSetting(-3.0, 1.2, -3.0,  0.5,  -6.0,  2.0, -0.28, -3.5, 0.014, 0.8,  -8.0, -0.03, 0.26),
    "neutral":   VoiceSetting(-0.5, 1.0, -2.0,  0.8,   0.0,  1.6,  0.00,  0.0, 0.004, 0.3, -32.0,  0.00, 0.10),
    "fear":      VoiceSetting(6.5,  2.2,  0.5,  1.0,   0.0,  3.0,  0.28, -0.8, 0.022, 1.4, -12.0,  0.03, 0.14),
    "disgust":   VoiceSetting(-1.5, 2.6, -4.0,  2.2,  -1.0,  3.6, -0.16,  1.5, 0.018, 1.0, -16.0, -0.09, 0.12),
    "surprise":  VoiceSetting(8.0,  5.5,  6.0,  6.0,   3.0,  4.0,  0.04,  0.8, 0.007, 0.5, -25.0,  0.06, 0.05),
}
# Spread of one utterance around the mixture of its classes, at difficulty 1.
SPREAD = VoiceSetting(      1.0,  0.4,  0.8,  0.5,   1.6,  0.4,  0.06,  0.7, 0.002, 0.1,   2.0,  0.01, 0.03)
# Values outside these limits would break the synthesis (a negative jitter) or be outside the range of voices.
LOWEST = VoiceSetting(     -8.0,  0.2, -9.0, -2.0, -14.0,  0.5, -0.50, -5.0, 0.001, 0.1, -34.0, -0.10, 0.00)
HIGHEST = VoiceSetting(    12.0,  8.0,  9.0,  9.0,  13.0,  7.0,  0.50,  6.0, 0.040, 2.5,  -4.0,  0.16, 0.50)
# fmt: on


@dataclass(frozen=True)
class Speaker:
    """The voice of one simulated speaker."""

    name: str
    f0: float  # Hz
    formants: float  # scale of the formant frequencies
    level: float  # dB
    rate: float  # natural log
    tilt: float  # dB per octave
    breath: float  # dB
    expressiveness: float  # how far the speaker moves away from neutral; 1 is average


def draw_speaker(seed: int, index: int) -> Speaker:
    """Draw speaker number `index` (from 0), which depends only on `(seed, index)`."""
    rng = generator(seed, SPEAKER_STREAM, index)
    # Low and high voices alternate, so that even four speakers include both kinds.
    low = index % 2 == 0
    z = rng.standard_normal(7)
    return Speaker(
        name=f"spk{index + 1:03d}",
        f0=(115.0 if low else 200.0) * float(np.exp(0.10 * z[0])),
        formants=(1.0 if low else 1.15) * float(np.exp(0.03 * z[1])),
        level=2.0 * float(z[2]),
        rate=0.08 * float(z[3]),
        tilt=0.8 * float(z[4]),
        breath=2.0 * float(z[5]),
        expressiveness=float(np.exp(0.15 * z[6])),
    )


def setting_table(classes: Sequence[str]) -> np.ndarray:
    """Return the settings of `classes` as an array (K, len(PARAMETERS)).

    Raises:
        ValueError: If a class has no voice setting or is named twice, or if there are fewer than two classes.
    """
    unknown = [name for name in classes if name not in EMOTIONS]
    if unknown:
        raise ValueError(
            f"classes: no voice setting for {unknown}; allowed: {sorted(EMOTIONS)}. "
            "Add a row to EMOTIONS in hf_ambiser/data/simulated/settings.py for a new class."
        )
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise ValueError(f"classes: {list(classes)} must name at least two classes, each once.")
    return np.array([[getattr(EMOTIONS[name], key) for key in PARAMETERS] for name in classes])


def mix_settings(
    distribution: np.ndarray,
    classes: Sequence[str],
    *,
    expressiveness: float = 1.0,
    noise: np.ndarray | None = None,
) -> VoiceSetting:
    """Mix the settings of `classes` by `distribution`: `sum_k p_k theta_k`, plus the utterance's own noise.

    Args:
        distribution: (K,) probabilities.
        classes: K class names.
        expressiveness: Factor for the distance from the mean of the classes' settings.
        noise: (len(PARAMETERS),) standard normal draws times the difficulty; `None` leaves the exact mixture.

    Returns:
        The utterance's setting, limited to `LOWEST` and `HIGHEST`.
    """
    table = setting_table(classes)
    centre = table.mean(axis=0)
    theta = centre + expressiveness * (np.asarray(distribution, dtype=np.float64) @ table - centre)
    if noise is not None:
        theta = theta + noise * _vector(SPREAD)
    return VoiceSetting(*np.clip(theta, _vector(LOWEST), _vector(HIGHEST)).tolist())


def _vector(setting: VoiceSetting) -> np.ndarray:
    return np.array([getattr(setting, key) for key in PARAMETERS])
