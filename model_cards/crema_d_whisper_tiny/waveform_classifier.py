"""The base of all classifiers of waveforms: an encoder whose frames do not depend on padding, and how to load one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel

from .configuration_waveform import WaveformClassifierConfig
from .encoder_adapter import EncoderAdapter
from .encoders import adapter_class
from .feature_extractor import encoder_feature_extractor
from .layer_mix import LayerMix
from .valid_frames import average_neighbours, length_mask, pad_to_minimum
from .waveform_check import checked_lengths


# Arguments of `from_pretrained` that say where an encoder is stored, not what it is.
_LOCATION_ARGUMENTS = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "revision",
    "subfolder",
    "token",
    "trust_remote_code",
)


class WaveformClassifier(PreTrainedModel):
    """Base of the classifier families: an `encoder`, and a `head` with everything above it.

    The answer for an utterance does not depend on padding or on the other utterances of its batch. The encoder may be
    of any kind in `encoders.py`; what is particular to a kind is in its adapter. A family defines `__init__`, which
    calls `make_encoder` and puts `make_layer_mix` into its head; `_init_weights`; and `forward`, whose output has
    `loss`, `logits` (B, K) and `embedding` (B, D).

    An encoder that is frozen (none of its parameters has a gradient) stays in evaluation mode, so it gives the same
    frames in every epoch. They can be computed once with `encoder_frames` and given to `forward`.
    """

    config_class: Any
    config: Any
    encoder: Any
    base_model_prefix = "encoder"
    _keep_in_fp32_modules_strict = ["head.layer_mix"]
    main_input_name = "input_values"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    # With True, Trainer takes the loss for a sum over items and leaves out the division by accumulation steps.
    accepts_loss_kwargs = False
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True
    _auto_class: Any = "AutoModelForAudioClassification"
    # Name or folder of the pretrained encoder that `from_encoder` has loaded.
    pretrained_encoder: str | None = None
    # What `from_encoder` was told to change in the encoder's configuration, and where to find it; never a token.
    pretrained_encoder_fields: Mapping[str, Any] = MappingProxyType({})
    # What is known of the trained model whose weights this one began with; see `hf_ambiser.trained_model`.
    begun_with: Mapping[str, Any] | None = None
    # Name or folder that `from_pretrained` has loaded the whole model from.
    loaded_from: str | None = None
    # Whether `forward` needs the waveforms, too, when the encoder's frames are given.
    needs_waveform: ClassVar[bool] = False
    # Modules that are trained and saved in full beside LoRA adapters: LoRA would drop buffers, such as prototypes.
    lora_modules_to_save: ClassVar[list[str]] = ["head"]

    def make_encoder(self, config: WaveformClassifierConfig) -> Any:
        """Return the encoder that the configuration names, with random weights."""
        return adapter_class(config.encoder_config).build(config.encoder_config)

    @staticmethod
    def make_layer_mix(config: WaveformClassifierConfig) -> LayerMix | None:
        """Return what stands between encoder and head, for the family's head; None if the last layer is used as it is.

        Raises:
            ValueError: If the layers of this kind of encoder cannot be summed.
        """
        encoder = config.encoder_config
        reason = adapter_class(encoder).layers_refused
        if config.layers != "last" and reason is not None:
            raise ValueError(
                f"{type(config).__name__}.layers is {config.layers!r}, and an encoder of type {encoder.model_type}"
                f" cannot have it: {reason}; allowed: 'last', or another encoder."
            )
        if config.frames_as_they_are:
            return None
        n = 1 if config.layers == "last" else encoder.num_hidden_layers + 1
        return LayerMix(n, encoder.hidden_size, config.standardize_frames)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LayerMix):
            module.reset_parameters()
        else:
            super()._init_weights(module)

    @property
    def encoder_is_frozen(self) -> bool:
        """Whether there is an encoder, and no parameter of it is trained."""
        encoder = getattr(self, "encoder", None)
        return encoder is not None and not any(p.requires_grad for p in encoder.parameters())

    def train(self, mode: bool = True) -> Any:
        """Set the mode; a frozen encoder stays in evaluation mode, without dropout and SpecAugment."""
        super().train(mode)
        if mode and self.encoder_is_frozen:
            self.encoder.eval()
        return self

    @property
    def encoder_adapter(self) -> EncoderAdapter:
        """What is particular to this model's kind of encoder."""
        return adapter_class(self.encoder.config)(self.encoder)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """Load a trained model, and note where it came from; see transformers."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.loaded_from = str(pretrained_model_name_or_path)
        return loaded

    @classmethod
    def from_encoder(
        cls,
        name_or_path: str | PathLike[str],
        *,
        id2label: dict[int, str] | None = None,
        num_labels: int | None = None,
        encoder_kwargs: dict[str, Any] | None = None,
        **config_fields: Any,
    ) -> Any:
        """Make a new model around a pretrained encoder; all weights above the encoder are random.

        Args:
            name_or_path: Hub name or folder of the encoder, e.g. "facebook/wav2vec2-base". Other parts of the
                checkpoint (pretraining or CTC heads) are left out.
            id2label: Class names by index; `label2id` follows from it.
            num_labels: Number of classes, if they have no names.
            encoder_kwargs: Changed fields of the encoder's configuration (`mask_time_prob`, `layerdrop`, ...),
                `attn_implementation`, and where to find it (`revision`, `token`, `cache_dir`, ...).
            **config_fields: Fields of the family's configuration.

        Raises:
            ValueError: If the checkpoint is not an encoder, or its configuration does not have a field.
        """
        overrides = dict(encoder_kwargs or {})
        location = {name: overrides.pop(name) for name in _LOCATION_ARGUMENTS if name in overrides}
        location.setdefault("trust_remote_code", False)  # without a value, transformers asks on a terminal
        attention = {name: overrides.pop(name) for name in ("attn_implementation",) if name in overrides}
        encoder_config, unknown = AutoConfig.from_pretrained(
            name_or_path, return_unused_kwargs=True, **location, **overrides
        )
        if encoder_config.model_type == cls.config_class.model_type:
            raise ValueError(
                f"{name_or_path} is a whole {cls.__name__}; allowed: an encoder. Use "
                f"{cls.__name__}.from_pretrained({str(name_or_path)!r})."
            )
        adapter = adapter_class(encoder_config)
        unknown = {name: value for name, value in unknown.items() if name in overrides}
        for name in unknown.keys() & adapter.added_fields.keys():
            setattr(encoder_config, name, unknown.pop(name))
        if unknown:
            raise ValueError(
                f"encoder_kwargs has {sorted(unknown)}; allowed: fields of {type(encoder_config).__name__}, "
                f"{', '.join([*adapter.added_fields, 'attn_implementation', *_LOCATION_ARGUMENTS[:-1]])} and "
                f"{_LOCATION_ARGUMENTS[-1]}."
            )
        encoder = adapter.load(name_or_path, encoder_config, **location)
        encoder_config = copy.deepcopy(encoder.config)
        encoder_config.dtype = None
        if id2label is not None:
            id2label = {int(index): str(label) for index, label in id2label.items()}
            config_fields |= {"id2label": id2label, "label2id": {label: index for index, label in id2label.items()}}
        if num_labels is not None:
            config_fields["num_labels"] = num_labels
        config = cls.config_class(encoder_config=encoder_config, **config_fields)
        model = cls._from_config(config, dtype=torch.float32, **attention)
        model.encoder.load_state_dict(encoder.state_dict())
        model.pretrained_encoder = str(name_or_path)
        model.pretrained_encoder_fields = {k: v for k, v in (encoder_kwargs or {}).items() if k != "token"}
        return model

    @property
    def minimum_samples(self) -> int:
        """Number of samples to which shorter utterances are zero-padded."""
        return self.encoder_adapter.minimum_samples

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of valid frames above the encoder of utterances of `sample_lengths` samples, shape (B,).

        With `frames_averaged`, these are the means.
        """
        n = self.config.frames_averaged
        return (self.encoder_adapter.frame_lengths(sample_lengths) + n - 1) // n

    def encode(
        self,
        input_values: Tensor | None,
        attention_mask: Tensor | None = None,
        encoder_frames: Tensor | None = None,
        encoder_lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the frames that the family's head gets, of waveforms or of what `encoder_frames` has made of them.

        Args:
            input_values: Waveforms, shape (B, samples); not used if the encoder's frames are given.
            attention_mask: 1 for a sample, 0 for padding at the end, shape (B, samples); None if nothing is padded.
            encoder_frames: The output of `self.encoder_frames`, shape (B, L, T, H).
            encoder_lengths: Its second output, shape (B,).

        Returns:
            The encoder's output (B, T, H), or the weighted sum of its layers; and whether each frame is valid, bool,
            shape (B, T).

        Raises:
            ValueError: If neither waveforms nor frames are given, a shape is wrong, or `checked_lengths` refuses the
                waveforms.
        """
        if encoder_frames is None or encoder_lengths is None:
            if input_values is None:
                raise ValueError(
                    f"{type(self).__name__} got neither input_values nor encoder_frames with encoder_lengths; allowed:"
                    " the output of its feature extractor, by name (`model(**extractor(...))`)."
                )
            encoder_frames, encoder_lengths = self.encoder_frames(input_values, attention_mask)
        mix = getattr(self.head, "layer_mix", None)
        layers, size = self.frame_shape
        if encoder_frames.ndim != 4 or encoder_frames.shape[1::2] != (layers, size):
            raise ValueError(
                f"encoder_frames has shape {tuple(encoder_frames.shape)}; allowed: (B, {layers}, frames, {size}), as"
                " `encoder_frames` of this model returns them."
            )
        valid = length_mask(encoder_lengths, encoder_frames.shape[2])
        return encoder_frames[:, 0] if mix is None else mix(encoder_frames), valid

    def encoder_frames(self, input_values: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute once what `forward` takes as `encoder_frames` and `encoder_lengths`, in place of the encoder.

        Args:
            input_values: Waveforms as `forward` takes them, shape (B, samples).
            attention_mask: As for `forward`.

        Returns:
            The frames of the last layer, (B, 1, T, H), or of all L layers, (B, L, T, H); and the number of valid
            frames of each utterance, shape (B,).

        Raises:
            ValueError: If there is no encoder, or `checked_lengths` refuses the waveforms.
        """
        self._need_encoder("encoder_frames")
        unscaled = not self.encoder_adapter.scales_waveforms
        lengths = checked_lengths(input_values, attention_mask, full_scale=unscaled, warn=not self.training)
        return self._layers_of(input_values, lengths)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Number of layers L and size H of what `encoder_frames` returns."""
        encoder = self.config.encoder_config
        return 1 if self.config.layers == "last" else encoder.num_hidden_layers + 1, encoder.hidden_size

    def count_frames(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of frames T that `encoder_frames` makes of `sample_lengths` samples, shape (B,)."""
        return self.frame_lengths(sample_lengths)

    def frame_settings(self) -> dict[str, Any]:
        """Return the settings, beside the weights, that `encoder_frames` depends on; plain values."""
        encoder = self.config.encoder_config.to_dict()
        unrelated = ("_name_or_path", "transformers_version", "dtype", "architectures")
        # Without the key where nothing is averaged, so that frames which were cached before stay in use.
        averaged = {"frames_averaged": self.config.frames_averaged} if self.config.frames_averaged > 1 else {}
        return {
            **averaged,
            "layers": "last" if self.config.layers == "last" else "all",
            "encoder": {name: value for name, value in encoder.items() if name not in unrelated},
        }

    def _layers_of(self, input_values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        waveform, lengths = pad_to_minimum(input_values, lengths, self.minimum_samples)
        if self.config.layers != "last":
            frames, counts = self.encoder_adapter.encode_layers(waveform, lengths)
        else:
            hidden_states, counts = self.encoder_adapter.encode(waveform, lengths)
            frames = hidden_states[:, None]
        return average_neighbours(frames, counts, self.config.frames_averaged)

    def make_feature_extractor(self, encoder: str | None = None) -> Any:
        """Return the feature extractor of this model.

        Args:
            encoder: Name or folder of the pretrained encoder, whose own extractor is used if it has one. The default
                is the encoder that `from_encoder` has loaded.
        """
        return encoder_feature_extractor(self.config.encoder_config, encoder or self.pretrained_encoder)

    @staticmethod
    def pipeline_class() -> Any:
        """Return the pipeline that the configuration names as `custom_pipelines`.

        transformers copies its file beside saved weights, because this import line names it.
        """
        from .emotion_pipeline import EmotionPipeline

        return EmotionPipeline

    def freeze_feature_encoder(self) -> None:
        """Stop the gradient to the encoder's convolutions; log-mel has fixed filters, so there is nothing to do."""
        self._need_encoder("freeze")
        self.encoder_adapter.freeze_feature_encoder()

    def freeze_lowest_layers(self, n: int) -> None:
        """Stop the gradient to the encoder's lowest `n` layers and to everything below them.

        Raises:
            ValueError: If there is no encoder, or it does not have so many layers.
        """
        self._need_encoder("freeze")
        self.encoder_adapter.freeze_lowest_layers(n)

    def freeze_encoder(self) -> None:
        """Stop the gradient to the whole encoder, which stays in evaluation mode; the head stays trainable."""
        self.freeze_feature_encoder()
        self.encoder.requires_grad_(False)
        self.encoder.eval()

    def _need_encoder(self, wanted: str) -> None:
        if self.encoder is None:
            raise ValueError(
                f"{wanted} needs a model with an encoder; this {type(self).__name__} has none. Leave {wanted} out."
            )

    def lora_target_modules(self) -> list[str]:
        """Return names for `LoraConfig(target_modules=...)`; use them together with `lora_modules_to_save`.

        They are the queries and values of the attention, except where a kind of encoder says why others are better
        (log-mel: its convolutions and the last linear layer; WavLM: the feed-forward layers).

        Raises:
            ValueError: If there is no encoder, or it has none of these modules.
        """
        self._need_encoder("lora")
        return self.encoder_adapter.lora_target_modules()


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over utterances of `-sum_k labels_k log softmax(logits)_k`, in float32.

    Args:
        logits: Shape (B, K).
        labels: Class indices, integers, shape (B,), or distributions, shape (B, K).

    Raises:
        ValueError: If the shape is another, or an index is outside [0, K).
    """
    classes = logits.shape[-1]
    if labels.ndim == 1 and len(labels) == len(logits) and not labels.is_floating_point():
        if bool(((labels < 0) | (labels >= classes)).any()):
            raise ValueError(
                f"labels has class indices {sorted(set(labels.tolist()))}; allowed: 0 to {classes - 1}. Leave out "
                "utterances without a consensus label (-1), or give distributions of shape (B, K)."
            )
        labels = nn.functional.one_hot(labels.long(), classes)
    if labels.shape != logits.shape:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)} and dtype {labels.dtype}; allowed: integers ({len(logits)},) or "
            f"distributions ({len(logits)}, {classes})."
        )
    with torch.autocast(device_type=logits.device.type, enabled=False):
        return -(labels.float() * logits.float().log_softmax(-1)).sum(-1).mean()
