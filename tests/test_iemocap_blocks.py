"""The label-file reader against a slow, literal transcription of the block format, on random files."""

from __future__ import annotations

import random

from helpers import iemocap_tree as tree

from hf_ambiser.data.corpora.iemocap.blocks import read_blocks, read_transcription


F0 = "Ses01F_impro01_F000"
M0 = "Ses01F_impro01_M003"


KNOWN = "neutral happiness sadness anger surprise fear disgust frustration excited other".split()


def literal(text: str) -> list[tuple]:
    """The format, read one character at a time: `(id, code, ratings, attributes)` per block, None if broken."""
    result: list = []
    current: tuple | None = None
    broken, started, line = False, False, ""
    for char in text + "\n":
        if char != "\n":
            line += char
            continue
        line, done = "", line.strip()
        if done == "":
            current, broken = None, False
            continue
        if done[0] == "%":
            continue
        if done[0] == "[":
            started = True
            fields = done.split("\t")
            if len(fields) == 4:
                current, broken = (fields[1], fields[2].lower(), [], {}), False
                result.append(current)
            else:
                current, broken = None, True
                result.append(None)
            continue
        if not started or broken:
            continue
        if current is None:
            broken = True
            result.append(None)
            continue
        if done[:2] not in ("C-", "A-") or ":" not in done:
            continue
        rater = done[2 : done.index(":")]
        if not (len(rater) >= 2 and rater[0] in "EFM" and rater[1:].isdigit()):
            continue
        answer, began = "", False
        for c in done[done.index(":") + 1 :]:
            if c == "\t" and not began:
                began = True
            elif c in "\t(":
                break
            else:
                began = True
                answer += c
        parts = [p.strip().lower() for p in answer.split(";") if p.strip()]
        if done[0] == "C":
            labels = ["neutral" if p == "neutral state" else p for p in parts]
            labels = [p for p in labels if p in KNOWN]
            if labels and rater not in [r[0] for r in current[2]]:
                current[2].append((rater, tuple(labels), rater[0] != "E"))
        elif rater not in current[3]:
            values = {"val": None, "act": None, "dom": None}
            for part in parts:
                pieces = part.split()
                if pieces[0] in values and len(pieces) == 2 and pieces[1].isdigit():
                    values[pieces[0]] = float(pieces[1])
            current[3][rater] = tuple(values.values())
    return result


def random_file(rng: random.Random) -> str:
    comments = [
        "()",
        "(sad; Anger;)",
        "(a: b\tC-E9:\tFear;)",
        "(\u00e9\u2028x)",
        "",
        "([3 - 4] Neutral)",
        "no bracket; Fear:",
    ]
    spell = [str.lower, str.upper, str.title]
    text = rng.choice(["", tree.LEGEND + "\n", tree.LEGEND + "\n\n", "remark\n", "\n\n"])
    for _ in range(rng.randint(0, 7)):
        name = f"Ses0{rng.randint(1, 5)}F_impro0{rng.randint(1, 9)}_{rng.choice('FM')}{rng.randint(0, 999):03d}"
        roll = rng.random()
        if roll < 0.85:
            text += f"[{rng.random() * 9:.4f} - {9 + rng.random():.4f}]\t{name}\t{rng.choice(['neu', 'XXX', 'fru'])}\t"
            text += "[2.5000, 3.0000, 1.6667]\n"
        elif roll < 0.93:
            text += f"[1.0 - 2.0]\t{name}\tneu\n"
        for _ in range(rng.randint(0, 6)):
            rater = rng.choice(["E1", "E2", "E3", "E4", "E12", "F1", "M1", "X3", "E"])
            kind = rng.random()
            if kind < 0.6:
                words = rng.choices([*KNOWN, "Neutral state", "bored", ""], k=rng.randint(1, 3))
                labels = rng.choice(["; ", ";"]).join(rng.choice(spell)(w) for w in words) + rng.choice(
                    [";", "; ", ";", ""]
                )
                text += f"C-{rater}:{rng.choice([chr(9)] * 4 + [' '])}{labels}\t{rng.choice(comments)}\n"
            elif kind < 0.9:
                dom = rng.choice(["dom  3;", "dom  ;", "dom;", "", "dom x;"])
                text += (
                    f"A-{rater}:\tval {rng.randint(1, 5)}; act {rng.randint(1, 5)}; {dom}\t{rng.choice(comments)}\n"
                )
            else:
                text += rng.choice(["% note\n", "stray line\n", "C-E1 Anger;\n", "\tC-E7:\tFear;\t()\n"])
        text += rng.choice(["\n", "\n", "\n\n", "", "  \n"])
    return text.rstrip("\n") if rng.random() < 0.5 else text


def test_parser_equals_the_literal_transcription() -> None:
    rng = random.Random(0)
    blocks_seen = ratings_seen = broken_seen = 0
    for _ in range(1500):
        text = random_file(rng)
        for variant in (text, text.replace("\n", "\r\n")):
            blocks, _ = read_blocks(variant)
            ours = [
                b.header
                and (
                    b.header.id,
                    b.header.code,
                    [(r.rater, r.labels, r.self_report) for r in b.ratings],
                    {rater: tuple(values.values()) for rater, values in b.attributes.items()},
                )
                for b in blocks
            ]
            assert ours == literal(variant), variant
        blocks_seen += len(ours)
        broken_seen += ours.count(None)
        ratings_seen += sum(len(b.ratings) for b in blocks)
    # The generator really reaches the cases.
    assert blocks_seen > 3000 and ratings_seen > 3000 and broken_seen > 100


def test_every_label_line_gives_a_rating_or_a_problem() -> None:
    rng = random.Random(1)
    for _ in range(400):
        text = random_file(rng)
        blocks, _ = read_blocks(text)
        for b in (b for b in blocks if b.header):
            lines = text.split("\n")[b.line : b.line + b.n_below]
            said = {n for n, _ in b.problems}
            silent = sum(n not in said and line.strip().startswith("C-") for n, line in enumerate(lines, b.line + 1))
            assert silent <= len(b.ratings)


def test_transcription_lines() -> None:
    text = f"{F0} [006.2901-008.2357]: a: b;\r\nnot a turn\n\nSes01F_impro01_MXX0 [1-2]:  hm  "
    assert list(read_transcription(text)) == [(F0, "a: b;"), ("Ses01F_impro01_MXX0", "hm")]
