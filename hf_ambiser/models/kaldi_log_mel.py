"""Kaldi's log-mel filter bank, for a whole batch, on the model's device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank


EPSILON = torch.finfo(torch.float32).eps  # Kaldi's smallest band power
BLOCK = 256  # frames
LOWEST = 20.0  # Hz, lower edge of the lowest band


class KaldiLogMel(nn.Module):
    """Waveform (B, samples) -> log-mel filter bank (B, frames, n_mels), always in float32.

    It is equal to `torchaudio.compliance.kaldi.fbank` of each waveform with the same window and without dither.
    Frames lie completely inside the waveform. From each frame its mean is subtracted; then it is pre-emphasised,
    windowed, and transformed at the next power of two of its length.

    Args:
        sampling_rate: Sampling rate in Hz.
        frame_length: Analysis window in samples.
        hop_length: Step between windows in samples.
        n_mels: Number of mel bands between 20 Hz and half the sampling rate.
        pre_emphasis: Coefficient c of `x[t] - c x[t-1]`.
        window: "hamming", or "povey", Kaldi's own, a Hann window to the power of 0.85.
    """

    window: Tensor
    mel: Tensor

    def __init__(
        self,
        sampling_rate: int,
        frame_length: int,
        hop_length: int,
        n_mels: int,
        pre_emphasis: float,
        window: str = "hamming",
    ) -> None:
        super().__init__()
        self.sampling_rate = sampling_rate
        self.frame_length = frame_length
        self.hop_length = hop_length
        self.n_mels = n_mels
        self.pre_emphasis = pre_emphasis
        self.window_name = window
        self.n_fft = 1 << (frame_length - 1).bit_length()
        self.register_buffer("window", torch.empty(frame_length), persistent=False)
        self.register_buffer("mel", torch.empty(self.n_fft // 2 + 1, n_mels), persistent=False)

    def reset_parameters(self) -> None:
        """Compute window and filters, float32, on the device they are on."""
        device = self.window.device
        filters = mel_filter_bank(
            num_frequency_bins=self.n_fft // 2 + 1,
            num_mel_filters=self.n_mels,
            min_frequency=LOWEST,
            max_frequency=self.sampling_rate / 2,
            sampling_rate=self.sampling_rate,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
        size = self.frame_length
        options: dict[str, Any] = {"periodic": False, "dtype": torch.float32, "device": device}
        if self.window_name == "povey":
            self.window = torch.hann_window(size, **options) ** 0.85
        else:
            self.window = torch.hamming_window(size, alpha=0.54, beta=0.46, **options)
        self.mel = torch.from_numpy(filters).to(device=device, dtype=torch.float32)

    def _apply(self, fn: Any, recurse: bool = True) -> KaldiLogMel:
        # `model.to(torch.bfloat16)` and `to_empty` call this; neither must change the filters.
        super()._apply(fn, recurse)
        self.reset_parameters()
        return self

    def frame_lengths(self, samples: Tensor) -> Tensor:
        """Return the number of frames (B,) of waveforms of `samples` (B,) samples, at least `frame_length` each."""
        return (samples - self.frame_length) // self.hop_length + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, samples) -> (B, frames, n_mels) float32."""
        with torch.autocast(device_type=waveform.device.type, enabled=False):
            x, rest = waveform.float(), 1 - self.pre_emphasis
            # Pre-emphasis of the whole waveform equals that of each frame, except for a frame's first sample, before
            # which Kaldi repeats it. And to subtract the mean m before pre-emphasis is to subtract (1 - c) m after it.
            emphasised = torch.cat([x[:, :1] * rest, x[:, 1:] - self.pre_emphasis * x[:, :-1]], dim=1)
            frames = emphasised.unfold(-1, self.frame_length, self.hop_length)
            mean = nn.functional.avg_pool1d(x[:, None], self.frame_length, self.hop_length)[:, 0]
            first = x[:, : x.shape[1] - self.frame_length + 1 : self.hop_length]
            if torch.compiler.is_compiling():  # the number of blocks would be fixed in an exported graph
                return self._log_mel(frames, mean, first)
            # Blocks of a few hundred frames stay in a CPU's cache, which makes a batch twice as fast.
            size = frames.shape[1] if x.is_cuda else max(BLOCK // len(x), 1)
            parts = zip(*(tensor.split(size, dim=1) for tensor in (frames, mean, first)), strict=True)
            return torch.cat([self._log_mel(*part) for part in parts], dim=1)

    def _log_mel(self, frames: Tensor, mean: Tensor, first: Tensor) -> Tensor:
        """Pre-emphasised frames (B, T, frame_length), original mean and first sample (B, T) -> (B, T, n_mels)."""
        rest = 1 - self.pre_emphasis
        windowed = frames.sub((rest * mean)[..., None]).mul_(self.window)
        windowed[..., 0] = rest * (first - mean) * self.window[0]
        spectrum = torch.fft.rfft(windowed, n=self.n_fft)
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
        return (power @ self.mel).clamp_min_(EPSILON).log_()
