"""A small encoder that a CPU can train from scratch: log-mel spectrogram, 2-D convolutions, linear layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.audio_utils import mel_filter_bank
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput

from .configuration_logmel import LogMelConfig
from .valid_batch_norm import ValidBatchNorm
from .valid_frames import length_mask, pad_to_minimum, sample_lengths


class LogMelFrontend(nn.Module):
    """Waveform (B, samples) -> normalised log-mel spectrogram (B, frames, n_mels), always in float32.

    It computes `(log(max(mel power, mel_floor)) - log_mel_mean) / log_mel_std`. Frames start at multiples of the hop
    and lie completely inside the waveform. There is no padding at the edges, so no frame reaches beyond the end.
    """

    window: Tensor
    mel: Tensor

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.empty(config.frame_length), persistent=False)
        self.register_buffer("mel", torch.empty(config.n_fft // 2 + 1, config.n_mels), persistent=False)

    def reset_parameters(self) -> None:
        """Compute the window and the mel filters, float32, on the device they are on.

        Raises:
            ValueError: If `n_mels` is so large that a filter falls between two frequency bins.
        """
        config, device = self.config, self.window.device
        filters = mel_filter_bank(
            num_frequency_bins=config.n_fft // 2 + 1,
            num_mel_filters=config.n_mels,
            min_frequency=config.min_frequency,
            max_frequency=config.max_frequency,
            sampling_rate=config.sampling_rate,
        )
        if (filters.max(axis=0) <= 0).any():
            raise ValueError(
                f"LogMelConfig.n_mels is {config.n_mels}, which leaves a mel filter without any frequency bin at "
                f"n_fft {config.n_fft}; allowed: fewer bands, or a larger n_fft."
            )
        self.window = torch.hann_window(config.frame_length, dtype=torch.float32, device=device)
        self.mel = torch.from_numpy(filters).to(device=device, dtype=torch.float32)

    def _apply(self, fn: Any, recurse: bool = True) -> LogMelFrontend:
        # `model.to(torch.bfloat16)` and `to_empty` call this; neither must change the filters.
        super()._apply(fn, recurse)
        self.reset_parameters()
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, samples) -> (B, frames, n_mels) float32."""
        config = self.config
        with torch.autocast(device_type=waveform.device.type, enabled=False):
            # torch.stft(center=False) would make frames of n_fft samples, not of the window's length.
            frames = waveform.float().unfold(-1, config.frame_length, config.hop_length) * self.window
            spectrum = torch.fft.rfft(frames, n=config.n_fft)
            power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
            log_mel = torch.log((power @ self.mel).clamp_min(config.mel_floor))
            return (log_mel - config.log_mel_mean) / config.log_mel_std


class LogMelBlock(GradientCheckpointingLayer):
    """Convolution over time and mel, a norm or none, GELU, dropout of whole channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: list[int], config: LogMelConfig) -> None:
        super().__init__()
        kernel = config.conv_kernel_size
        time_stride, mel_stride = stride
        self.time_stride = time_stride
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=(time_stride, mel_stride), padding=kernel // 2)
        self.norm_over_bands = config.norm_over == "frame"
        # Norm of one frame only: statistics over batch or time would depend on other utterances and on padding. Batch
        # norm is for those who ask for it: its answers do not depend on them, what it learns does.
        of_frame, eps = config.norm_over in ("channels", "frame"), config.layer_norm_eps
        self.layer_norm = nn.LayerNorm(out_channels, eps=eps) if of_frame else None
        self.batch_norm = ValidBatchNorm(out_channels, eps=eps) if config.norm_over == "batch" else None
        self.dropout = nn.Dropout(config.dropout)

    def frame_lengths(self, frames: Tensor) -> Tensor:
        """Return the number of valid output frames for `frames` (B,) input frames."""
        return (frames - 1) // self.time_stride + 1

    def forward(self, hidden_states: Tensor, frames: Tensor) -> Tensor:
        """(B, C_in, T, M), zero past `frames` (B,) -> (B, C_out, ceil(T / stride), ceil(M / stride)), zero past those.

        For a single utterance the convolution pads the end with zeros, so a batch must have zeros there, too.
        """
        hidden_states = self.conv(hidden_states)
        valid = length_mask(self.frame_lengths(frames), hidden_states.shape[2])
        hidden_states = nn.functional.gelu(self._normalised(hidden_states, valid))
        # Apply dropout and the zeros in one pass over the model's largest tensors. Drop whole channels: to draw a
        # number for each element would take a tenth of a training step on a CPU.
        channels = self.dropout(hidden_states.new_ones(hidden_states.shape[:2]))
        return hidden_states * (channels[:, :, None] * valid[:, None].to(channels.dtype))[..., None]

    def _normalised(self, hidden_states: Tensor, valid: Tensor) -> Tensor:
        """(B, C, T, M), which frames are valid (B, T) -> the same, normalised as `norm_over` says, or as it is."""
        if self.batch_norm is not None:
            return self.batch_norm(hidden_states, valid)
        if self.layer_norm is None:
            return hidden_states
        if not self.norm_over_bands:
            return self.layer_norm(hidden_states.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        frames = hidden_states.transpose(1, 2)
        frames = nn.functional.layer_norm(frames, frames.shape[2:], eps=self.layer_norm.eps).transpose(1, 2)
        return frames * self.layer_norm.weight[:, None, None] + self.layer_norm.bias[:, None, None]


class LogMelModel(PreTrainedModel):
    """Encoder of waveforms with about 0.1 M parameters; its frames are the same alone and in a padded batch."""

    config_class = LogMelConfig
    config: LogMelConfig
    main_input_name = "input_values"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    # The model has no attention, so every implementation of attention is allowed.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True
    _auto_class: Any = "AutoModel"
    _no_split_modules = ["LogMelBlock"]

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__(config)
        self.frontend = LogMelFrontend(config)
        channels = [1, *config.conv_channels]
        self.blocks = nn.ModuleList(
            LogMelBlock(channels[i], channels[i + 1], stride, config) for i, stride in enumerate(config.conv_strides)
        )
        bands = config.n_mels
        for _, mel_stride in config.conv_strides:
            bands = (bands - 1) // mel_stride + 1
        self.projection = nn.Linear(channels[-1] * bands, config.hidden_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            # Preserve the variance, instead of transformers' std of 0.02: this model learns from scratch.
            init.kaiming_normal_(module.weight, nonlinearity="relu" if isinstance(module, nn.Conv2d) else "linear")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, LogMelFrontend):
            # No checkpoint has these buffers, so `from_pretrained` leaves them uninitialised unless they are set here.
            module.reset_parameters()
        else:
            super()._init_weights(module)

    @property
    def minimum_samples(self) -> int:
        """Number of samples to which shorter waveforms are zero-padded: one window."""
        return self.config.frame_length

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of valid output frames for `sample_lengths` samples, shape (B,); at least one each."""
        frames = self._mel_frame_lengths(sample_lengths.clamp_min(self.minimum_samples))
        for block in self.blocks:
            frames = block.frame_lengths(frames)  # type: ignore[operator]
        return frames

    def _mel_frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        return (sample_lengths - self.config.frame_length) // self.config.hop_length + 1

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None) -> BaseModelOutput:
        """Encode waveforms.

        Args:
            input_values: Waveforms in [-1, 1] at `config.sampling_rate`, shape (B, samples).
            attention_mask: 1 for a sample, 0 for padding at the end, shape (B, samples).

        Returns:
            `last_hidden_state` of shape (B, frames, H), zero past `frame_lengths`.
        """
        lengths = sample_lengths(input_values, attention_mask)
        waveform, lengths = pad_to_minimum(input_values, lengths, self.minimum_samples)
        features = self.frontend(waveform)
        if self.training:
            features = self._mask_features(features)
        frames = self._mel_frame_lengths(lengths)
        features = features.masked_fill(~length_mask(frames, features.shape[1])[:, :, None], 0)
        hidden_states = features.to(self.projection.weight.dtype)[:, None]
        if self.training and any(block.gradient_checkpointing for block in self.blocks):
            # Reentrant checkpointing gives a block gradients only if one of its inputs asks for one.
            hidden_states.requires_grad_(True)
        for block in self.blocks:
            hidden_states = block(hidden_states, frames)
            frames = block.frame_lengths(frames)  # type: ignore[operator]
        hidden_states = self.projection(hidden_states.transpose(1, 2).flatten(2))
        padded = ~length_mask(frames, hidden_states.shape[1])[:, :, None]
        return BaseModelOutput(last_hidden_state=hidden_states.masked_fill(padded, 0))

    def _mask_features(self, features: Tensor) -> Tensor:
        """Apply SpecAugment (Park et al., 2019) to (B, frames, n_mels): masked values become 0, the fixed mean."""
        config = self.config
        batch, frames, bands = features.shape
        if config.mask_time_prob > 0:
            length = config.mask_time_length
            # A span may begin at any frame, also before the first one, with the same probability for any length.
            starts = torch.rand(batch, 1, frames + length - 1, device=features.device) < config.mask_time_prob / length
            spans = nn.functional.max_pool1d(starts.float(), length, stride=1)[:, 0] > 0
            features = features.masked_fill(spans[:, :, None], 0)
        if config.mask_freq_width > 0:
            width = torch.randint(0, config.mask_freq_width + 1, (batch, 1), device=features.device)
            start = (torch.rand(batch, 1, device=features.device) * (bands - width + 1)).long()
            band = torch.arange(bands, device=features.device)[None]
            features = features.masked_fill(((band >= start) & (band < start + width))[:, None], 0)
        return features

    def freeze_feature_encoder(self) -> None:
        """Do nothing: the log-mel front end has no parameters. All encoders have this method."""


MODEL = LogMelModel
