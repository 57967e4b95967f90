"""Writes small IEMOCAP-shaped trees, and a full-size one with the published counts; the content is made up."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np


LEGEND = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"


@cache
def wav_bytes(seconds: float = 0.02) -> bytes:
    """A 16 kHz mono wav."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        t = np.arange(int(16000 * seconds))
        out.writeframes((8000 * np.sin(t / 10)).astype("<i2").tobytes())
    return buffer.getvalue()


def block(name: str, code: str = "neu", *lines: str, start: float = 6.2901, end: float = 8.2357) -> str:
    """One utterance's block without its blank line; `lines` are rating lines as in the release."""
    lines = lines or ("C-E2:\tNeutral;\t()", "C-E3:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  3;\t()")
    return "\n".join([f"[{start:.4f} - {end:.4f}]\t{name}\t{code}\t[2.5000, 2.5000, 2.5000]", *lines])


def votes(*labels: str) -> list[str]:
    """`C-E<n>:` lines, one a rater; a rater's several labels are joined by `;` in the argument."""
    return [f"C-E{n}:\t{'; '.join(p.strip() for p in label.split(';'))};\t()" for n, label in enumerate(labels, 1)]


def write_labels(root: Path, dialog: str, text: str | bytes) -> Path:
    """`Session<n>/dialog/EmoEvaluation/<dialog>.txt` with exactly this content."""
    folder = root / f"Session{dialog[4]}" / "dialog" / "EmoEvaluation"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{dialog}.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def write_audio(root: Path, names: Iterable[str]) -> None:
    """A tiny wav per utterance id, where the release has it."""
    for name in names:
        folder = root / f"Session{name[4]}" / "sentences" / "wav" / name.rpartition("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.wav").write_bytes(wav_bytes())


def write_dialog(root: Path, dialog: str, blocks: Mapping[str, str], *, audio: bool = True) -> Path:
    """A whole dialogue: legend, blank line, blocks with a blank line between them; the last one has none after it."""
    if audio:
        write_audio(root, blocks)
    return write_labels(root, dialog, "\n\n".join([LEGEND, *blocks.values()]))


# ---- the published counts, typed a second time, from the papers' own text and the format notes ----

CODES = "ang 1103, dis 2, exc 1041, fea 40, fru 1849, hap 595, neu 1708, oth 3, sad 1084, sur 107, xxx 2507"
META = """
Ses01F	69	78	171	147
Ses01M	66	116	213	82
Ses02F	70	113	135	67
Ses02M	47	84	227	70
Ses03F	80	172	130	92
Ses03M	55	133	190	148
Ses04F	31	62	76	205
Ses04M	34	81	182	122
Ses05F	77	132	221	78
Ses05M	66	113	163	92
Total	595	1084	1708	1103
"""
SLC_A = (1316, 1248, 1324, 1216, 1494)
SLC_B = (726, 801, 973, 1059, 890)
# Not published per session: any numbers with these totals (1041, 2507) that the segment counts allow.
EXC = (143, 210, 151, 238, 299)
XXX = (400, 450, 550, 600, 507)
SCRIPTS = ("01_1", "01_2", "01_3", "02_1", "02_2", "03_1", "03_2")
LABELS = dict(
    ang="Anger",
    dis="Disgust",
    exc="Excited",
    fea="Fear",
    fru="Frustration",
    hap="Happiness",
    neu="Neutral",
    oth="Other",
    sad="Sadness",
    sur="Surprise",
)


def dialogs(session: int) -> list[str]:
    """Names of a session's dialogues: 30, and one more in session 5."""
    names = [
        f"Ses0{session}{who}_{part}"
        for who in "FM"
        for part in [f"impro0{i}" for i in range(1, 9)] + [f"script{s}" for s in SCRIPTS]
    ]
    return names + ["Ses05M_script01_1b"] * (session == 5)


def write_published(root: Path) -> int:
    """A label-only release with exactly the published counts (durations and votes to suit); returns utterances."""
    totals = {c: int(n) for c, n in (item.split() for item in CODES.split(", "))}
    meta = {row.split()[0]: [int(n) for n in row.split()[1:]] for row in META.strip().splitlines()}
    four = {"ang", "hap", "exc", "sad", "neu"}
    written = 0
    for session in range(1, 6):
        spoken: list[tuple[str, str]] = []  # (speaker letter, code)
        for who in "FM":
            for code, n in zip(("hap", "sad", "neu", "ang"), meta[f"Ses0{session}{who}"], strict=True):
                spoken += [(who, code)] * n
        for code, n in {"exc": EXC[session - 1], "xxx": XXX[session - 1]}.items():
            spoken += [("FM"[i % 2], code) for i in range(n)]
        for code in ("dis", "fea", "fru", "oth", "sur"):
            share = totals[code] // 5 + (session <= totals[code] % 5)
            spoken += [("FM"[i % 2], code) for i in range(share)]
        # So many utterances last over 7 s (two segments) that the segments come out as published.
        long = {
            True: SLC_A[session - 1] - sum(c in four for _, c in spoken),
            False: SLC_B[session - 1] - XXX[session - 1],
        }
        names = dialogs(session)
        blocks: dict[str, list[str]] = {name: [] for name in names}
        for i, (who, code) in enumerate(spoken):
            dialog = names[i % len(names)]
            seconds = 7.0
            if (code in four or code == "xxx") and long[code in four] > 0:
                long[code in four] -= 1
                seconds = 12.5
            if code == "xxx":
                rated = votes("Anger", "Sadness", "Surprise")
            elif i % 3 == 0:
                rated = votes(LABELS[code], LABELS[code], LABELS[code])
            else:
                rated = votes(LABELS[code], "Fear" if code != "fea" else "Other", LABELS[code])
            name = f"{dialog}_{who}{len(blocks[dialog]):03d}"
            blocks[dialog].append(block(name, code, *rated, start=6.2901, end=6.2901 + seconds))
        for dialog, texts in blocks.items():
            write_labels(root, dialog, "\n\n".join([LEGEND, *texts]))
            written += len(texts)
    return written
