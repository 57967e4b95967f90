"""Loads a trained model from its folder or Hub name, and an adapter with the model that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_ambiser.files.read import Record, check_tensors, exists, read_json
from hf_ambiser.run_folder.adapter_base import CONFIG, base_of
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.published import check_shards
from hf_ambiser.untrusted.code_fields import CodeRefused, in_our_words, refuse_code
from hf_ambiser.untrusted.printed import in_one_line


_CURE = "Restore it from a copy, or train the model again."


def place_of(model: str) -> str:
    """Return the folder or the Hub name that a text means; a path that leads nowhere is never looked up on the Hub.

    Raises:
        ValueError: If the text is a path, and no folder is there.
    """
    path = Path(model)
    if model and path.is_dir():
        of_run = RunFolder(model).model
        return str(of_run if of_run.is_dir() else path)
    if model and exists(path):
        raise ValueError(f"model {model!r} is a file; give the folder that it lies in.")
    is_path = model.startswith((".", "/", "~")) or model.count("/") > 1
    if is_path or not model or ("/" in model and path.parent.is_dir()):
        raise ValueError(
            f"model {model!r}: there is no such folder, and it is no Hub name (<account>/<name>). Give the folder of a"
            " model or of a finished run, or a Hub name."
        )
    return model


def load_model(model: str, classes: list[str] | None = None) -> Any:
    """Load a trained model from its folder or Hub name; an adapter is merged into the model that it belongs to.

    Every command that needs a model opens it here, so none of them answers with weights that nobody has trained.

    Args:
        model: Folder or name.
        classes: Class names of an adapter's model; None: those of its base model.

    Raises:
        ValueError: If there is no such model, it needs code of its own, a file of it cannot be used, it lacks weights
            or has others than its configuration says, or the base of an adapter is another.
    """
    folder = Path(model)
    if folder.is_dir() and not (exists(folder / CONFIG) or exists(folder / "config.json")):
        raise ValueError(
            f"model {folder}: the folder holds no model (no config.json). Give the folder of a model or of a finished"
            " run."
        )
    check_files(folder)
    if not exists(folder / CONFIG):
        return _whole(model, model)
    names: dict[str, Any] = {} if classes is None else {"id2label": dict(enumerate(classes))}
    revision = _checked_adapter(folder / CONFIG).get("revision")
    with base_of(folder) as base:
        check_files(Path(base))
        if revision and not Path(base).is_dir():
            names["revision"] = revision  # other adapters may have pushed a base of that name since
        return _merged(_whole(base, model, **names), model)


def load_extractor(model: str) -> Any:
    """Load the feature extractor of a model from the same folder or Hub name.

    Raises:
        ValueError: If there is none, it needs code of its own, or its file cannot be used.
    """
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(model, trust_remote_code=False)
    except Exception as error:  # transformers and peft let through whatever a wrong value in a file leads to
        raise _refusal(error, model) from error


def _whole(place: str, model: str, **names: Any) -> Any:
    """Load a whole model, which a message calls `model`."""
    from transformers import AutoModelForAudioClassification

    try:
        check_configuration(place, f"model {model}: its config.json", names.get("revision"))
        loaded, info = AutoModelForAudioClassification.from_pretrained(
            place, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True, **names
        )
    except Exception as error:  # see `load_extractor`
        raise _refusal(error, model) from error
    if others := sorted(str(name) for name, *_ in info["mismatched_keys"]):
        raise ValueError(
            f"model {model} has {len(others)} weights of another shape than its config.json says, {others[0]!r} the"
            " first of them. Give it the config.json that was saved with these weights."
        )
    _check_none_missing(info["missing_keys"], model)
    return loaded


def _merged(whole: Any, model: str) -> Any:
    """Merge an adapter into the model that it belongs to; peft would leave random what the adapter's file lacks."""
    from peft import PeftModel
    from peft.utils import get_peft_model_state_dict, load_peft_weights

    try:
        both = PeftModel.from_pretrained(whole, model)
        expected, there = get_peft_model_state_dict(both, save_embedding_layers=False), load_peft_weights(model, "cpu")
    except Exception as error:  # see `load_extractor`
        raise _refusal(error, model) from error
    _check_none_missing(expected.keys() - there.keys(), model)
    return both.merge_and_unload()


def _check_none_missing(names: Iterable[str], model: str) -> None:
    if missing := sorted(names):
        raise ValueError(
            f"model {model} has no trained audio classifier: it lacks {len(missing)} weights, {missing[0]!r} the first"
            " of them, and they would be random. Give a model that was trained to classify audio."
        )


def _refusal(error: Exception, model: str) -> ValueError:
    """Say in one line why a model cannot be loaded."""
    if isinstance(error, CodeRefused):
        return error
    if "Unrecognized configuration class" in str(error):
        return ValueError(
            f"model {model} is of a kind that has no audio classifier. Give a model that was trained to classify"
            " audio."
        )
    if isinstance(error, ValueError) and "trust_remote_code" in str(error):
        return in_our_words(error, f"model {model!r}")
    said = in_one_line(error)
    if isinstance(error, OSError):
        found = "is a folder without a trained model and its feature extractor"
        if not Path(model).is_dir():
            found = "is no folder here, and no Hub model that can be reached from here"
        return ValueError(
            f"model {model!r} cannot be loaded: it {found} ({said}). Give a folder with a model or a Hub name; a"
            " finished run writes <output_dir>/model."
        )
    return ValueError(f"model {model!r} cannot be loaded ({type(error).__name__}: {said}). {_CURE}")


def check_files(model: Path) -> None:
    """Check the files of a local model: transformers and peft do not name the one that is spoilt.

    Raises:
        ValueError: If one cannot be used, or if the index of the weights names a file that is none of them.
    """
    for path in sorted([*model.glob("*config.json"), *model.glob("*.index.json")]):
        read_json(path, _CURE)
    check_shards(model)
    for path in sorted(model.glob("*.safetensors")):
        check_tensors(path, _CURE)


# Fields that every model of ours has for whoever loads it without the package.
_IGNORED = ("auto_map", "custom_pipelines")


def check_configuration(place: str, what: str, revision: str | None = None) -> None:
    """Check that no field in the configuration of a model would run code, such as a kernel of the Hub for attention.

    `auto_map` and `custom_pipelines` are no such fields here: they are ignored, because no call trusts remote code.

    Args:
        place: Folder or Hub name of a model or an encoder.
        what: What a message calls the configuration.
        revision: Of the Hub.

    Raises:
        ValueError: If one would.
        OSError: If there is no configuration.
    """
    from transformers import PreTrainedConfig

    fields, _ = PreTrainedConfig.get_config_dict(place, revision=revision)
    refuse_code({name: value for name, value in fields.items() if name not in _IGNORED}, what)


def _checked_adapter(path: Path) -> Record:
    """Read the configuration of an adapter, unless it would import a module.

    Raises:
        ValueError: If it would, or if it cannot be read.
    """
    # peft always writes these two; without `megatron_config` it imports nothing by them when an adapter is loaded.
    unused = ("auto_mapping", "megatron_core")
    fields = read_json(path, _CURE)
    refuse_code({name: value for name, value in fields.items() if value and name not in unused}, str(path))
    return fields
