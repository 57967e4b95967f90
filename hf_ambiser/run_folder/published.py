"""Which files of a run are published: those that the package itself wrote, by name, and none that is a link."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_ambiser.files.digest import file_digest
from hf_ambiser.files.read import exists, read_json
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.untrusted.links import refuse_links
from hf_ambiser.untrusted.names import path_of_name


INDEX, ADAPTER = "model.safetensors.index.json", "adapter_model.safetensors"
_SHARD = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_OF_A_MODEL = ("config.json", INDEX, "preprocessor_config.json")


def model_files(run: RunFolder, model: Path) -> dict[str, Path]:
    """Return name -> file of a whole model: configuration, weights, feature extractor and Python files.

    Other files in the folder are not the package's, and are not published.

    Args:
        run: The run.
        model: Its folder `model`, or `base_model`.

    Raises:
        ValueError: If one of them is a link, or if the weights' index names a file that is none of the weights.
    """
    check_shards(model)
    # A link that leads nowhere is no file, and is named all the same.
    found = {path.name: path for path in sorted(model.glob("*")) if _is_of_a_model(path.name) and not _is_folder(path)}
    refuse_links(run.path, [model, *found.values()])
    _check_code(model)
    return found


def adapter_files(run: RunFolder) -> dict[str, Path]:
    """Return name -> file of an adapter, without `adapter_config.json`.

    Raises:
        ValueError: If one of them is a link.
    """
    found = {name: run.model / name for name in (ADAPTER, "preprocessor_config.json")}
    refuse_links(run.path, found.values())
    _check_code(run.model)
    return {name: path for name, path in found.items() if path.is_file()}


def check_no_links(run: RunFolder) -> None:
    """Check that nothing that a push reads of a run is a link.

    Raises:
        ValueError: For the first link.
    """
    refuse_links(run.path, [*run.parts, run.figures, run.card, *run.recorded, *run.figures.glob("*")])


def _check_code(model: Path) -> None:
    """Check that a model's configuration names no Python code of another repository, only files beside it.

    Raises:
        ValueError: If it does: whoever loads the model with `trust_remote_code=True` would run it.
    """
    for path in (model / "config.json", model / "preprocessor_config.json"):
        content = read_json(path, "Save the model again.") if exists(path) else {}
        for field, place in _named_code(content):
            if not (isinstance(place, str) and re.fullmatch(r"\w+\.\w+", place)):
                raise ValueError(
                    f"{path}: {field} names the code {place!r}, no class of a Python file beside it. Save the model"
                    " again."
                )


def _named_code(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each place of code that a configuration names, with the field that names it."""
    named = content.get("auto_map")
    for place in named.values() if isinstance(named, Mapping) else [named] if named else []:
        yield "auto_map", place
    pipelines = content.get("custom_pipelines")
    for task in pipelines.values() if isinstance(pipelines, Mapping) else [pipelines] if pipelines else []:
        yield "custom_pipelines", task.get("impl") if isinstance(task, Mapping) else task


def check_shards(model: Path) -> None:
    """Check that the index of a model's weights names files of weights beside it.

    Raises:
        ValueError: If it cannot be read, or names anything else.
    """
    index = model / INDEX
    if not exists(index):
        return
    content = read_json(index, "Save the model again.")
    content.check({"weight_map": dict})
    for shard in content["weight_map"].values():
        path = path_of_name(model, shard, "file of weights", index, follow=True)
        if not _SHARD.fullmatch(path.name):
            raise ValueError(
                f"{index}: the file of weights {shard!r} is not named model-<i>-of-<n>.safetensors. Save the model"
                " again."
            )


def code_digests(run: RunFolder) -> dict[str, str]:
    """Return name -> SHA-256 of the Python files that a run has saved with its model."""
    found = [path for folder in (run.base_model, run.model) for path in sorted(folder.glob("*.py")) if path.is_file()]
    return {path.name: file_digest(path) for path in found}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_of_a_model(name: str) -> bool:
    return name in _OF_A_MODEL or name.endswith(".py") or _SHARD.fullmatch(name) is not None
