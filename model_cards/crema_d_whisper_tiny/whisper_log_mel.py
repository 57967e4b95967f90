"""Whisper's log-mel spectrogram, for a whole batch, on the model's device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from .valid_frames import length_mask


SAMPLING_RATE = 16000  # Hz
FRAME = 400  # samples of an analysis window, and length of the Fourier transform
HOP = 160  # samples between windows
HIGHEST = 8000.0  # Hz, upper edge of the highest band
FLOOR = 1e-10  # smallest band power
RANGE = 8.0  # decades below an utterance's loudest value that are kept


class WhisperLogMel(nn.Module):
    """Waveform (B, samples) -> log-mel spectrogram (B, frames, n_mels), always in float32.

    It is equal to transformers' `WhisperFeatureExtractor` on each utterance alone, without padding to 30 s: windows
    are centred on multiples of the hop, the waveform is mirrored at its own two ends, and the dynamic range ends
    `RANGE` decades below the utterance's own maximum.

    Args:
        n_mels: Number of mel bands between 0 Hz and 8 kHz: 80, for large-v3 128.
    """

    window: Tensor
    mel: Tensor

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.register_buffer("window", torch.empty(FRAME), persistent=False)
        self.register_buffer("mel", torch.empty(FRAME // 2 + 1, n_mels), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Compute window and filters, float32, on the device they are on."""
        device = self.window.device
        filters = mel_filter_bank(
            num_frequency_bins=FRAME // 2 + 1,
            num_mel_filters=self.n_mels,
            min_frequency=0.0,
            max_frequency=HIGHEST,
            sampling_rate=SAMPLING_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self.window = torch.hann_window(FRAME, dtype=torch.float32, device=device)
        self.mel = torch.from_numpy(filters).to(device=device, dtype=torch.float32)

    def _apply(self, fn: Any, recurse: bool = True) -> WhisperLogMel:
        # `model.to(torch.bfloat16)` and `to_empty` call this; neither must change the filters.
        super()._apply(fn, recurse)
        self.reset_parameters()
        return self

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Compute the spectrogram.

        Args:
            waveform: Shape (B, samples), zero past each utterance's length.
            lengths: Samples of each utterance, at least `FRAME`, shape (B,).

        Returns:
            Float32 (B, samples // `HOP`, n_mels), zero past each utterance's `lengths // HOP` frames.
        """
        with torch.autocast(device_type=waveform.device.type, enabled=False):
            frames = _mirrored(waveform.float(), lengths).unfold(-1, FRAME, HOP)[:, : waveform.shape[1] // HOP]
            spectrum = torch.fft.rfft(frames * self.window)
            power = spectrum.real.square() + spectrum.imag.square()
            log_mel = (power @ self.mel).clamp_min(FLOOR).log10()
            valid = length_mask(lengths // HOP, log_mel.shape[1])[:, :, None]
            loudest = log_mel.masked_fill(~valid, float("-inf")).amax((1, 2), keepdim=True)
            return ((torch.maximum(log_mel, loudest - RANGE) + 4) / 4).masked_fill(~valid, 0)


def _mirrored(waveform: Tensor, lengths: Tensor) -> Tensor:
    """Lengthen (B, samples) by half a window at both sides, mirrored at each row's own first and last sample."""
    margin = FRAME // 2
    start = waveform[:, 1 : margin + 1].flip(1)
    longer = torch.cat([start, waveform, waveform.new_zeros(waveform.shape[0], margin)], dim=1)
    steps = torch.arange(margin, device=waveform.device)[None]
    end = waveform.gather(1, lengths[:, None] - 2 - steps)
    return longer.scatter(1, lengths[:, None] + margin + steps, end)
