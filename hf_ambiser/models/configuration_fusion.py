"""Configuration of the spatial and temporal fusion model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from .configuration_waveform import WaveformClassifierConfig, check_fields
from .encoders import adapter_class
from .field_types import typed


VARIANTS = ("multi_fusion", "integrated", "spatial", "temporal")
SPATIAL_LAYERS = 5
HALVINGS = 5  # frames and bands are halved by the parallel convolutions and by all others but the last
SPATIAL_SIZE = 96


class FusionConfig(WaveformClassifierConfig):
    """Configuration of `FusionForAudioClassification`, the model of Gan et al. (SLC), section IV.

    Args:
        encoder_config: Configuration of the temporal branch, as in `WaveformClassifierConfig`; the variant "spatial"
            does not use it.
        variant: "multi_fusion" (Eq. 29-30), "integrated" (both branches side by side, then the classifier),
            "spatial" or "temporal" (one branch only): Table VII.
        segment_seconds: Longer utterances are cut into segments of this length; None: no cutting.
        minimum_seconds: Shorter segments are padded with zeros at their end to this length.
        normalize_waveform: Whether the temporal branch gets each segment scaled to mean 0 and variance 1. None: as
            encoders of the kind are trained: True for wav2vec 2.0 and its like, False for log-mel and Whisper.
        frame_weights: "softmax" over the valid frames, or "none", as Eq. 27-28 are written.
        fusion_size: Size d_t of the fused vector, Eq. 30.
        fusion_hidden_size: Size of the two hidden layers of Eq. 29.
        fusion_activation: "softmax", as Eq. 30 is written, or "none".
        classifier_hidden_size: Hidden size of the classifier, section IV-F.
        classifier_dropout: Dropout in the classifier.
        sampling_rate: Sampling rate of the waveform in Hz.
        frame_seconds: Analysis window of the log-mel filter bank.
        hop_seconds: Step between windows.
        n_mels: Number of mel bands.
        pre_emphasis: Coefficient of the pre-emphasis; the paper gives none, this is Kaldi's.
        log_mel_mean: Subtracted from every log band power.
        log_mel_std: Divides the result. Both are fixed, so that the level of a voice counts; the defaults are the
            rounded statistics of 300 CREMA-D utterances (-5.1, 2.8).
        spatial_channels: Output channels of the five 3x3 convolutions; the last must be 96.
        layer_norm_eps: Added to the variance over channels.
        **kwargs: `layers` and `standardize_frames` (see `WaveformClassifierConfig`), and fields of `PreTrainedConfig`,
            among them `id2label`/`label2id` or `num_labels` (K classes).

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_fusion"
    model_class = "modeling_fusion.FusionForAudioClassification"
    keys_to_ignore_at_inference = ["embedding", "segment_logits", "segment_clip"]
    encoder_acts_with = "another variant"

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        variant: str = "multi_fusion",
        segment_seconds: float | None = 7.0,
        minimum_seconds: float = 1.5,
        normalize_waveform: bool | None = None,
        frame_weights: str = "softmax",
        fusion_size: int = 64,
        fusion_hidden_size: int = 128,
        fusion_activation: str = "softmax",
        classifier_hidden_size: int = 128,
        classifier_dropout: float = 0.1,
        sampling_rate: int = 16000,
        frame_seconds: float = 0.04,
        hop_seconds: float = 0.01,
        n_mels: int = 40,
        pre_emphasis: float = 0.97,
        log_mel_mean: float = -5.0,
        log_mel_std: float = 2.8,
        spatial_channels: Sequence[int] = (32, 48, 64, 80, SPATIAL_SIZE),
        layer_norm_eps: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        self.variant = variant
        self.segment_seconds = segment_seconds
        self.minimum_seconds = minimum_seconds
        self.frame_weights = frame_weights
        self.fusion_size = fusion_size
        self.fusion_hidden_size = fusion_hidden_size
        self.fusion_activation = fusion_activation
        self.classifier_hidden_size = classifier_hidden_size
        self.classifier_dropout = classifier_dropout
        self.sampling_rate = sampling_rate
        self.frame_seconds = frame_seconds
        self.hop_seconds = hop_seconds
        self.n_mels = n_mels
        self.pre_emphasis = pre_emphasis
        self.log_mel_mean = log_mel_mean
        self.log_mel_std = log_mel_std
        self.spatial_channels = list(spatial_channels)
        self.layer_norm_eps = layer_norm_eps
        super().__init__(encoder_config, **kwargs)
        if normalize_waveform is None:
            normalize_waveform = adapter_class(self.encoder_config).scales_waveforms
        self.normalize_waveform = normalize_waveform
        self._check()

    def _check(self) -> None:
        least = self.shortest_seconds
        longest = self.minimum_seconds if self.segment_seconds is None else self.segment_seconds
        positive = "a whole number of at least 1"
        encoder = self.variant != "spatial"
        rate = getattr(self.encoder_config, "sampling_rate", None)  # log-mel has one; all others take 16 kHz
        channels = len(self.spatial_channels) == SPATIAL_LAYERS and min(self.spatial_channels) >= 1
        check_fields(
            self,
            {
                "variant": (self.variant in VARIANTS, f"one of {', '.join(VARIANTS)}"),
                "layers": (encoder or self.layers == "last", "'last': 'spatial' has no encoder"),
                "standardize_frames": (encoder or not self.standardize_frames, "False: 'spatial' has no encoder"),
                "frames_averaged": (encoder or self.frames_averaged == 1, "1: 'spatial' has no encoder"),
                "frame_weights": (self.frame_weights in ("softmax", "none"), "softmax, none"),
                "fusion_activation": (self.fusion_activation in ("softmax", "none"), "softmax, none"),
                "fusion_size": (self.fusion_size >= 1, positive),
                "fusion_hidden_size": (self.fusion_hidden_size >= 1, positive),
                "classifier_hidden_size": (self.classifier_hidden_size >= 1, positive),
                "classifier_dropout": (0 <= self.classifier_dropout < 1, "in [0, 1)"),
                "sampling_rate": (not encoder or rate in (None, self.sampling_rate), f"the encoder's, {rate}"),
                "frame_seconds": (self.frame_length >= 2, "two samples or more"),
                "hop_seconds": (self.hop_length >= 1, "a sample or more"),
                "n_mels": (
                    self.n_mels >= 2**HALVINGS,
                    f"at least {2**HALVINGS}, which {HALVINGS} halvings leave one of",
                ),
                "pre_emphasis": (0 <= self.pre_emphasis < 1, "in [0, 1)"),
                "log_mel_std": (self.log_mel_std > 0, "above 0"),
                "spatial_channels": (
                    channels and self.spatial_channels[-1] == SPATIAL_SIZE,
                    f"{SPATIAL_LAYERS} numbers of at least 1, the last {SPATIAL_SIZE}",
                ),
                "minimum_seconds": (
                    self.minimum_seconds >= least,
                    f"at least {least:.3g}: {HALVINGS} halvings of the frames must leave one",
                ),
                "segment_seconds": (
                    longest >= self.minimum_seconds,
                    f"None, or at least minimum_seconds ({self.minimum_seconds})",
                ),
            },
        )

    @classmethod
    def acting_encoder_fields(cls, variant: str = "multi_fusion", **fields: Any) -> tuple[str, ...] | None:
        """Return which fields of the encoder's configuration act: none for the spatial branch alone, else all."""
        return () if variant == "spatial" else None

    @property
    def frame_length(self) -> int:
        """Length of an analysis window in samples."""
        return round(self.frame_seconds * self.sampling_rate)

    @property
    def hop_length(self) -> int:
        """Step between windows in samples."""
        return round(self.hop_seconds * self.sampling_rate)

    @property
    def shortest_seconds(self) -> float:
        """Shortest waveform, in seconds, of which the spatial branch has a frame left."""
        return (self.frame_length + (2**HALVINGS - 1) * self.hop_length) / self.sampling_rate

    def describe(self) -> str:
        """Describe the architecture above the encoder in a few words, for a model card."""
        spatial = "a convolutional branch on the log-mel spectrogram"
        layers = self.describe_layers()
        frames = f"{layers}," if layers else "the encoder's frames"
        temporal = f"{frames}, summed over time with learned weights"
        return {
            "multi_fusion": f"{temporal}, and {spatial}, fused on several levels; then a classifier",
            "integrated": f"{temporal}, and {spatial}, side by side; then a classifier",
            "spatial": f"{spatial}, without an encoder; then a classifier",
            "temporal": f"{temporal}; then a classifier",
        }[self.variant]
