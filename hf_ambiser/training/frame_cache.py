"""The frames of a frozen encoder, computed once and kept on disk, so that an epoch trains the head alone.

There is one file for each utterance: `<folder>/<fingerprint>/<aa>/<key>.npy`, frames `(L, T, H)`, which is read
memory-mapped. The fingerprint covers the encoder's weights and all settings that its frames depend on; the key covers
the content of the audio and how it was cut or augmented. So folds, seeds, methods and builds of a corpus share their
files. Each file is written whole or not at all: a killed run goes on where it stopped, and several runs may fill one
cache at the same time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.constants import HF_HOME
from tqdm import tqdm

from hf_ambiser.run_folder.layout import whole, write_whole
from hf_ambiser.training.collator import Example, UtteranceCollator


logger = logging.getLogger(__name__)
DTYPES = ("float32", "float16")
_FORM = 1  # of files and keys; a change makes all files anew
_SETTINGS = "settings.json"


@dataclass
class Wanted:
    """An utterance (or a segment, or an augmented copy) whose frames are needed.

    Args:
        key: From `content_key`.
        samples: Length of the waveform.
        waveform: Returns it.
    """

    key: str
    samples: int
    waveform: Callable[[], np.ndarray]


def content_key(content: bytes, *how: Any) -> str:
    """Return the key of an utterance.

    Args:
        content: Its encoded audio, or the key of another utterance that it is made from.
        *how: What decides the waveform beside the content: cuts, augmentation.
    """
    digest = hashlib.blake2b(content, digest_size=20)
    digest.update(json.dumps(how, sort_keys=True).encode())
    return digest.hexdigest()


class FrameCache:
    """The frames of one frozen encoder on disk.

    Args:
        folder: Root of the cache; None: `hf_ambiser/frames` in the cache folder of Hugging Face (`HF_HOME`).
        model: A model whose encoder is frozen.
        extractor: Its feature extractor.
        dtype: "float32", or "float16" for half the size, with values rounded to 11 bits.
        batch_size: Utterances that are encoded at once.
        device: Where they are encoded; None: where the model is.
        progress: Whether a bar is shown while they are encoded.
    """

    def __init__(
        self,
        folder: Path | str | None,
        model: Any,
        extractor: Any,
        dtype: str = "float32",
        batch_size: int = 8,
        device: Any = None,
        progress: bool = True,
    ) -> None:
        self.model, self.collate = model, UtteranceCollator(extractor)
        self.dtype, self.batch_size, self.device = np.dtype(dtype), batch_size, device
        self.progress = progress
        self.settings = {"form": _FORM, "dtype": dtype, "extractor": extractor.to_dict(), **model.frame_settings()}
        root = Path(HF_HOME, "hf_ambiser", "frames") if folder is None else Path(folder).expanduser()
        self.folder = root / _fingerprint(self.settings, model.encoder)
        # Of each file that was found whole: the shape, and the byte at which the values begin.
        self._known: dict[str, tuple[tuple[int, int, int], int]] = {}

    def check_encoder(self, model: Any) -> None:
        """Check that a model still has the encoder that made these frames, and that it is still frozen.

        Raises:
            ValueError: If it has not: its head would learn from the frames of another encoder.
        """
        if not model.encoder_is_frozen:
            problem = "parameters of the encoder were unfrozen, which would get no gradient"
        elif _fingerprint(self.settings, model.encoder) != self.folder.name:
            problem = "the encoder got other weights"
        else:
            return
        raise ValueError(
            f"the frames of the frozen encoder were computed when the trainer was made, and since then {problem}."
            " Load or unfreeze the encoder before you make the trainer, or set feature_cache to none."
        )

    def file(self, key: str) -> Path:
        """Return the file of an utterance."""
        return self.folder / key[:2] / f"{key}.npy"

    def read(self, key: str) -> np.ndarray:
        """Return the frames `(L, T, H)` of an utterance, which cannot be written to.

        Raises:
            FileNotFoundError: If they were deleted since the start.
        """
        try:
            # A batch copies them all, so one read of the file is cheaper than a map of it; and its header was read
            # when the training set was made, which takes longer than the rest.
            known = self._known.get(key)
            if known is None:  # written in this run
                stored = np.load(self.file(key), mmap_mode="r")
                self._known[key] = stored.shape, stored.offset
                return stored
            shape, begin = known
            return np.frombuffer(self.file(key).read_bytes(), self.dtype, math.prod(shape), begin).reshape(shape)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error.filename} is gone: somebody has deleted cached frames while they were in use. Start again;"
                " what is missing is computed anew."
            ) from None

    def fill(self, wanted: Iterable[Wanted]) -> int:
        """Compute and write the frames that are missing or damaged; return how many utterances that were.

        Raises:
            OSError: If the folder cannot be written, or the disk has less room than they need.
            ValueError: If a value is too large for float16.
        """
        every = list({one.key: one for one in wanted}.values())
        shapes = self._shapes(every)
        lacking = [
            i for i, (one, shape) in enumerate(zip(every, shapes, strict=True)) if not self._is_whole(one.key, shape)
        ]
        if not lacking:
            return 0
        self._begin(len(lacking), sum(math.prod(shapes[i]) * self.dtype.itemsize for i in lacking))
        missing = [every[i] for i in lacking]
        missing.sort(key=lambda one: one.samples)
        training = self.model.training
        self.model.to(self.device or self.model.device).eval()
        own = {"total": len(missing), "desc": "frames of the encoder", "unit": "utterance", "dynamic_ncols": True}
        with tqdm(**own, disable=not self.progress) as bar:
            for start in range(0, len(missing), self.batch_size):
                # Look again, because another run may have written them by now.
                batch = missing[start : start + self.batch_size]
                self._write([one for one in batch if not self.file(one.key).is_file()])
                bar.update(len(batch))
        self.model.train(training)
        return len(missing)

    @torch.no_grad()
    def _write(self, batch: list[Wanted]) -> None:
        if not batch:
            return
        inputs = self.collate([[Example(one.waveform(), 0)] for one in batch])
        values = {name: inputs[name].to(self.model.device) for name in ("input_values", "attention_mask")}
        frames, lengths = self.model.encoder_frames(**values)
        for one, own, n in zip(batch, frames.float().cpu().numpy(), lengths.tolist(), strict=True):
            with whole(self.file(one.key), shared=True) as part, part.open("wb") as stream:
                np.save(stream, self._as_stored(own[:, :n]))

    def _as_stored(self, frames: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # said below
            stored = frames.astype(self.dtype)
        if np.isinf(stored).any() and not np.isinf(frames).any():
            raise ValueError(
                f"feature_cache_dtype={self.dtype.name!r} holds values up to {np.finfo(self.dtype).max:.0f}, and this"
                f" encoder's frames reach {np.abs(frames).max():.0f}. Set feature_cache_dtype to float32."
            )
        return stored

    def _shapes(self, wanted: list[Wanted]) -> list[tuple[int, int, int]]:
        """Return the shape `(L, T, H)` of each utterance's frames."""
        layers, width = self.model.frame_shape
        frames = self.model.count_frames(torch.tensor([one.samples for one in wanted])).tolist()
        return [(layers, n, width) for n in frames]

    def _is_whole(self, key: str, shape: tuple[int, int, int]) -> bool:
        path = self.file(key)
        if not path.is_file():
            return False
        try:
            stored = np.load(path, mmap_mode="r")
            if (stored.shape, stored.dtype) == (shape, self.dtype):
                self._known[key] = shape, stored.offset
                return True
        except (ValueError, EOFError):
            pass  # no header, or fewer bytes than it says: a disk that was full, or a machine that was switched off
        logger.warning("%s is damaged (%d bytes), so its frames are computed anew.", path, path.stat().st_size)
        path.unlink()
        return False

    def _begin(self, n: int, needed: int) -> None:
        """Write what the frames depend on into the folder, and say how large they will be."""
        settings = json.dumps(self.settings, indent=2, sort_keys=True) + "\n"
        try:
            write_whole(self.folder / _SETTINGS, settings, shared=True)
        except OSError as error:
            raise OSError(
                f"the frames of the frozen encoder cannot be written to {self.folder} ({error.strerror}). Give another"
                " folder as feature_cache, or set it to none, which encodes anew in every epoch."
            ) from error
        free = shutil.disk_usage(self.folder).free
        logger.info(
            "computing the frozen encoder's frames of %d utterances once; they take %s in %s (%s are free).",
            n,
            _gigabytes(needed),
            self.folder,
            _gigabytes(free),
        )
        if needed > free:
            raise OSError(
                f"the frames of the frozen encoder take {_gigabytes(needed)}, and {self.folder} has only"
                f" {_gigabytes(free)} free. Give another folder as feature_cache, set feature_cache_dtype to"
                " float16 for half the size, or feature_cache to none, which encodes anew in every epoch."
            )


def _fingerprint(settings: dict[str, Any], encoder: torch.nn.Module) -> str:
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for name, tensor in sorted(encoder.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return digest.hexdigest()


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
