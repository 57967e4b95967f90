"""Waveform augmentation for contrastive learning and training: speed, tempo, pitch, reverberation, noise, gain.

IPR (section 2.3) makes the second view of an ambiguous utterance "through a mixing method ... adding noise, changing
volume, adding reverberation, and changing pitch". The paper gives no ranges; those of `AugmentConfig` are this
project's choice. Changes of speed and tempo (Ko et al., 2015) are not in the paper, and not in the mixture unless they
are asked for.

The random draws depend on `(seed, epoch, key)` only: not on the batch, the worker, the rank or the order. No global
random state is read or changed. So a run that is resumed within an epoch sees the same waveforms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from operator import index
from typing import Any

import numpy as np

from hf_ambiser.run_folder.decision import is_number
from hf_ambiser.training.augment_ops import (
    COLOURS,
    add_noise,
    apply_gain,
    change_speed,
    change_tempo,
    noise_pool,
    reverberate,
    samples_at_speed,
    shift_pitch,
    take_noise,
)


Array = np.ndarray
# They are applied as voice, room, microphone: speed and tempo before all others. In this order they share what is
# drawn when a mixture is empty, so the newest ones, which are off by default, stand last.
OPERATIONS = ("pitch", "reverberation", "noise", "gain", "speed", "tempo")
# The fields that say how strong each of them is.
RANGES = {
    "pitch": ("semitones",),
    "reverberation": ("t60_s", "wet"),
    "noise": ("snr_db", "noise_colours"),
    "gain": ("gain_db",),
    "speed": ("speed",),
    "tempo": ("tempo",),
}
KINDS = ("mixed", *OPERATIONS)
_LARGEST = 1e12  # squares summed in float32 must not overflow
_TAPS = 9  # two-tap filters in a room response: 512 echoes


@dataclass(frozen=True)
class AugmentConfig:
    """Which augmentations are applied, how often and how strongly. Ranges are (low, high), drawn uniformly.

    Args:
        kind: The name of one augmentation, which is then always applied, or "mixed": each augmentation has its own
            probability, and at least one is applied.
        noise_probability: Probability of noise in a mixture, 0..1.
        gain_probability: Probability of gain. A model that normalises its input does not notice gain alone.
        reverberation_probability: Probability of reverberation.
        pitch_probability: Probability of a pitch shift.
        speed_probability: Probability of another speed. It changes the length of the utterance.
        tempo_probability: Probability of another tempo. It changes the length, too.
        snr_db: Signal-to-noise ratio over the whole utterance, dB.
        noise_colours: Noise to choose from, with equal probability: "white", "pink" (1/f), "brown" (1/f^2).
        gain_db: Gain, dB. The result is not limited: samples may exceed 1.
        t60_s: Reverberation time (-60 dB), seconds.
        wet: Level of the echoes beside the direct sound, 0..1.
        semitones: Pitch shift, -12..12. It also moves the formants; large shifts can change the perceived emotion.
        speed: Factor of the speed, 0.5..2: above 1 the utterance is shorter and higher, formants included.
        tempo: Factor of the tempo, 0.5..2: above 1 the utterance is shorter, with the same pitch and formants.
        sampling_rate: Hz.
    """

    kind: str = "mixed"
    noise_probability: float = 0.5
    gain_probability: float = 0.5
    reverberation_probability: float = 0.5
    pitch_probability: float = 0.5
    speed_probability: float = 0.0
    tempo_probability: float = 0.0
    snr_db: tuple[float, float] = (10.0, 30.0)
    noise_colours: tuple[str, ...] = ("white", "pink", "brown")
    gain_db: tuple[float, float] = (-6.0, 6.0)
    t60_s: tuple[float, float] = (0.1, 0.5)
    wet: tuple[float, float] = (0.1, 0.4)
    semitones: tuple[float, float] = (-2.0, 2.0)
    speed: tuple[float, float] = (0.9, 1.1)
    tempo: tuple[float, float] = (0.9, 1.1)
    sampling_rate: int = 16000

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; allowed are {KINDS}.")
        chances = {f"{name}_probability": getattr(self, f"{name}_probability") for name in OPERATIONS}
        for name, value in chances.items():
            if not (is_number(value) and 0 <= value <= 1):
                raise ValueError(f"{name} is {value!r}; allowed is 0..1.")
        if self.kind == "mixed" and not any(chances.values()):
            raise ValueError(
                "All probabilities are 0, but kind='mixed' applies at least one augmentation; make one of"
                f" {sorted(chances)} positive, or train without an Augmenter."
            )
        limits = {
            "snr_db": (-100, 200),
            "gain_db": (-100, 100),
            "t60_s": (0.01, 10),
            "wet": (0, 1),
            "semitones": (-12, 12),
            "speed": (0.5, 2),
            "tempo": (0.5, 2),
        }
        for name, (lowest, highest) in limits.items():
            pair = getattr(self, name)
            numbers = isinstance(pair, tuple | list) and len(pair) == 2 and all(map(is_number, pair))
            if not (numbers and lowest <= pair[0] <= pair[1] <= highest):
                raise ValueError(
                    f"{name} is {pair!r}; allowed is (low, high) with {lowest} <= low <= high <= {highest}."
                )
        colours = self.noise_colours
        if not isinstance(colours, tuple | list) or not colours or any(one not in list(COLOURS) for one in colours):
            raise ValueError(f"noise_colours is {colours!r}; allowed is one or more of {tuple(COLOURS)}.")
        if not (is_number(self.sampling_rate) and self.sampling_rate >= 1000):
            raise ValueError(f"sampling_rate is {self.sampling_rate!r}; allowed is 1000 Hz or more.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AugmentConfig:
        """Make one from plain values (YAML, JSON); lists become tuples. An unknown name raises ValueError."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)}, key=str)
        if unknown:
            raise ValueError(f"AugmentConfig has no field {unknown}; allowed are {[f.name for f in fields(cls)]}.")
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)

    def acting(self) -> dict[str, Any]:
        """Return the fields that decide what is heard: nothing of an augmentation that is never applied.

        Cached copies are named after them, so a new augmentation that is off leaves those that exist as they are.
        """
        kinds = [self.kind]
        if self.kind == "mixed":
            kinds = [name for name in OPERATIONS if getattr(self, f"{name}_probability") > 0]
        ranges = [field for name in kinds for field in RANGES[name]]
        probabilities = [f"{name}_probability" for name in kinds if self.kind == "mixed"]
        every = self.to_dict()
        return {name: every[name] for name in ("kind", "sampling_rate", *probabilities, *ranges)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for logs and cards."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class AugmentPlan:
    """What was drawn for one utterance; None stands for an augmentation that is not applied.

    Args:
        speed: Factor of the speed.
        tempo: Factor of the tempo.
        semitones: Pitch shift.
        t60_s: Reverberation time.
        wet: Level of the echoes.
        echoes: `(2, m)` uniform numbers that give the places and signs of the echoes.
        snr_db: Signal-to-noise ratio.
        colour: Colour of the noise.
        offset: Start in the pool of noise, in [0, 1).
        gain_db: Gain.
    """

    speed: float | None = None
    tempo: float | None = None
    semitones: float | None = None
    t60_s: float | None = None
    wet: float = 0.0
    echoes: Array | None = None
    snr_db: float | None = None
    colour: str = "white"
    offset: float = 0.0
    gain_db: float | None = None


class Augmenter:
    """A callable `(waveform, seed, epoch, key) -> waveform`; see the module's docstring."""

    def __init__(self, config: AugmentConfig | Mapping[str, Any] | None = None) -> None:
        if config is None or isinstance(config, Mapping):
            config = AugmentConfig.from_dict(config or {})
        self.config = config

    def __call__(self, waveform: Array, seed: int, epoch: int, key: int | str) -> Array:
        """Augment one utterance.

        Args:
            waveform: `(T,)` floating point, T >= 1. It is not changed.
            seed: The run's seed; it also decides the pool of noise.
            epoch: The epoch; every epoch has its own draws.
            key: The utterance's id or index; `3` and `"3"` are different keys.

        Returns:
            `(samples(T, seed, epoch, key),)` float32, finite. A silent waveform stays silent.

        Raises:
            ValueError: If the waveform is not a one-dimensional, non-empty, finite floating-point array.
        """
        return self.apply(waveform, self.draw(seed, epoch, key), seed)

    def samples(self, samples: int, seed: int, epoch: int, key: int | str) -> int:
        """Return how long an utterance of `samples` samples becomes; without another speed or tempo, as it was."""
        plan = self.draw(seed, epoch, key)
        for factor in (plan.speed, plan.tempo):
            samples = samples if factor is None else samples_at_speed(samples, factor)
        return samples

    def draw(self, seed: int, epoch: int, key: int | str) -> AugmentPlan:
        """Draw the augmentations of `(seed, epoch, key)`."""
        config = self.config
        # The number of draws is fixed, so that a change of one probability leaves all other draws as they were. What
        # came later draws at the end, so that what is drawn before it stays as it was.
        u = keyed_generator(seed, epoch, key).random(12 + 2 * _TAPS + 4)

        def between(limits: tuple[float, float], at: float) -> float:
            return float(limits[0] + (limits[1] - limits[0]) * at)

        speed_chance, speed, tempo_chance, tempo = u[-4:]
        chosen = self._choose([*u[:4], speed_chance, tempo_chance], float(u[4]))
        colours = config.noise_colours
        return AugmentPlan(
            speed=between(config.speed, speed) if "speed" in chosen else None,
            tempo=between(config.tempo, tempo) if "tempo" in chosen else None,
            semitones=between(config.semitones, u[5]) if "pitch" in chosen else None,
            t60_s=between(config.t60_s, u[6]) if "reverberation" in chosen else None,
            wet=between(config.wet, u[7]),
            echoes=u[12:-4].reshape(2, _TAPS),
            snr_db=between(config.snr_db, u[8]) if "noise" in chosen else None,
            colour=colours[int(u[9] * len(colours))],
            offset=float(u[10]),
            gain_db=between(config.gain_db, u[11]) if "gain" in chosen else None,
        )

    def _choose(self, chances: Sequence[float], fallback: float) -> list[str]:
        """Return the operations to apply; an empty mixture gets one, in proportion to the probabilities."""
        if self.config.kind != "mixed":
            return [self.config.kind]
        probability = [getattr(self.config, f"{name}_probability") for name in OPERATIONS]
        chosen = [name for name, p, chance in zip(OPERATIONS, probability, chances, strict=True) if chance < p]
        if chosen:
            return chosen
        bounds = np.cumsum(probability)
        return [OPERATIONS[int(np.searchsorted(bounds, fallback * bounds[-1], side="right"))]]

    def apply(self, waveform: Array, plan: AugmentPlan, seed: int) -> Array:
        """Apply a plan; arguments, result and errors are those of `__call__`."""
        out = _check(waveform)
        rate = self.config.sampling_rate
        if plan.speed is not None:
            out = change_speed(out, plan.speed)
        if plan.tempo is not None:
            out = change_tempo(out, plan.tempo, rate)
        if plan.semitones is not None:
            out = shift_pitch(out, plan.semitones, rate)
        if plan.t60_s is not None and plan.echoes is not None:
            t60 = plan.t60_s * rate
            signs = np.where(plan.echoes[1] < 0.5, -1.0, 1.0)
            out = reverberate(out, echo_delays(t60, plan.echoes[0]), signs.tolist(), t60, plan.wet)
        if plan.snr_db is not None:
            pool = noise_pool(plan.colour, seed, rate)
            out = add_noise(out, take_noise(pool, int(plan.offset * len(pool)), len(out)), plan.snr_db)
        if plan.gain_db is not None:
            out = apply_gain(out, plan.gain_db)
        return out.copy() if np.may_share_memory(out, waveform) else out


def echo_delays(t60: float, uniform: Array) -> list[int]:
    """Return delays in samples whose sums fill 0..`t60`: its half, quarter, eighth ..., each moved by up to 20 %."""
    spread = 0.8 + 0.4 * np.asarray(uniform)
    return [max(1, int(t60 * 0.5 ** (i + 1) * s)) for i, s in enumerate(spread)]


def _check(waveform: Array) -> Array:
    array = np.asarray(waveform)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(
            f"waveform has shape {array.shape}; allowed is (samples,) with at least one: mix channels first."
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"waveform is {array.dtype}; allowed is floating point, -1..1: divide int16 by 32768.")
    array = np.ascontiguousarray(array, dtype=np.float32)
    largest = max(float(array.max()), -float(array.min()))
    if not largest < _LARGEST:  # NaN included
        raise ValueError(f"waveform has an extreme of {largest}; allowed are finite samples below {_LARGEST:g}.")
    return array


def keyed_generator(seed: int, epoch: int, key: int | str) -> np.random.Generator:
    """Return random numbers that depend on `(seed, epoch, key)` only."""
    name = key if isinstance(key, str) else index(key)
    digest = hashlib.blake2b(repr((index(seed), index(epoch), name)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
