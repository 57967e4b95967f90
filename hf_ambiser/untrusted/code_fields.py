"""Fields of a config that could run somebody's code: they are refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


# Field -> what it could do. The fields of transformers, peft and diffusers that load code, or that open a pickle.
_RUNS_CODE = {
    "trust_remote_code": "runs the Python files of a repository",
    "auto_map": "names Python files of a repository to run",
    "code_revision": "chooses the Python files of a repository to run",
    "custom_pipeline": "names Python files of a repository to run",
    "custom_pipelines": "names Python files of a repository to run",
    "auto_mapping": "names a module to import",
    "megatron_config": "names a module to import",
    "megatron_core": "names a module to import",
    "use_kernels": "runs kernels from the Hub",
    "allow_all_kernels": "runs kernels of anybody from the Hub",
    "kernel_config": "names kernels of the Hub to run",
    "pickle_module": "names a module that reads a pickle, which can run code",
    "use_safetensors": "can choose a pickle, which runs code when it is read",
    "weights_only": "can choose a pickle, which runs code when it is read",
}


class CodeRefused(ValueError):
    """A field could run somebody's code; the message names it, what it could do and the cure."""


def refuse_code(fields: Mapping[str, Any] | None, where: str) -> None:
    """Check that no field, at any depth, could run code of somebody else.

    Args:
        fields: Fields that a user's config or somebody's file gives.
        where: The argument or file, for the message.

    Raises:
        CodeRefused: For the first such field.
    """
    for name, value in (fields or {}).items():
        if name in _RUNS_CODE:
            raise CodeRefused(
                f"{where} has {name}={_short(value)}, which {_RUNS_CODE[name]}; no field may do that. Leave it out:"
                " hf_ambiser loads weights from safetensors and uses only its own code and that of transformers."
            )
        if "attn_implementation" in str(name) and any("/" in text for text in _texts(value)):
            raise CodeRefused(
                f"{where} has {name}={_short(value)}, which runs a kernel from the Hub; no field may do that. Give one"
                " that transformers has: eager, sdpa or flash_attention_2."
            )
        for inner in _mappings(value):
            refuse_code(inner, f"{where}.{name}")


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a mapping, or those in a list, in lists in it, and so on."""
    if isinstance(value, Mapping):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _mappings(inner)


def _texts(value: Any) -> Iterator[str]:
    """Yield a text, or those of a mapping: transformers takes one implementation for each part of a model."""
    for text in value.values() if isinstance(value, Mapping) else [value]:
        if isinstance(text, str):
            yield text


def in_our_words(error: ValueError, what: str) -> ValueError:
    """Return transformers' error, which asks to allow somebody's code, as one of ours; any other error as it is."""
    if "trust_remote_code" not in str(error):
        return error
    return ValueError(
        f"{what} brings Python code of its own, and hf_ambiser never runs such code. Give a model of hf_ambiser, or an"
        " encoder that transformers knows."
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
