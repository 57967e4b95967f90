"""What the models must know of an encoder: the base of one small adapter class for each kind."""

from __future__ import annotations

from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig

from .bfloat16_layers import guard_bfloat16
from .layer_mix import layer_inputs
from .valid_frames import length_mask


class EncoderAdapter:
    """One kind of encoder, seen by the models; it has no weights and no state of its own.

    The class methods make encoders, the other methods speak about one encoder. A new kind is a file
    `encoder_<kind>.py` with a subclass, and a line in `encoders.py`.

    Args:
        encoder: An encoder that `build` has made.
    """

    # `model_type` of the configurations that this adapter is for.
    model_types: ClassVar[tuple[str, ...]] = ()
    # What a table of encoders says about it: names that people know, and what is special.
    description: ClassVar[str] = ""
    # Whether the kind was trained on waveforms that were scaled to mean 0 and variance 1.
    scales_waveforms: ClassVar[bool] = True
    # Whether the feature extractor that is saved with a pretrained encoder gives waveforms, as our models need.
    own_extractor_gives_waveforms: ClassVar[bool] = True
    # Fields that this package adds to the encoder's configuration, with their defaults.
    added_fields: ClassVar[dict[str, Any]] = {}
    # Why the frames of its layers cannot be summed; None: they can.
    layers_refused: ClassVar[str | None] = None
    # Names of modules for LoRA. Of the alternatives, the first is taken that the encoder has.
    lora_targets: ClassVar[tuple[tuple[str, ...], ...]] = (("q_proj", "v_proj"),)

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.config = encoder.config

    # ---- making an encoder -----------------------------------------------------------------------------------------

    @classmethod
    def make(cls, config: PreTrainedConfig) -> Any:
        """Return the encoder of a configuration as transformers has it, with random weights."""
        # Use the dtype of the whole model, not that of the encoder's original checkpoint.
        return AutoModel.from_config(config, dtype=torch.get_default_dtype())

    @classmethod
    def repair(cls, encoder: Any) -> None:
        """Change an encoder, in place, so that its answers do not depend on padding; weights keep their names."""

    @classmethod
    def build(cls, config: PreTrainedConfig) -> Any:
        """Return the encoder of a configuration with random weights, ready for our models."""
        encoder = cls.make(config)
        cls.repair(encoder)
        guard_bfloat16(encoder)
        return encoder

    @classmethod
    def load(cls, name_or_path: str | PathLike[str], config: PreTrainedConfig, **location: Any) -> Any:
        """Return a pretrained encoder in float32. Only its configuration and its weights are used.

        Args:
            name_or_path: Hub name or folder. Other parts of the checkpoint are left out.
            config: The encoder's configuration.
            **location: Arguments of `from_pretrained` that say where the checkpoint is.
        """
        return AutoModel.from_pretrained(name_or_path, config=config, dtype=torch.float32, **location)

    @classmethod
    def sampling_rate(cls, config: PreTrainedConfig) -> int:
        """Return the sampling rate in Hz of the waveforms that an encoder of this configuration takes."""
        return 16000

    # ---- waveforms to frames ---------------------------------------------------------------------------------------

    @property
    def minimum_samples(self) -> int:
        """Number of samples to which shorter utterances are zero-padded."""
        raise NotImplementedError

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of valid frames of utterances of `sample_lengths` samples, shape (B,)."""
        raise NotImplementedError

    def encode(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode padded waveforms.

        Args:
            waveform: Shape (B, samples), zero past each utterance's length.
            lengths: Samples of each utterance, at least `minimum_samples`, shape (B,).

        Returns:
            Frames (B, T, H), and the number of valid frames of each utterance, shape (B,).
        """
        raise NotImplementedError

    def encode_layers(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode padded waveforms, and keep the frames of all layers.

        Args:
            waveform: Shape (B, samples), zero past each utterance's length.
            lengths: Samples of each utterance, at least `minimum_samples`, shape (B,).

        Returns:
            Frames (B, L, T, H): what enters the lowest layer, then the output of each layer, the last as in `encode`.
            And the number of valid frames of each utterance, shape (B,).
        """
        with layer_inputs(list(self.layers)) as inputs:
            last, frames = self.encode(waveform, lengths)
        outputs = [last]
        for entered in reversed(inputs):
            # A layer that LayerDrop has skipped gives what it would have got.
            outputs.append(outputs[-1] if entered is None else self.as_frames(entered, last))
        return torch.stack(outputs[::-1], dim=1), frames

    def as_frames(self, hidden_states: Tensor, last: Tensor) -> Tensor:
        """Return a layer's hidden states as frames of the shape (B, T, H) and type of the encoder's output `last`."""
        return hidden_states.to(last.dtype)

    # ---- training less of it ---------------------------------------------------------------------------------------

    def freeze_feature_encoder(self) -> None:
        """Stop the gradient to the part below the layers that makes features of the waveform."""
        raise NotImplementedError

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's layers, the lowest first."""
        raise NotImplementedError

    @property
    def below_layers(self) -> list[nn.Module | nn.Parameter]:
        """All modules and parameters that stand below the lowest layer."""
        raise NotImplementedError

    def freeze_lowest_layers(self, n: int) -> None:
        """Stop the gradient to the lowest `n` layers and to everything below them.

        Raises:
            ValueError: If the encoder does not have so many layers.
        """
        if not 1 <= n <= len(self.layers):
            raise ValueError(
                f"cannot freeze the lowest {n} layers of an encoder of type {self.config.model_type}; allowed: 1 to "
                f"{len(self.layers)}, the number of its layers."
            )
        self.freeze_feature_encoder()
        for part in [*self.below_layers, *self.layers[:n]]:
            part.requires_grad_(False)

    def lora_target_modules(self) -> list[str]:
        """Return names for `LoraConfig(target_modules=...)`.

        Raises:
            ValueError: If the encoder has none of these modules.
        """
        present = {name.rsplit(".", 1)[-1] for name, _ in self.encoder.named_modules()}
        for names in self.lora_targets:
            if present.issuperset(names):
                return list(names)
        raise ValueError(
            f"no default LoRA targets for encoder model_type {self.config.model_type!r}; allowed: encoders with "
            f"modules named as one of {[list(names) for names in self.lora_targets]}. Set target_modules yourself."
        )


class WithFrontend:
    """Mixin for encoders of transformers that compute a spectrogram themselves, as `frontend`: they take waveforms."""

    main_input_name = "input_values"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # transformers' own constructor comes here, too, before there is a front end.
        if module is getattr(self, "frontend", None):
            # No checkpoint has these buffers, so `from_pretrained` leaves them uninitialised unless they are set here.
            module.reset_parameters()  # type: ignore[operator]
        else:
            super()._init_weights(module)  # type: ignore[misc]


class WaveformEncoderAdapter(EncoderAdapter):
    """Base for encoders of our own that take padded waveforms with a mask and know their frame lengths.

    Such an encoder has `minimum_samples`, `frame_lengths(sample_lengths)` and
    `forward(input_values, attention_mask) -> last_hidden_state`.
    """

    @property
    def minimum_samples(self) -> int:
        """Number of samples to which shorter utterances are zero-padded, as the encoder says."""
        return self.encoder.minimum_samples

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of valid frames, shape (B,)."""
        return self.encoder.frame_lengths(sample_lengths)

    def encode(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, samples) and lengths (B,) -> frames (B, T, H) and valid frames (B,)."""
        mask = length_mask(lengths, waveform.shape[1])
        return self.encoder(waveform, attention_mask=mask).last_hidden_state, self.frame_lengths(lengths)
