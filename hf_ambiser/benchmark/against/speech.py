"""Utterances for the side-by-side benchmark: real ones of CREMA-D where they are, joined and cut, else made ones."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from hf_ambiser.data.audio import decode
from hf_ambiser.data.schema import SAMPLING_RATE, features


if TYPE_CHECKING:
    from datasets import Dataset

CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
# In a file's name, as 1001_DFA_ANG_XX: the emotion that the actor was asked for. Here it is only a label to train on.
_CODES = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
ROOT = "CREMA_D_ROOT"


@dataclass(frozen=True)
class Spoken:
    """One utterance: its samples `(T,)` float32 at 16 kHz, and the index of its class."""

    samples: np.ndarray
    label: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLING_RATE


@dataclass(frozen=True)
class Speech:
    """Where utterances come from.

    Args:
        utterances: As they are.
        source: In words, for the report.
    """

    utterances: list[Spoken]
    source: str

    @classmethod
    def find(cls, n: int) -> Speech:
        """Return `n` utterances of CREMA-D, a few of each speaker, if `CREMA_D_ROOT` says where it is; else made ones.

        Raises:
            ValueError: If there is such a variable, and too few utterances below the folder.
        """
        root = os.environ.get(ROOT)
        if not root:
            return cls([_made(i) for i in range(n)], f"made sound (no {ROOT})")
        found = [path for path in sorted(Path(root).rglob("*_*_*_*.*")) if _label(path) is not None]
        found = [path for path in found if path.suffix.lower() in (".wav", ".flac")]
        if len(found) < n:
            raise ValueError(
                f"{ROOT}={root} holds {len(found)} utterances of CREMA-D, and {n} are needed. Set it to a whole"
                f" release, or unset it: then sound is made."
            )
        drawn = np.random.default_rng(0).permutation(len(found))[:n]
        return cls([Spoken(decode(found[i].read_bytes()), _label(found[i]) or 0) for i in drawn], "CREMA-D")

    def similar(self, n: int) -> list[Spoken]:
        """Return the first `n` utterances as they are."""
        return [self.utterances[i % len(self.utterances)] for i in range(n)]

    def mixed(self, n: int, shortest: float = 1.0, longest: float = 12.0) -> list[Spoken]:
        """Return `n` utterances whose lengths are spread evenly over a range, in random order: joined, and cut.

        Args:
            n: How many.
            shortest: Seconds.
            longest: Seconds.
        """
        rng = np.random.default_rng(1)
        lengths = rng.permutation(np.linspace(shortest, longest, n))
        joined = []
        for i, seconds in enumerate(lengths):
            parts: list[np.ndarray] = []
            needed, at = round(seconds * SAMPLING_RATE), i
            while sum(len(part) for part in parts) < needed:
                parts.append(self.utterances[at % len(self.utterances)].samples)
                at += 1
            joined.append(Spoken(np.concatenate(parts)[:needed], self.utterances[i % len(self.utterances)].label))
        return joined


def _label(path: Path) -> int | None:
    code = path.stem.split("_")[2]
    return _CODES.index(code) if code in _CODES else None


def _made(i: int) -> Spoken:
    """Return a tone in noise whose pitch tells the class, 1.5 to 4 s long; the same for every i."""
    rng, label = np.random.default_rng(i), i % len(CLASSES)
    t = np.arange(int(rng.uniform(1.5, 4.0) * SAMPLING_RATE)) / SAMPLING_RATE
    wave = 0.3 * np.sin(2 * np.pi * (200 + 150 * label) * t + rng.uniform(0, 6)) + 0.05 * rng.normal(size=len(t))
    return Spoken(wave.astype(np.float32).clip(-1, 1), label)


def as_split(utterances: list[Spoken], prefix: str) -> Dataset:
    """Return utterances as a split in the built form. Two of seven raters hear something else than the class."""
    from datasets import Dataset

    rows, k = [], len(CLASSES)
    for i, one in enumerate(utterances):
        stream = io.BytesIO()
        soundfile.write(stream, one.samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
        votes = np.bincount([one.label] * 5 + [(one.label + 1) % k, (one.label + 2) % k], minlength=k)
        shares = votes / votes.sum()
        rows.append(
            {
                "id": f"{prefix}{i:04d}",
                "audio": {"bytes": stream.getvalue(), "path": f"{prefix}{i:04d}.wav"},
                "duration": one.seconds,
                "speaker": f"s{i % 5}",
                "session": "",
                "corpus": "benchmark",
                "ratings": [],
                "votes": votes.tolist(),
                "soft_label": shares.tolist(),
                "label": one.label,
                "agreement": float(shares.max()),
                "entropy": float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum()),
                "tier": "clear",
                "reference_votes": votes.tolist(),
                "reference_soft_label": shares.tolist(),
                "reference_label": one.label,
                "true_distribution": [0.0] * k,
            }
        )
    return Dataset.from_list(rows, features=features(CLASSES))
