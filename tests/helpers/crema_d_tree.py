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


RESPONSE_HEADER = [
    "X", "localid", "pos", "ans", "ttr", "queryType", "numTries", "clipNum", "questNum", "subType", "clipName",
    "sessionNums", "respEmo", "respLevel", "dispEmo", "dispVal", "dispLevel",
]  # fmt: skip
CLICK_HEADER = [
    "X", "localid", "sessionNums", "queryType", "questNum", "pos", "ttr", "numTries", "clipNum", "clipName",
]  # fmt: skip


def write_responses(root: Path, rows: list[list], n_raters: int = 12, slow: int = 1) -> list[tuple[str, str, str]]:
    """Write single answers that give exactly these rows of votes, and `slow` more for each row that are too slow.

    Returns:
        (row id, rater, letter) of the answers that count, in the order of the file.
    """
    answers, clicks, counted, questions = [], [], [], {}
    for row in rows:
        row_id, votes, clip = row[0], row[1:7], row[7]
        letters = [code for code, n in zip(CODES, votes, strict=True) for _ in range(n)] + ["A"] * slow
        for k, letter in enumerate(letters):
            rater = (int(row_id) + k) % n_raters
            session, kind, number = 100 + rater, int(row_id[0]), int(row_id[1:])
            question = questions[session, kind] = questions.get((session, kind), 0) + 1
            late = k >= len(letters) - slow
            level, index = 20 + 5 * k, len(answers) + 1
            answers.append(
                [
                    index,
                    f"r{rater:02d}",
                    k,
                    f"{letter}_{level}",
                    900,
                    kind,
                    0,
                    number,
                    question,
                    4,
                    clip,
                    session,
                    letter,
                ]
                + [level, "A", "XX", 50]
            )
            time = 10_001 if late else (10_000 if k == 0 else 1500)
            clicks.append([index, f"r{rater:02d}", session, kind, question, k, time, 0, number, clip])
            if not late:
                counted.append((row_id, f"r{rater:02d}", letter))
    for name, header, lines in (
        ("finishedResponses.csv", RESPONSE_HEADER, answers),
        ("finishedEmoResponses.csv", CLICK_HEADER, clicks),
    ):
        with open(root / name, "w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_NONNUMERIC).writerows([header, *lines])
    return counted
