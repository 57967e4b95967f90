"""Parse the text of IEMOCAP's `EmoEvaluation/<dialog>.txt` into blocks, and of its transcriptions into turns.

A block is a header and one line per rater: `C-<rater>:` holds categorical labels, `A-<rater>:` attribute values. In a
rating line, the answer ends before the comment; comments are free text and may hold anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hf_ambiser.data.schema import Rating
from hf_ambiser.labels.policies import IEMOCAP_LABELS


# The release's majority code -> the raters' label that it stands for; `xxx` means "no majority".
RELEASE_CODES: dict[str, str | None] = {
    "ang": "anger",
    "dis": "disgust",
    "exc": "excited",
    "fea": "fear",
    "fru": "frustration",
    "hap": "happiness",
    "neu": "neutral",
    "oth": "other",
    "sad": "sadness",
    "sur": "surprise",
    "xxx": None,
}
UTTERANCE_ID = re.compile(
    r"(?P<dialog>Ses0(?P<session>[1-5])[MF]_(?P<type>impro|script)0[1-9][ab]?(?:_\d?b?)?)_(?P<speaker>[MF])[X\d]{2}\d"
)
_ALIASES = {"neutral state": "neutral"}
_NUMBER = r"\s*(-?\d+(?:\.\d+)?|nan)\s*"
_HEADER = re.compile(rf"\[{_NUMBER}-{_NUMBER}\]\s+(\S+)\s+(\S+)\s+\[{_NUMBER},{_NUMBER},{_NUMBER}\]", re.IGNORECASE)
_RATER = re.compile(r"([CA])-(E\d+|[FM]\d+)")
_ATTRIBUTES = {"val": "valence", "act": "activation", "dom": "dominance"}
_TRANSCRIPT = re.compile(r"(\S+)\s+\[[^\]]*\]\s*:(.*)")


@dataclass(frozen=True)
class Header:
    """The first line of a block: times in s, the release's majority code, means of the attribute ratings (1 to 5)."""

    start: float
    end: float
    id: str
    code: str
    valence: float
    activation: float
    dominance: float


@dataclass
class Block:
    """The lines of one utterance.

    Args:
        line: Line number of the first line, from 1.
        first: Text of the first line.
        header: The parsed first line; None if it does not have the form of a header.
        n_below: Number of lines below the first.
        ratings: Categorical answers; labels have the release's spelling in lower case.
        attributes: Rater -> valence, activation, dominance; None for a missing value.
        problems: `(line number, what is wrong)` for lines or labels that could not be read.
    """

    line: int
    first: str
    header: Header | None
    n_below: int = 0
    ratings: list[Rating] = field(default_factory=list)
    attributes: dict[str, dict[str, float | None]] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)


def read_blocks(text: str) -> tuple[list[Block], list[str]]:
    """Return all blocks of one label file, and the lines before the first header that are not the legend.

    A block begins at a line that starts with `[`, or after a blank line. So the ratings below a broken header stay
    with it and do not go to the utterance above.
    """
    groups: list[list[tuple[int, str]]] = []
    preamble: list[str] = []
    inside = False
    # splitlines() would also break at form feeds and at U+0085, which a comment may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line:
            inside = False
        elif line.startswith("%"):
            continue
        elif line.startswith("["):
            groups.append([(number, line)])
            inside = True
        elif not groups:
            preamble.append(line)
        elif inside:
            groups[-1].append((number, line))
        else:
            groups.append([(number, line)])
            inside = True
    return [_read_block(group) for group in groups], preamble


def _read_block(lines: list[tuple[int, str]]) -> Block:
    number, first = lines[0]
    match = _HEADER.fullmatch(first)
    block = Block(line=number, first=first, header=None, n_below=len(lines) - 1)
    if match is None:
        return block
    start, end, name, code, *means = match.groups()
    block.header = Header(float(start), float(end), name, code.lower(), *(float(m) for m in means))
    for number, line in lines[1:]:
        problems = _read_rating(line, block)
        block.problems += [(number, problem) for problem in problems]
    return block


def _read_rating(line: str, block: Block) -> list[str]:
    """Add one rater's line to the block, and return what could not be read."""
    head, colon, body = line.partition(":")
    match = _RATER.fullmatch(head.strip())
    if match is None or not colon:
        return [f"not a rating line: {line!r}"]
    kind, rater = match.groups()
    answer = _before_comment(body)
    if kind == "A":
        return _read_attributes(answer, rater, block)
    given = [label for part in answer.split(";") if (label := " ".join(part.lower().split()))]
    given = [_ALIASES.get(label, label) for label in given]
    known = tuple(label for label in given if label in IEMOCAP_LABELS)
    problems = [
        f"rater {rater}: label {label!r} is not one of the release's, and is no vote"
        for label in given
        if label not in IEMOCAP_LABELS
    ]
    if not given:
        return [f"rater {rater}: no label in {line!r}"]
    if any(r.rater == rater for r in block.ratings):
        return [*problems, f"rater {rater}: answers a second time; the first answer is kept, not {line!r}"]
    if known:
        block.ratings.append(Rating(rater=rater, labels=known, self_report=rater[0] in "FM"))
    return problems


def _before_comment(body: str) -> str:
    """Return the answer: the text after one TAB, up to the next TAB or to the parenthesis of the comment."""
    body = body.lstrip(" ").removeprefix("\t")
    return re.split(r"[\t(]", body, maxsplit=1)[0]


def _read_attributes(answer: str, rater: str, block: Block) -> list[str]:
    if rater in block.attributes:
        return [f"rater {rater}: rates the attributes a second time; the first answer is kept"]
    values: dict[str, float | None] = dict.fromkeys(_ATTRIBUTES.values())
    problems = []
    for part in filter(None, (p.split() for p in answer.split(";"))):
        name = _ATTRIBUTES.get(part[0].lower())
        try:
            if name is None or len(part) > 2:
                raise ValueError
            value = float(part[1]) if len(part) == 2 else None
            if value is not None and not math.isfinite(value):
                raise ValueError
            values[name] = value
        except ValueError:
            problems.append(f"rater {rater}: {' '.join(part)!r} is not `val|act|dom <number>`")
    block.attributes[rater] = values
    return problems


def read_transcription(text: str) -> Iterator[tuple[str, str]]:
    """Yield `(turn, words)` for each line `<turn> [start-end]: words`; other lines are remarks of the transcribers."""
    for line in text.split("\n"):
        match = _TRANSCRIPT.fullmatch(line.strip())
        if match is not None:
            yield match.group(1), match.group(2).strip()
