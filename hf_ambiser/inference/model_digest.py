"""What identifies a model, wherever it was loaded from: its weights, classes and settings in a few hex digits."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from hf_ambiser.files.digest import file_digest
from hf_ambiser.inference.onnx_model import OpenedOnnx
from hf_ambiser.inference.several_models import SeveralModels


if TYPE_CHECKING:
    from hf_ambiser.inference.model_door import OpenedModel

# Fields of a configuration that say where a model lies, who wrote it, or when it abstains, which is a setting.
_UNRELATED = ("_name_or_path", "transformers_version", "decision", "dtype", "torch_dtype", "custom_pipelines")


def model_digest(opened: OpenedModel) -> str:
    """Return 16 hex digits over weights, buffers, configuration and feature extractor; no path is in them.

    Of an exported model they are over its file, in which all these are, and what `export.json` says.
    """
    digest = hashlib.blake2b(digest_size=8)
    if isinstance(opened, SeveralModels):
        # A stored temperature is no setting of the whole: each model has its own.
        parts = sorted(f"{model_digest(one)} {one.temperature!r}" for one in opened.members)
        digest.update("\0".join(parts).encode())
        return digest.hexdigest()
    if isinstance(opened, OpenedOnnx):
        digest.update(f"{file_digest(opened.file)} {json.dumps(opened.about, sort_keys=True)}".encode())
        return digest.hexdigest()
    _add_weights(digest, opened.model)
    about = [_related(opened.model.config.to_dict()), _related(opened.extractor.to_dict())]
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def weights_digest(model: Any) -> str:
    """Return 16 hex digits over the weights and buffers of a model alone."""
    digest = hashlib.blake2b(digest_size=8)
    _add_weights(digest, model)
    return digest.hexdigest()


def _add_weights(digest: hashlib.blake2b, model: Any) -> None:
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _related(values: object) -> object:
    if not isinstance(values, dict):
        return values
    return {str(name): _related(value) for name, value in values.items() if name not in _UNRELATED}
