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


logger = logging.get_logger(__name__)

STATIC_NAMES = (*(f"mfcc_{i}" for i in range(1, 13)), "loudness", "f0", "voicing_probability", "zero_crossing_rate")
# Order of the dimensions of `input_features`.
FEATURE_NAMES = (*STATIC_NAMES, *(f"{name}_delta" for name in STATIC_NAMES))
# Goes up whenever the same waveform would give other raw features, so that caches of them are not mixed up.
ALGORITHM = 1


class Acoustic32FeatureExtractor(SequenceFeatureExtractor):
    """Waveforms to 32 features every 10 ms: 12 MFCC, loudness, F0, voicing, zero-crossing rate, their derivatives.

    Frames of 25 ms lie wholly inside the clip; a shorter clip is zero-padded to one frame. Loudness is
    `(I / 1e-6) ** 0.3`; F0 is in Hz and 0 where unvoiced, as in openSMILE; voicing probability and zero-crossing rate
    are in [0, 1]; derivatives are per frame, over five frames. How each is computed stands in
    `acoustic32_spectrum.py` and `acoustic32_pitch.py`; the order of dimensions in `FEATURE_NAMES`. The paper used
    openSMILE and does not say with which settings; `hf_ambiser.training.opensmile_features` computes the same
    with it.

    Every feature is normalised with mean and standard deviation of all frames of the training set (section 3.2), which
    `fit` finds and `save_pretrained` keeps. Without `fit` features come raw. To compute a corpus' features once, keep
    `extract`'s answers, and give them to `fit_features` and `collate`.

    Args:
        sampling_rate: Of the waveforms, in Hz.
        frame_length: Samples of a frame (400 is 25 ms at 16 kHz).
        hop_length: Samples from frame to frame (160 is 10 ms at 16 kHz).
        f0_min: Lowest F0 in Hz; three of its periods are the pitch window.
        f0_max: Highest F0 in Hz.
        voicing_threshold: Share of a frame's power that must repeat for it to count as voiced when its neighbours say
            nothing.
        mean: 32 means, or None before `fit`.
        std: 32 standard deviations, or None before `fit`. A dimension that never varied, std 0, comes out as 0.

    Raises:
        ValueError: If a setting is out of range; the message names it, its value and what is allowed.
    """

    model_input_names = ["input_features", "attention_mask"]
    # Set on the class and not by a call, so that a saved folder has its code however the class was reached.
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
            given = kwargs.pop(field, fixed)  # a saved file has it
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
        """Names of the 32 dimensions in their order."""
        return FEATURE_NAMES

    @property
    def is_fitted(self) -> bool:
        """Whether mean and standard deviation of a training set are known."""
        return self.mean is not None

    @property
    def fingerprint(self) -> str:
        """Twelve digits that differ where raw features may: for the name of a cache of `extract`'s answers."""
        settings = {"algorithm": ALGORITHM, "names": FEATURE_NAMES, **asdict(self._settings)}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def _settings(self) -> PitchSettings:
        """All that raw features depend on."""
        return PitchSettings(**{field.name: getattr(self, field.name) for field in fields(PitchSettings)})

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Frames of clips of `sample_lengths` samples, `(B,)`; at least one each."""
        return (sample_lengths - self.frame_length).clamp_min(0) // self.hop_length + 1

    @torch.no_grad()
    def extract(self, waveform: Any, sampling_rate: int | None = None) -> Tensor:
        """Raw features of one clip, `(T, 32)` float32, not normalised.

        Args:
            waveform: `(samples,)`, floating point in [-1, 1]: numpy, torch or a list.
            sampling_rate: Its rate in Hz, to be checked.

        Raises:
            ValueError: If the rate is another, or the clip is empty, not `(samples,)`, not floating point, not finite.
        """
        self._check_rate(sampling_rate)
        clip = _as_clip(waveform)
        frames = cut_frames(clip, self.frame_length, self.hop_length)
        f0, voicing = track_pitch(clip, len(frames), self._settings)
        single = torch.stack([loudness(frames), f0, voicing, zero_crossing_rate(frames)], dim=1)
        static = torch.cat([mfcc(frames, self.sampling_rate), single], dim=1)
        return torch.cat([static, derivatives(static)], dim=1)

    def fit(self, waveforms: Iterable[Any], sampling_rate: int | None = None) -> Acoustic32FeatureExtractor:
        """Find mean and standard deviation over all frames of the training set's clips, one clip at a time.

        They replace those of an earlier `fit`, in float64 and whatever the clips' order.

        Args:
            waveforms: The training set's clips, each as `extract` takes them.
            sampling_rate: Their rate in Hz, to be checked.

        Returns:
            The extractor itself.

        Raises:
            ValueError: If there is no clip, or one is as `extract` does not take it.
        """
        return self.fit_features(self.extract(waveform, sampling_rate) for waveform in waveforms)

    def fit_features(self, features: Iterable[Tensor]) -> Acoustic32FeatureExtractor:
        """The same from raw features that `extract` gave, each `(T, 32)`."""
        frames, mean, scatter = 0, *torch.zeros(2, self.feature_size, dtype=torch.float64)
        for clip in features:
            values = self._as_features(clip).double()
            # Clips' own statistics are merged (Chan et al., 1979): sums of squares would cancel.
            own = values.mean(0)
            total = frames + len(values)
            scatter = scatter + (values - own).square().sum(0) + (own - mean).square() * (frames * len(values) / total)
            mean = mean + (own - mean) * (len(values) / total)
            frames = total
        if not frames:
            raise ValueError(f"{type(self).__name__} got 0 clips to fit; allowed: 1 or more, the training set's.")
        self.mean, self.std = mean.tolist(), (scatter / frames).sqrt().tolist()
        return self

    def normalize(self, features: Tensor) -> Tensor:
        """Raw features `(T, 32)` less mean, over standard deviation; as they are, with one warning, before `fit`."""
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
        """Raw features of several clips to one normalised, padded batch.

        Args:
            features: What `extract` gave, each `(T, 32)`.
            padding: `padding`, `max_length` (frames), `truncation`, `pad_to_multiple_of`, `return_attention_mask`,
                `return_tensors`, as in `SequenceFeatureExtractor.pad`.

        Returns:
            `input_features` `(B, T, 32)` float32, 0 past a clip's end, and `attention_mask` `(B, T)`, 1 for a frame.
        """
        if not len(features):
            raise ValueError(f"{type(self).__name__} got 0 clips; allowed: 1 or more.")
        clips = [self.normalize(self._as_features(clip)) for clip in features]
        return self.pad(BatchFeature({"input_features": clips}), **padding)

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        padding: Any = True,
        return_tensors: Any = "pt",
        **options: Any,
    ) -> BatchFeature:
        """Features of one clip or of several of different lengths, normalised and padded.

        Args:
            raw_speech: One waveform `(samples,)`, or a list or `(B, samples)` array of them, floats in [-1, 1].
            sampling_rate: Their rate in Hz, to be checked.
            padding: True for the longest clip's frames, or as in `collate`.
            return_tensors: `"pt"` or `"np"`.
            options: Further arguments of `collate`.

        Returns:
            As `collate`. A clip's features are the same alone and beside others.
        """
        self._check_rate(sampling_rate)
        if sampling_rate is None:
            logger.warning_once(
                f"Acoustic32FeatureExtractor was not told the sampling rate and takes it for {self.sampling_rate} Hz; "
                "give sampling_rate, so that another rate is an error."
            )
        clips = [raw_speech] if _is_one_clip(raw_speech) else list(raw_speech)
        return self.collate(
            [self.extract(clip) for clip in clips], padding=padding, return_tensors=return_tensors, **options
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
            allowed = f"(T, {self.feature_size}), as extract() gives them"
            raise ValueError(f"features have shape {tuple(features.shape)}; allowed: {allowed}.")
        return features


def _is_one_clip(raw_speech: Any) -> bool:
    if hasattr(raw_speech, "ndim"):
        return raw_speech.ndim == 1
    return len(raw_speech) > 0 and not hasattr(raw_speech[0], "__len__")


def _as_clip(waveform: Any) -> Tensor:
    """`(samples,)` float32 on the CPU, checked."""
    # torch.tensor copies, and so takes read-only arrays without a warning.
    clip = waveform.detach().cpu() if isinstance(waveform, Tensor) else torch.tensor(waveform)
    if clip.ndim != 1 or not len(clip):
        raise ValueError(f"waveform has shape {tuple(clip.shape)}; allowed: (samples,), mono, at least one sample.")
    if not clip.is_floating_point():
        raise ValueError(
            f"waveform has type {clip.dtype}; allowed: floating point in [-1, 1]. Divide 16-bit integers by 32768."
        )
    clip = clip.float()
    if not clip.isfinite().all():
        raise ValueError("waveform has samples that are NaN or infinite; allowed: finite ones in [-1, 1].")
    return clip


# What hf_ambiser.models.register() gives to AutoFeatureExtractor, with the configuration of the model it belongs to.
FEATURE_EXTRACTOR = Acoustic32FeatureExtractor
