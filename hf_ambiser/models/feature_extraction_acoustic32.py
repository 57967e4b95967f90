"""The 32 acoustic features of Fujioka et al., section 3.2, as a feature extractor that is saved with a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import logging

from .acoustic32_pitch import PitchSettings, track_pitch
from .acoustic32_spectrum import cut_frames, derivatives, loudness, mfcc, zero_crossing_rate
from .waveform_check import checked_lengths


logger = logging.get_logger(__name__)

STATIC_NAMES = (*(f"mfcc_{i}" for i in range(1, 13)), "loudness", "f0", "voicing_probability", "zero_crossing_rate")
# Order of the dimensions of `input_features`.
FEATURE_NAMES = (*STATIC_NAMES, *(f"{name}_delta" for name in STATIC_NAMES))
# Increase it whenever the same waveform would give other raw features, so that old caches are not used.
ALGORITHM = 1


class Acoustic32FeatureExtractor(SequenceFeatureExtractor):
    """Turns waveforms into 32 features every 10 ms.

    They are 12 MFCC, loudness, F0, voicing probability, zero-crossing rate, and the derivatives of all these. Frames
    of 25 ms lie completely inside the utterance; a shorter utterance is zero-padded to one frame. Loudness is
    `(I / 1e-6) ** 0.3`; F0 is in Hz and 0 where unvoiced, as in openSMILE; voicing probability and zero-crossing rate
    are in [0, 1]; derivatives are per frame, over five frames. `acoustic32_spectrum.py` and `acoustic32_pitch.py`
    compute them; `FEATURE_NAMES` is their order. The paper used openSMILE and does not give its settings;
    `hf_ambiser.training.opensmile_features` uses openSMILE for the same features.

    Every feature is normalised with the mean and standard deviation of all frames of the training set (section 3.2),
    which `fit` computes and `save_pretrained` saves. Without `fit`, features are not normalised. To compute the
    features of a corpus only once, keep the results of `extract` and give them to `fit_features` and `collate`.

    Args:
        sampling_rate: Sampling rate of the waveforms in Hz.
        frame_length: Length of a frame in samples (400 is 25 ms at 16 kHz).
        hop_length: Step between frames in samples (160 is 10 ms at 16 kHz).
        f0_min: Lowest F0 in Hz; the pitch window has three of its periods.
        f0_max: Highest F0 in Hz.
        voicing_threshold: Share of a frame's power that must repeat for the frame to count as voiced, if its
            neighbours decide nothing.
        mean: 32 means, or None before `fit`.
        std: 32 standard deviations, or None before `fit`. A dimension with std 0, which never varied, becomes 0.

    Raises:
        ValueError: If a setting is out of range; the message names it, its value and what is allowed.
    """

    model_input_names = ["input_features", "attention_mask"]
    # Set here, so that a saved folder always has the code, however the class was imported.
    _auto_class: Any = "AutoFeatureExtractor"

    def __init__(
        self,
        sampling_rate: int = 16000,
        frame_length: int = 400,
        hop_length: int = 160,
        f0_min: float = 50.0,
        f0_max: float = 500.0,
        voicing_threshold: float = 0.5,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        for field, fixed in (("feature_size", len(FEATURE_NAMES)), ("padding_value", 0.0), ("padding_side", "right")):
            given = kwargs.pop(field, fixed)  # saved files have these fields
            if given != fixed:
                raise ValueError(f"{type(self).__name__}.{field} is {given!r}; allowed: {fixed!r} only.")
        super().__init__(feature_size=len(FEATURE_NAMES), sampling_rate=sampling_rate, padding_value=0.0, **kwargs)
        self.frame_length = frame_length
        self.hop_length = hop_length
        self.f0_min = f0_min
        self.f0_max = f0_max
        self.voicing_threshold = voicing_threshold
        self.mean = None if mean is None else [float(value) for value in mean]
        self.std = None if std is None else [float(value) for value in std]
        self._check()

    def _check(self) -> None:
        self._require("sampling_rate", self.sampling_rate >= 8000, "at least 8000, for the pitch tracker's band")
        self._require("frame_length", self.frame_length >= 2, "a whole number of at least 2")
        self._require("hop_length", self.hop_length >= 1, "a whole number of at least 1")
        highest = self.sampling_rate / 4
        self._require("f0_min", self.f0_min > 0, "above 0")
        self._require("f0_max", self.f0_min < self.f0_max <= highest, f"above f0_min ({self.f0_min}), to {highest}")
        self._require("voicing_threshold", 0 < self.voicing_threshold < 1, "in (0, 1)")
        size = len(FEATURE_NAMES)
        for field in ("mean", "std"):
            values = getattr(self, field)
            self._require(field, values is None or len(values) == size, f"None or {size} numbers; fit() finds them")
        self._require("std", (self.std is None) == (self.mean is None), "given together with mean")
        self._require("std", self.std is None or min(self.std) >= 0, "numbers of at least 0")

    def _require(self, field: str, ok: bool, allowed: str) -> None:
        if not ok:
            value = getattr(self, field)
            raise ValueError(f"{type(self).__name__}.{field} is {value!r}; allowed: {allowed}.")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the 32 dimensions, in their order."""
        return FEATURE_NAMES

    @property
    def is_fitted(self) -> bool:
        """Whether the mean and standard deviation of a training set are known."""
        return self.mean is not None

    @property
    def fingerprint(self) -> str:
        """Twelve digits that change whenever raw features could change, to name a cache of `extract`'s results."""
        settings = {"algorithm": ALGORITHM, "names": FEATURE_NAMES, **asdict(self._settings)}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def _settings(self) -> PitchSettings:
        """All settings that raw features depend on."""
        return PitchSettings(**{field.name: getattr(self, field.name) for field in fields(PitchSettings)})

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of frames for `sample_lengths` samples, `(B,)`; at least one each."""
        return (sample_lengths - self.frame_length).clamp_min(0) // self.hop_length + 1

    @torch.no_grad()
    def extract(self, waveform: Any, sampling_rate: int | None = None) -> Tensor:
        """Compute the raw features of one utterance, `(T, 32)` float32, not normalised.

        Args:
            waveform: `(samples,)`, floating point in [-1, 1]: numpy, torch or a list.
            sampling_rate: Its rate in Hz, which is checked.

        Raises:
            ValueError: If the rate is another, or the waveform is empty, not `(samples,)`, not floating point, not
                finite or far beyond [-1, 1].
        """
        self._check_rate(sampling_rate)
        samples = _as_samples(waveform)
        frames = cut_frames(samples, self.frame_length, self.hop_length)
        f0, voicing = track_pitch(samples, len(frames), self._settings)
        single = torch.stack([loudness(frames), f0, voicing, zero_crossing_rate(frames)], dim=1)
        static = torch.cat([mfcc(frames, self.sampling_rate), single], dim=1)
        return torch.cat([static, derivatives(static)], dim=1)

    def fit(self, waveforms: Iterable[Any], sampling_rate: int | None = None) -> Acoustic32FeatureExtractor:
        """Compute mean and standard deviation over all frames of the training set, one utterance at a time.

        They replace those of an earlier `fit`. The computation is in float64, for any order of the utterances.

        Args:
            waveforms: The utterances of the training set, each as for `extract`.
            sampling_rate: Their rate in Hz, which is checked.

        Returns:
            The extractor itself.

        Raises:
            ValueError: If there is no utterance, or `extract` refuses one.
        """
        return self.fit_features(self.extract(waveform, sampling_rate) for waveform in waveforms)

    def fit_features(self, features: Iterable[Tensor]) -> Acoustic32FeatureExtractor:
        """Do the same as `fit` with raw features from `extract`, each `(T, 32)`."""
        frames, mean, scatter = 0, *torch.zeros(2, self.feature_size, dtype=torch.float64)
        for one in features:
            values = self._as_features(one).double()
            # Merge the statistics of utterances (Chan et al., 1979): differences of sums of squares would cancel.
            own = values.mean(0)
            total = frames + len(values)
            scatter = scatter + (values - own).square().sum(0) + (own - mean).square() * (frames * len(values) / total)
            mean = mean + (own - mean) * (len(values) / total)
            frames = total
        if not frames:
            raise ValueError(f"{type(self).__name__}.fit got 0 utterances; allowed: 1 or more, the training set's.")
        self.mean, self.std = mean.tolist(), (scatter / frames).sqrt().tolist()
        return self

    def normalize(self, features: Tensor) -> Tensor:
        """Normalise raw features `(T, 32)`; before `fit`, return them unchanged and warn once."""
        if self.mean is None or self.std is None:
            logger.warning_once(
                "Acoustic32FeatureExtractor has no mean and std: features are not normalised. Call fit() with the "
                "training set's waveforms."
            )
            return features
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (self.mean, self.std))
        scaled = (features.double() - mean) / torch.where(std > 0, std, 1.0)
        return torch.where(std > 0, scaled, 0.0).float()

    def collate(self, features: Sequence[Tensor], **padding: Any) -> BatchFeature:
        """Make one normalised, padded batch of the raw features of several utterances.

        Args:
            features: Results of `extract`, each `(T, 32)`.
            padding: `padding`, `max_length` (frames), `truncation`, `pad_to_multiple_of`, `return_attention_mask`,
                `return_tensors`, as in `SequenceFeatureExtractor.pad`.

        Returns:
            `input_features` `(B, T, 32)` float32, 0 past an utterance's end, and `attention_mask` `(B, T)`, 1 for a
            frame.
        """
        if not len(features):
            raise ValueError(f"{type(self).__name__} got 0 utterances; allowed: 1 or more.")
        normalised = [self.normalize(self._as_features(one)) for one in features]
        return self.pad(BatchFeature({"input_features": normalised}), **padding)

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        padding: Any = True,
        return_tensors: Any = "pt",
        **options: Any,
    ) -> BatchFeature:
        """Compute the features of one or several utterances, normalised and padded.

        Args:
            raw_speech: One waveform `(samples,)`, or a list or `(B, samples)` array of them, floats in [-1, 1].
            sampling_rate: Their rate in Hz, which is checked.
            padding: True to pad to the longest utterance, or as in `collate`.
            return_tensors: `"pt"` or `"np"`.
            options: Further arguments of `collate`.

        Returns:
            The same as `collate`. An utterance has the same features alone and beside others.
        """
        self._check_rate(sampling_rate)
        if sampling_rate is None:
            logger.warning_once(
                f"Acoustic32FeatureExtractor got no sampling_rate and assumes {self.sampling_rate} Hz; give "
                "sampling_rate, so that a wrong rate is an error."
            )
        waveforms = [raw_speech] if _is_one_waveform(raw_speech) else list(raw_speech)
        return self.collate(
            [self.extract(one) for one in waveforms], padding=padding, return_tensors=return_tensors, **options
        )

    def _check_rate(self, sampling_rate: int | None) -> None:
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(
                f"sampling_rate is {sampling_rate}; allowed: {self.sampling_rate}, that of {type(self).__name__}. "
                "Resample the waveform first."
            )

    def _as_features(self, features: Any) -> Tensor:
        features = torch.as_tensor(features)
        if features.ndim != 2 or features.shape[1] != self.feature_size or not len(features):
            allowed = f"(T, {self.feature_size}), as extract() returns them"
            raise ValueError(f"features have shape {tuple(features.shape)}; allowed: {allowed}.")
        return features


def _is_one_waveform(raw_speech: Any) -> bool:
    if hasattr(raw_speech, "ndim"):
        return raw_speech.ndim == 1
    return len(raw_speech) > 0 and not hasattr(raw_speech[0], "__len__")


def _as_samples(waveform: Any) -> Tensor:
    """Check a waveform and return it as `(samples,)` float32 on the CPU."""
    # torch.tensor copies, so it takes read-only arrays without a warning.
    samples = waveform.detach().cpu() if isinstance(waveform, Tensor) else torch.tensor(waveform)
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"waveform has shape {tuple(samples.shape)}; allowed: (samples,), mono, at least one sample.")
    checked_lengths(samples[None], None, full_scale=True, warn=True, what="waveform")
    return samples.float()


# hf_ambiser.models.register() registers this class with AutoFeatureExtractor for the model's configuration.
FEATURE_EXTRACTOR = Acoustic32FeatureExtractor
