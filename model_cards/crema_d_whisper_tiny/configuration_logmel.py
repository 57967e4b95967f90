"""Configuration of the small log-mel encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from .field_types import typed


NORMS = ("channels", "frame", "batch", "none")


class LogMelConfig(PreTrainedConfig):
    """Configuration of `LogMelModel`: log-mel spectrogram, small 2-D convolutional stack, linear layer.

    Args:
        hidden_size: Size H of one output frame.
        sampling_rate: Sampling rate of the waveform in Hz.
        frame_length: Analysis window in samples (400 is 25 ms at 16 kHz).
        hop_length: Step between windows in samples (160 is 10 ms at 16 kHz).
        n_fft: Length of the Fourier transform; the window is zero-padded to it.
        n_mels: Number of mel bands.
        min_frequency: Lower edge of the lowest mel band in Hz.
        max_frequency: Upper edge of the highest mel band in Hz.
        mel_floor: Smallest band power; smaller ones are replaced by it before the logarithm.
        log_mel_mean: Subtracted from every log band power.
        log_mel_std: Divides the result. Both numbers are fixed and not taken from the utterance, because the level of
            a voice is a sign of its emotion; the defaults are the rounded statistics of 300 CREMA-D utterances (-5.1,
            3.4).
        conv_channels: Output channels of each convolution.
        conv_strides: `(time, mel)` stride of each convolution, one pair for each of `conv_channels`.
        conv_kernel_size: Odd size of the square kernels.
        dropout: Dropout after each convolution.
        layer_norm_eps: Added to the variance over channels.
        mask_time_prob: SpecAugment in training: the expected share of masked log-mel frames, overlaps counted.
        mask_time_length: Length of one masked span in log-mel frames.
        mask_freq_width: SpecAugment in training: largest width of the masked band of mel bins, one per utterance.
        norm_over: What a norm after a convolution takes its mean and deviation from: the `channels` of one position,
            or all channels and bands of one `frame`, which keeps how strong a band is beside the others. `batch`: each
            channel over the valid positions of a batch, in evaluation their moving averages; so what is learnt depends
            on which utterances are in a batch together (also on accumulation and ranks), and no answer does. `none`:
            there is no norm, how loud a frame is stays, too, and a training step is faster than with `frame`.

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_logmel"
    # The fields of `LogMelFrontend`, and those of SpecAugment on what it makes; all others are the convolutions'.
    front_end = (
        *("sampling_rate", "frame_length", "hop_length", "n_fft", "n_mels", "min_frequency", "max_frequency"),
        *("mel_floor", "log_mel_mean", "log_mel_std"),
    )
    spec_augment = ("mask_time_prob", "mask_time_length", "mask_freq_width")
    # Set here, so that a saved folder always has the code, however the class was imported.
    _auto_class = "AutoConfig"

    @typed
    def __init__(
        self,
        hidden_size: int = 128,
        sampling_rate: int = 16000,
        frame_length: int = 400,
        hop_length: int = 160,
        n_fft: int = 400,
        n_mels: int = 40,
        min_frequency: float = 20.0,
        max_frequency: float = 7600.0,
        mel_floor: float = 1e-6,
        log_mel_mean: float = -5.0,
        log_mel_std: float = 3.5,
        conv_channels: Sequence[int] = (16, 32, 64, 96),
        conv_strides: Sequence[Sequence[int]] = ((2, 2), (2, 2), (2, 2), (1, 2)),
        conv_kernel_size: int = 3,
        dropout: float = 0.1,
        layer_norm_eps: float = 1e-5,
        mask_time_prob: float = 0.0,
        mask_time_length: int = 10,
        mask_freq_width: int = 0,
        norm_over: str = "channels",
        **kwargs: Any,
    ) -> None:
        self.hidden_size = hidden_size
        self.sampling_rate = sampling_rate
        self.frame_length = frame_length
        self.hop_length = hop_length
        self.n_fft = n_fft
        self.n_mels = n_mels
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency
        self.mel_floor = mel_floor
        self.log_mel_mean = log_mel_mean
        self.log_mel_std = log_mel_std
        self.conv_channels = list(conv_channels)
        self.conv_strides = [list(stride) for stride in conv_strides]
        self.conv_kernel_size = conv_kernel_size
        self.dropout = dropout
        self.layer_norm_eps = layer_norm_eps
        self.mask_time_prob = mask_time_prob
        self.mask_time_length = mask_time_length
        self.mask_freq_width = mask_freq_width
        self.norm_over = norm_over
        self._check()
        super().__init__(**kwargs)

    def _check(self) -> None:
        positive = ("hidden_size", "sampling_rate", "frame_length", "hop_length", "n_mels", "mask_time_length")
        for field in positive:
            _require(self, field, getattr(self, field) >= 1, "a whole number of at least 1")
        _require(self, "n_fft", self.n_fft >= self.frame_length, f"at least frame_length ({self.frame_length})")
        _require(self, "norm_over", self.norm_over in NORMS, ", ".join(map(repr, NORMS)))
        _require(self, "mel_floor", self.mel_floor > 0, "above 0")
        _require(self, "log_mel_std", self.log_mel_std > 0, "above 0")
        nyquist = self.sampling_rate / 2
        allowed = f"above min_frequency ({self.min_frequency}) and at most half the sampling rate ({nyquist})"
        _require(self, "max_frequency", 0 <= self.min_frequency < self.max_frequency <= nyquist, allowed)
        channels_ok = bool(self.conv_channels) and min(self.conv_channels) >= 1
        _require(self, "conv_channels", channels_ok, "one or more numbers of at least 1")
        same_length = len(self.conv_strides) == len(self.conv_channels)
        pairs = all(len(stride) == 2 and min(stride) >= 1 for stride in self.conv_strides)
        allowed = f"one pair (time, mel) of numbers of at least 1 for each of {len(self.conv_channels)} conv_channels"
        _require(self, "conv_strides", same_length and pairs, allowed)
        _require(self, "conv_kernel_size", self.conv_kernel_size % 2 == 1, "an odd number")
        _require(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        _require(self, "mask_time_prob", 0 <= self.mask_time_prob < 1, "in [0, 1)")
        _require(self, "mask_freq_width", 0 <= self.mask_freq_width < self.n_mels, f"in [0, n_mels={self.n_mels})")


def _require(config: PreTrainedConfig, field: str, ok: bool, allowed: str) -> None:
    if not ok:
        value = getattr(config, field)
        raise ValueError(f"{type(config).__name__}.{field} is {value!r}; allowed: {allowed}.")
