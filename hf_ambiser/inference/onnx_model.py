"""Opens a model that `hf-ambiser export` has written. Nothing here, or on the way to an answer, needs torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from hf_ambiser.files.read import FileError, Record, exists, read_json
from hf_ambiser.inference.opened_model import OpenedModel


MODEL, TORCH_MODEL, ABOUT = "model.onnx", "model.pt2", "export.json"
_CURE = "Export the model again."
_INSTALL = 'pip install "hf_ambiser[onnx]"'
# What `export.json` must hold for a graph to be run.
_FIELDS: dict[str, Any] = {
    "format": str,
    "input": str,
    "shortest": int,
    "longest": int,
    "sampling_rate": int,
    "window": int | float,
    "classes": list,
    "outputs": list,
}


@dataclass(frozen=True)
class OpenedOnnx(OpenedModel):
    """An exported model; it is used as any other `OpenedModel`.

    Args:
        file: The ONNX file.
        about: What `export.json` says.
    """

    file: Path
    about: Record

    @property
    def longest_window(self) -> float | None:
        """The longest window that the graph takes, in seconds; None where features are computed before it."""
        return self.about["longest"] / self.rate if self.extractor is None else None

    def outputs_of(self, waveforms: list[np.ndarray]) -> Any:
        """Return what the graph says of one batch, as arrays under the names that the family gives them."""
        name = self.about["input"]
        if self.extractor is None:
            values, mask = padded(waveforms, self.about["shortest"])
            # Windows are checked before any is cut; whoever calls the model itself is told, too.
            self.check_window(values.shape[1] / self.rate)
        else:
            found = self.extractor(waveforms, sampling_rate=self.rate, return_tensors="np", padding=True)
            values, mask = found[name].astype(np.float32), found["attention_mask"].astype(np.int64)
            missing = max(0, self.about["shortest"] - values.shape[1])
            values, mask = np.pad(values, ((0, 0), (0, missing), (0, 0))), np.pad(mask, ((0, 0), (0, missing)))
        outputs = self.model.session.run(None, {name: values, "attention_mask": mask})
        named = dict(zip(self.about["outputs"], outputs, strict=True))
        return SimpleNamespace(**{"embedding" if k == "utterance_embedding" else k: v for k, v in named.items()})


def padded(waveforms: Sequence[np.ndarray], shortest: int) -> tuple[np.ndarray, np.ndarray]:
    """Put N waveforms `(T,)` side by side: samples `(N, T)` float32, zero at the end, and the mask `(N, T)` int64."""
    size = max(shortest, *map(len, waveforms))
    values = np.zeros((len(waveforms), size), dtype=np.float32)
    mask = np.zeros((len(waveforms), size), dtype=np.int64)
    for row, waveform in enumerate(waveforms):
        values[row, : len(waveform)] = waveform
        mask[row, : len(waveform)] = 1
    return values, mask


def exported_folder(model: object) -> Path | None:
    """Return the folder of an exported model that is meant by a folder or by its `.onnx` file; None: another model.

    Raises:
        ValueError: If it is an `.onnx` file without the files that `hf-ambiser export` puts beside it.
    """
    if not isinstance(model, str | Path) or not str(model):
        return None
    path = Path(model)
    if path.suffix == ".onnx" and not exists(path):
        raise ValueError(f"model {path}: there is no such file. Give a folder that `hf-ambiser export` has written.")
    if exists(path / MODEL) and not exists(path / ABOUT) and not exists(path / "config.json"):
        raise FileError(path / ABOUT, "does not exist", _CURE)
    if path.suffix == ".onnx" and path.is_file():
        if path.name != MODEL or not exists(path.parent / ABOUT):
            raise ValueError(
                f"model {path}: {ABOUT} does not lie beside it, or it has not the name {MODEL}; classes and sampling"
                " rate are not known without. Give a folder that `hf-ambiser export` has written."
            )
        return path.parent
    return path if exists(path / ABOUT) else None


def read_about(folder: Path) -> Record:
    """Return what `export.json` of a folder says.

    Raises:
        FileError: If it cannot be used.
    """
    about = read_json(folder / ABOUT, _CURE)
    about.check(_FIELDS)
    return about


def open_onnx(folder: Path, device: str = "auto") -> OpenedOnnx:
    """Open the folder of an exported model.

    Args:
        folder: As `exported_folder` returns it.
        device: "auto" or "cpu"; "cuda" with a build of onnxruntime that has it.

    Raises:
        ValueError: If a file is missing or spoilt, it was exported for torch, onnxruntime is not installed, or
            there is no such device.
    """
    about = read_about(folder)
    if about["format"] != "onnx":
        raise ValueError(
            f"model {folder} was exported for torch.export.load ({TORCH_MODEL}), which `predict` does not use. Give"
            " the model that it was made from, or export it with --format onnx."
        )
    config = read_json(folder / "config.json", _CURE)
    file = folder / MODEL
    return OpenedOnnx(
        name=str(folder),
        model=SimpleNamespace(
            config=SimpleNamespace(**config),
            session=_session(file, device),
            device="cuda" if device == "cuda" else "cpu",
        ),
        extractor=_extractor(folder, about),
        classes=tuple(map(str, about["classes"])),
        rate=about["sampling_rate"],
        window=float(about["window"]),
        ours=True,
        file=file,
        about=about,
    )


def _session(file: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(f"model {file} needs onnxruntime, which is not installed ({_INSTALL}).") from None
    providers = {"auto": "CPUExecutionProvider", "cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
    there = onnxruntime.get_available_providers()
    if providers.get(device) not in there:
        raise ValueError(
            f"device {device!r} is not one that onnxruntime has here for an exported model; allowed: auto, cpu"
            f"{', cuda' if 'CUDAExecutionProvider' in there else ''}."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():  # as torch does
        options.intra_op_num_threads = int(threads)
    if not exists(file):
        raise FileError(file, "does not exist", _CURE)
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=[providers[device]])
    except Exception as error:  # onnxruntime's own classes, one for each code
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise FileError(file, f"is no model that onnxruntime can run ({str(error)[:200]})", _CURE) from error


def _extractor(folder: Path, about: Record) -> Any:
    """Return the feature extractor of a model of acoustic features; a graph of waveforms needs none."""
    if about["input"] == "input_values":
        return None
    try:
        import torch  # noqa: F401
        from transformers import AutoFeatureExtractor
    except ImportError:
        raise ValueError(
            f"model {folder} takes acoustic features, and torch and transformers, which compute them, are not"
            " installed. Install them, or export a model that takes waveforms."
        ) from None
    return AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
