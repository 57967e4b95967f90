"""Makes a run's model and feature extractor from its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import nn

from hf_ambiser.files.command_parser import nearest
from hf_ambiser.files.read import exists
from hf_ambiser.inference.load_model import check_configuration
from hf_ambiser.models import LogMelConfig, load_family
from hf_ambiser.models.configuration_waveform import WaveformClassifierConfig
from hf_ambiser.models.encoders import adapter_class
from hf_ambiser.models.field_types import all_fields
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.runs.base_model import save_base
from hf_ambiser.runs.begun_model import copy_weights, place_of_begin, trained_model
from hf_ambiser.training.distributed import rank
from hf_ambiser.training.model_arguments import ModelArguments
from hf_ambiser.untrusted.code_fields import in_our_words


# Fields of a model's configuration that other arguments decide.
_OF_THE_RUN = {"encoder_config", "id2label", "label2id"}


def build_model(arguments: ModelArguments, family: str, classes: list[str], base: Path) -> tuple[nn.Module, Any]:
    """Return model and feature extractor: of a pretrained encoder, from scratch or trained, partly frozen, with LoRA.

    With LoRA the model without adapter is saved to `base`, which lies in the run's folder.

    Raises:
        ValueError: If the configuration does not have a field, there is no such encoder or trained model, or `freeze`
            cannot act beside `lora`.
    """
    if arguments.lora and (arguments.freeze == "encoder" or arguments.freeze.isdecimal()):
        raise ValueError(
            f"freeze={arguments.freeze!r} has no effect beside lora: LoRA freezes all weights of the encoder, and its"
            " adapters learn in every layer. Leave one of the two out; `layers_to_transform: [2, 3]` in lora chooses"
            " the layers that have adapters."
        )
    place = arguments.encoder_place
    if arguments.pretrained is not None:
        try:
            place = place_of_begin(arguments.pretrained, base.parent)
            model = _begun_model(arguments, family, classes, place)
        except ValueError as error:
            if not exists(RunFolder(base.parent).begun_with):
                raise
            raise ValueError(f"{error} The run in {base.parent} began with it, and needs it to go on.") from None
    else:
        model = _new_model(arguments, family, classes)
    extractor = model.make_feature_extractor(place)
    if arguments.freeze == "feature_encoder":
        model.freeze_feature_encoder()
    elif arguments.freeze == "encoder":
        model.freeze_encoder()
    elif arguments.freeze.isdecimal():
        model.freeze_lowest_layers(int(arguments.freeze))
    if arguments.lora:
        if rank() == 0:
            save_base(model, extractor, base)
        return _with_lora(model, dict(arguments.lora), base), extractor  # type: ignore[arg-type]
    return model, extractor


def _begun_model(arguments: ModelArguments, family: str, classes: list[str], place: str) -> Any:
    """Return a model with the weights of the trained model in `place`.

    If the arguments name a family or an encoder, it is made of their fields; otherwise like the trained one, with
    changed fields.
    """
    if any(getattr(arguments, name) for name in arguments.of_architecture):
        model = _new_model(arguments, family, classes)
        copy_weights(model, trained_model(place, classes), str(arguments.pretrained))
        return model
    fields: Any = arguments.model_fields or {}
    model = trained_model(place, classes, fields)
    _check_known("model_fields", fields, type(model.config))
    return model


def _new_model(arguments: ModelArguments, family: str, classes: list[str]) -> Any:
    """Return a model whose family, encoder and fields are those of the arguments, untrained above its encoder."""
    model_class = load_family(arguments.model_family or family)
    names = dict(enumerate(classes))
    encoder_fields, model_fields = dict(arguments.encoder_fields or {}), dict(arguments.model_fields or {})  # type: ignore[arg-type]
    _check_known("model_fields", model_fields, model_class.config_class)
    encoder = arguments.encoder_place
    if encoder is not None:
        try:
            check_configuration(encoder, f"encoder={arguments.encoder!r}: its config.json")
            model = model_class.from_encoder(encoder, id2label=names, encoder_kwargs=encoder_fields, **model_fields)
        except StrictDataclassError as error:
            raise _of_another_type(error) from None
        except ValueError as error:
            raise in_our_words(error, f"encoder={arguments.encoder!r}") from None
        except OSError as error:
            raise ValueError(
                f"encoder={arguments.encoder!r} cannot be loaded: it is neither a folder with a model nor a Hub model"
                f" that can be reached from here. Give one of them. ({str(error).splitlines()[0]})"
            ) from error
    else:
        _check_acting(encoder_fields, model_fields, model_class.config_class)
        try:
            config = model_class.config_class(
                encoder_config={"model_type": LogMelConfig.model_type, **encoder_fields},
                id2label=names,
                label2id={label: i for i, label in names.items()},
                **model_fields,
            )
        except StrictDataclassError as error:
            raise _of_another_type(error) from None
        model = model_class(config)
    # These fields can be checked only now, because the encoder decides the class of their configuration.
    encoder_config = getattr(model.config, "encoder_config", model.config)
    added = () if encoder_config is model.config else adapter_class(encoder_config).added_fields
    _check_known("encoder_fields", encoder_fields, type(encoder_config), added)
    return model


def _of_another_type(error: StrictDataclassError) -> ValueError:
    """Return what transformers says of a field of its own encoders or of every configuration, in one line."""
    return ValueError(f"encoder_fields or model_fields: {' '.join(str(error).split())}")


def _check_known(what: str, given: Mapping[str, Any], config_class: type, added: Iterable[str] = ()) -> None:
    """Refuse fields that a configuration does not have: transformers would keep them without any effect.

    Args:
        what: Name of the argument, for the message.
        given: The fields.
        config_class: Class of the configuration.
        added: Fields that this package adds to it.

    Raises:
        ValueError: If there is one; the message names the nearest field.
    """
    more = getattr(config_class, "attribute_map", {}).keys() | {"model_type", "attn_implementation"}
    known = vars(config_class()).keys() | more | set(added)
    unknown = sorted(given.keys() - (known - _OF_THE_RUN))
    if unknown:
        ours = all_fields(config_class) if issubclass(config_class, WaveformClassifierConfig | LogMelConfig) else []
        listed = ", ".join([*ours, *added])
        raise ValueError(
            f"{what} has {unknown}{nearest(unknown[0], ours or known)}; allowed: fields of {config_class.__name__}"
            f"{': ' if ours else ', ' if listed else ''}{listed}."
        )


def _check_acting(encoder_fields: Mapping[str, Any], model_fields: Mapping[str, Any], config_class: Any) -> None:
    """Refuse fields of an encoder that nothing of the model would read.

    Raises:
        ValueError: If there is one; the message lists those that act.
    """
    acting = config_class.acting_encoder_fields(**model_fields)
    if acting is None:
        return
    given = {k: v for k, v in encoder_fields.items() if (k, v) != ("model_type", LogMelConfig.model_type)}
    idle = sorted(given.keys() - set(acting))
    if idle:
        raise ValueError(
            f"encoder_fields has {idle}{nearest(idle[0], acting)}, which a model of {config_class.__name__} with"
            f" model_fields={dict(model_fields)} does not read, because it has no encoder; allowed:"
            f" {', '.join(acting) or 'none'}. Leave {', '.join(idle)} out, or set {config_class.encoder_acts_with} in"
            " model_fields. encoder_fields={} takes away those of a config."
        )


def _with_lora(model: Any, fields: dict[str, Any], base: Path) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    # Save the head in full (`modules_to_save`): LoRA would drop its buffers, such as the prototypes.
    fields = {"target_modules": model.lora_target_modules(), "modules_to_save": model.lora_modules_to_save, **fields}
    model.name_or_path = str(base.absolute())  # peft records this as the adapter's base
    return get_peft_model(model, LoraConfig(**fields))
