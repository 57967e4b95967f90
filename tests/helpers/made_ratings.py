"""Made tables of ratings and made audio: what the tests of `data.ratings` read."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile


LABELS = ("anger", "happiness", "neutral", "sadness")
HEADER = ("utterance", "rater", "label", "speaker")


def tone(path: Path, label: int = 0, seed: int = 0, seconds: float = 0.3) -> Path:
    """Write a short noisy tone whose pitch tells the class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(int(seconds * 16000)) / 16000
    noise = np.random.default_rng(seed).normal(size=len(t))
    wave = 0.3 * np.sin(2 * np.pi * (200 + 250 * label) * t) + 0.03 * noise
    soundfile.write(path, wave.astype(np.float32), 16000, format="WAV", subtype="PCM_16")
    return path


def tones(folder: Path, names: Iterable[str]) -> Path:
    """Write the same tone under each of these names, which may have folders before them."""
    first: Path | None = None
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if first is None:
            first = tone(path)
        else:
            shutil.copyfile(first, path)
    return folder


def csv_text(rows: Iterable[Sequence[str]], delimiter: str = ",", end: str = "\n") -> str:
    out = io.StringIO(newline="")
    # The module quotes a line feed only if rows end with one.
    quoting = csv.QUOTE_MINIMAL if "\n" in end else csv.QUOTE_ALL
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return out.getvalue()


def write_csv(path: Path, rows: Iterable[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv_text([header, *rows]), encoding="utf-8", newline="")
    return path


def sixty_rows(n: int = 60, n_raters: int = 5, seed: int = 0) -> list[tuple[str, str, str, str]]:
    """The rows of `n` utterances by six speakers, each rated by `n_raters`, who agree more often than not."""
    rng = np.random.default_rng(seed)
    return [
        (
            f"clip_{i:02d}",
            f"r{r}",
            LABELS[i % 4] if rng.random() < 0.7 else LABELS[rng.integers(4)],
            f"s{(i // 4) % 6}",
        )
        for i in range(n)
        for r in range(n_raters)
    ]


def sixty(folder: Path, n: int = 60) -> tuple[Path, Path]:
    """A table of `n` utterances and its folder of audio: (table, audio)."""
    for i in range(n):
        tone(folder / "clips" / f"clip_{i:02d}.wav", i % 4, seed=i)
    return write_csv(folder / "ratings.csv", sixty_rows(n)), folder / "clips"
