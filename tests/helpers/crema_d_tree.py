"""A small CREMA-D of made-up clips and votes in the release's exact form, for tests."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import soundfile


CODES = "ADFHNS"
HEADER = ["", *CODES, "fileName", "numResponses", "agreement", "emoVote"] + [
    f"{statistic}{emotion}Resp{norm}"
    for norm in ("", "Norm")
    for statistic, emotion in [
        *(("mean", e) for e in ("Emo", "Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad")),
        ("median", "Emo"),
    ]
]


def tone(seconds: float = 0.3, rate: int = 16000, channels: int = 1, seed: int = 0) -> np.ndarray:
    noise = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    return noise.astype(np.float32).clip(-0.9, 0.9)


def encode(samples: np.ndarray, rate: int = 16000, form: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def csv_row(number: int, clip: str, votes: list[int], modality: int = 1) -> list:
    top = max(votes)
    winners = ":".join(c for c, v in zip(CODES, votes, strict=True) if v == top)
    total = sum(votes)
    return [f"{modality}{number:05d}", *votes, clip, total, top / total, winners, *([50.0] * (len(HEADER) - 11))]


def write_tree(root: Path, rows: list[list], clips: dict[str, bytes], demographics: bool = True) -> Path:
    """`clips`: path below the root -> bytes."""
    (root / "processedResults").mkdir(parents=True, exist_ok=True)
    with open(root / "processedResults" / "tabulatedVotes.csv", "w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(HEADER)
        writer.writerows(rows)
    if demographics:
        (root / "VideoDemographics.csv").write_text(
            '"ActorID","Age","Sex","Race","Ethnicity"\n'
            + "".join(f'{1001 + i},{20 + i},"{("Female", "Male")[i % 2]}","Asian","Not Hispanic"\n' for i in range(20))
        )
    for path, data in clips.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def made_corpus(root: Path, speakers: int = 6, per_class: int = 4, seconds: float = 0.2) -> Path:
    """Every speaker has `per_class` clips won by each class with varying agreement, and one tie."""
    rng = np.random.default_rng(7)
    rows, clips, number = [], {}, 0
    for s in range(speakers):
        for k in range(6):
            for j in range(per_class + (k == 0)):
                votes = [0] * 6
                if j == per_class:  # the tie
                    votes[0] = votes[1] = 4
                else:
                    votes[k] = 8 - j
                    votes[(k + 1 + int(rng.integers(5))) % 6] += j
                clip = f"{1001 + s}_T{chr(65 + j)}{CODES[k]}_ANG_XX"
                number += 1
                rows += [csv_row(number, clip, votes, m) for m in (1, 2, 3)]
                clips[f"AudioWAV/{clip}.wav"] = encode(tone(seconds, seed=number))
    return write_tree(root, rows, clips)
