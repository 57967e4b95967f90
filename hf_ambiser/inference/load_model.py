"""Loads a trained model from its folder or Hub name, and an adapter with the model that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_ambiser.files.read import check_tensors, exists, read_json
from hf_ambiser.run_folder.adapter_base import base_of
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.published import check_shards
from hf_ambiser.untrusted.code_fields import in_our_words, refuse_code


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

    Args:
        model: Folder or name.
        classes: Class names of an adapter's model; None: those of its base model.

    Raises:
        ValueError: If there is no such model, a file of it cannot be used, or the base of an adapter is another.
    """
    from transformers import AutoModelForAudioClassification

    adapter = Path(model) / "adapter_config.json"
    try:
        check_files(Path(model))
        if not exists(adapter):
            return AutoModelForAudioClassification.from_pretrained(model, trust_remote_code=False)
        _check_adapter(adapter)
        from peft import PeftConfig, PeftModel

        names: dict[str, Any] = {} if classes is None else {"id2label": dict(enumerate(classes))}
        with base_of(Path(model)) as base:
            check_files(Path(base))
            if not Path(base).is_dir() and (revision := PeftConfig.from_pretrained(model).revision):
                names["revision"] = revision  # other adapters may have pushed a base of that name since
            whole = AutoModelForAudioClassification.from_pretrained(base, trust_remote_code=False, **names)
        return PeftModel.from_pretrained(whole, model).merge_and_unload()
    except ValueError as error:
        raise in_our_words(error, f"model {model!r}") from None
    except RuntimeError as error:  # transformers and peft, for weights of another shape
        raise ValueError(
            f"model {model!r} cannot be loaded: its weights do not fit its config.json. Give it the one that was saved"
            " with them."
        ) from error
    except OSError as error:
        raise ValueError(
            f"model {model!r} cannot be loaded: it is neither a folder with a trained model nor a Hub model that can"
            " be reached from here. Give one of them; a finished run writes <output_dir>/model."
        ) from error


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


def _check_adapter(path: Path) -> None:
    """Refuse an adapter whose configuration would import a module.

    Raises:
        ValueError: If it would, or if it cannot be read.
    """
    # peft always writes these two; without `megatron_config` it imports nothing by them when an adapter is loaded.
    unused = ("auto_mapping", "megatron_core")
    fields = read_json(path, _CURE)
    refuse_code({name: value for name, value in fields.items() if value and name not in unused}, str(path))
