"""A corpus to annotate: short noises in a tar archive as WebDataset has them, some of which are broken."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import soundfile

from helpers.made_model import RATE, noise


def encoded(seconds: float, seed: int = 0) -> bytes:
    """A WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(seconds, seed), RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def made_tar(path: Path, n: int, every_broken: int = 5) -> Path:
    """A tar of n recordings of 0.2 to 0.5 s, each with a label beside it; every so many-th is no audio."""
    members: dict[str, bytes] = {}
    made = [encoded(0.2 + 0.05 * k, k) for k in range(7)]
    for i in range(n):
        members[f"{i:05d}.wav"] = b"no audio" if i % every_broken == 4 else made[i % len(made)]
        members[f"{i:05d}.json"] = b"{}"
    return write_tar(path, members)
