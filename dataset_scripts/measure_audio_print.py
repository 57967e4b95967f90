"""Measure which copies of recordings the audit of a build finds, and how near different recordings come to a copy."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import soundfile


sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hf_ambiser.data.audio import CheckedAudio, inspect_audio  # noqa: E402
from hf_ambiser.data.overlap.audio_print import CUTS, THRESHOLD, AudioPrint, audio_print, near_groups  # noqa: E402
from hf_ambiser.files.command_parser import CommandParser


ENDINGS = {".wav", ".flac", ".ogg", ".mp3"}


def main() -> None:
    """Print the groups of near copies in a folder of audio, the next likeness, and the shares of copies found."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=os.environ.get("CREMA_D_ROOT"), help="folder of audio")
    parser.add_argument("--copies", type=int, default=400, help="recordings to copy (default: %(default)s)")
    args = parser.parse_args()
    draw = np.random.default_rng(0)
    names, prints, waves = [], [], []
    for path in sorted(path for path in args.root.rglob("*") if path.suffix.lower() in ENDINGS):
        if isinstance(audio := inspect_audio(path), CheckedAudio) and audio.samples is not None:
            names.append(path.stem)
            prints.append(audio_print(audio.samples))
            waves.append(audio.samples)
    groups = near_groups(prints)
    for group in np.flatnonzero(np.bincount(groups) > 1):
        sys.stdout.write(f"near copies: {' = '.join(names[i] for i in np.flatnonzero(groups == group))}\n")
    others = [likeness(prints[i], prints[j]) for i, j in pairs(prints) if groups[i] != groups[j]]
    sys.stdout.write(f"{len(names)} recordings; the two most alike of the others: {max(others, default=0):.3f}\n")

    chosen = draw.choice(len(waves), min(args.copies, len(waves)), replace=False)
    silence = [np.zeros(n, np.float32) for n in draw.integers(1000, 20000, 2 * len(waves))]
    for what, change in (
        ("a fifth of the volume", lambda i: 0.2 * waves[i]),
        ("silence at both ends", lambda i: np.concatenate([silence[2 * i], waves[i], silence[2 * i + 1]])),
        ("noise at 20 dB", lambda i: noisy(waves[i], draw)),
        ("MP3", lambda i: mp3(waves[i])),
        ("softer, silence, MP3", lambda i: mp3(np.concatenate([silence[2 * i], 0.3 * waves[i], silence[2 * i + 1]]))),
    ):
        found = np.mean([likeness(prints[i], audio_print(change(i))) >= THRESHOLD for i in chosen])
        sys.stdout.write(f"found with {what}: {found:.1%}\n")


def likeness(one: AudioPrint, other: AudioPrint) -> float:
    """The product of the pictures of two recordings; of several cuts the highest one, and 0 for unlike lengths."""
    best = 0.0
    for cut in range(len(CUTS)):
        a, b = one.pictures[cut], other.pictures[cut]
        short, long = sorted((one.frames[cut], other.frames[cut]))
        if a is not None and b is not None and long <= max(1.02 * short, short + 2):
            best = max(best, float(a.astype(np.float32) @ b.astype(np.float32)))
    return best


def pairs(prints: list[AudioPrint]) -> list[tuple[int, int]]:
    """The pairs that are rather alike in one of the cuts, whatever their lengths."""
    found: set[tuple[int, int]] = set()
    size = next(len(p) for one in prints for p in one.pictures if p is not None)
    for cut in range(len(CUTS)):
        pictures = np.array([np.zeros(size) if (p := one.pictures[cut]) is None else p for one in prints], np.float32)
        i, j = np.nonzero(np.triu(pictures @ pictures.T > THRESHOLD - 0.1, 1))
        found |= set(zip(i.tolist(), j.tolist(), strict=True))
    return sorted(found)


def noisy(wave: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Add white noise, 20 dB below the recording."""
    return (wave + draw.normal(size=len(wave)) * np.sqrt((wave**2).mean() / 100)).astype(np.float32)


def mp3(wave: np.ndarray) -> np.ndarray:
    """Code and decode as MP3."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), 16000, format="MP3")
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


if __name__ == "__main__":
    main()
