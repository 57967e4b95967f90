"""Parse the text of IEMOCAP's `EmoEvaluation/<dialog>.txt` into blocks, and of its transcriptions into turns.

A block is a header and one line per rater: `C-<rater>:` holds categorical labels, `A-<rater>:` attribute values. In a
rating line, the answer ends before the comment; comments are free text and may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hf_ambiser.data.lost_votes import NO_UTTERANCE, SECOND_ANSWER, UNKNOWN_LABEL, LostVotes
from hf_ambiser.data.schema import Rating
from hf_ambiser.labels.policies import IEMOCAP_LABELS
from hf_ambiser.untrusted.numbers import decimal_number


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
    r"(?P<dialog>Ses0(?P<session>[1-5])[MF]_(?P<type>impro|script)0[1-9][ab]?(?:_\d?b?)?)_(?P<speaker>[MF])[X\d]{2}\d",
    re.ASCII,
)
_ALIASES = {"neutral state": "neutral"}
_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{1,9})?|nan)\s*"
_HEADER = re.compile(
    rf"\[{_NUMBER}-{_NUMBER}\]\s+(\S+)\s+(\S+)\s+\[{_NUMBER},{_NUMBER},{_NUMBER}\]", re.IGNORECASE | re.ASCII
)
_RATER = re.compile(r"([CA])-(E\d{1,4}|[FM]\d{1,4})", re.ASCII)
# The places of a line where a line break was lost: before a header, and before a rating behind a header or a comment.
_N = r"\s*(?:-?\d{1,9}(?:\.\d{1,9})?|nan)\s*"
_LOST_BREAK = re.compile(
    rf"(?<=\S)\s*(?=\[{_N}-{_N}\]\s+Ses\S+\s+\S+\s+\[{_N},{_N},{_N}\])|(?<=[\])])\s*(?=[CA]-[EFM]\d{{1,4}}:\t)",
    re.ASCII,
)
_JOINED = "stood behind other text, without a line break; it is read as a line of its own"
_LONGEST = 5000  # letters of a line with several parts; the release's longest line has some hundred
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
        lost: The labels of its lines that are in no rating.
        again: Raters who answer a second time.
    """

    line: int
    first: str
    header: Header | None
    n_below: int = 0
    ratings: list[Rating] = field(default_factory=list)
    attributes: dict[str, dict[str, float | None]] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    lost: LostVotes = field(default_factory=LostVotes)
    again: list[str] = field(default_factory=list)

    def strange(self, speaker: str) -> str:
        """Say why ratings of another utterance seem to stand in this block, whose header was lost; "" if none do.

        Args:
            speaker: `F` or `M`. Only the speaker of an utterance rates it as a self-report.
        """
        if others := [r.rater for r in self.ratings if r.self_report and r.rater and r.rater[0] != speaker]:
            return f"a self-report by {others[0]} below an utterance of {speaker}"
        if others := [rater for rater in self.attributes if rater[0] in "FM" and rater[0] != speaker]:
            return f"a self-report by {others[0]} below an utterance of {speaker}"
        if len(set(self.again)) > 1 or any(rater[0] in "FM" for rater in self.again):
            return f"second answers of {', '.join(dict.fromkeys(self.again))}"
        return ""


def read_blocks(text: str) -> tuple[list[Block], list[str]]:
    """Return all blocks of one label file, and the lines before the first header that are not the legend.

    A block begins at a line that starts with `[`, or after a blank line. So the ratings below a broken header stay
    with it and do not go to the utterance above. A header that lost a line break before or after it is read as a line
    of its own.
    """
    groups: list[list[tuple[int, str]]] = []
    preamble: list[str] = []
    inside = False
    for number, line in _lines(text):
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
    blocks = [_read_block(group) for group in groups]
    for above, block in zip(groups, blocks[1:], strict=False):
        if above[-1][0] == block.line:
            block.problems.insert(0, (block.line, f"its header {_JOINED}"))
    return blocks, preamble


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line); each part of a line that lost a line break is a line of the same number."""
    # splitlines() would also break at form feeds and at U+0085, which a comment may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if len(line) > _LONGEST or line.startswith("%"):
            yield number, line
        else:
            yield from ((number, part) for part in _LOST_BREAK.split(line))


def _read_block(lines: list[tuple[int, str]]) -> Block:
    number, first = lines[0]
    match = _HEADER.fullmatch(first)
    block = Block(line=number, first=first, header=None, n_below=len(lines) - 1)
    if match is not None:
        start, end, name, code, *means = match.groups()
        block.header = Header(float(start), float(end), name, code.lower(), *(float(m) for m in means))
    # Of a block without a header the votes are counted as lost.
    above = number
    for number, line in lines if match is None else lines[1:]:
        if number == above and match is not None:
            block.problems.append((number, f"the rating {line[:5]!r} {_JOINED}"))
        above = number
        problems = _read_rating(line, block)
        block.problems += [(number, problem) for problem in problems]
    return block


def _read_rating(line: str, block: Block) -> list[str]:
    """Add one rater's line to the block, and return what could not be read."""
    head, colon, body = line.partition(":")
    match = _RATER.fullmatch(head.strip())
    if match is None or not colon:
        return [f"not a rating line: {line!r:.100}"]
    kind, rater = match.groups()
    answer = _before_comment(body)
    if kind == "A":
        return _read_attributes(answer, rater, block)
    given = [label for part in answer.split(";") if (label := " ".join(part.lower().split()))]
    given = [_ALIASES.get(label, label) for label in given]
    known = tuple(label for label in given if label in IEMOCAP_LABELS)
    problems = [
        f"rater {rater}: label {label!r:.50} is not one of the release's, and is no vote"
        for label in given
        if label not in IEMOCAP_LABELS
    ]
    if not given:
        return [f"rater {rater}: no label in {line!r:.100}"]
    if any(r.rater == rater for r in block.ratings):
        block.lost.add(SECOND_ANSWER, len(given), 1)
        block.again.append(rater)
        return [*problems, f"rater {rater}: answers a second time; the first answer is kept, not {line!r:.100}"]
    block.lost.add(UNKNOWN_LABEL, len(given) - len(known), 0 if known else 1)
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
            value = decimal_number(part[1]) if len(part) == 2 else None
            if value is None and len(part) == 2:
                raise ValueError
            values[name] = value
        except ValueError:
            problems.append(f"rater {rater}: {' '.join(part)!r:.50} is not `val|act|dom <number>`")
    block.attributes[rater] = values
    return problems


def lost_before_the_first(preamble: list[str]) -> LostVotes:
    """Count the votes in lines before the first header, which are no utterance's."""
    block = Block(line=0, first="", header=None)
    for line in preamble:
        _read_rating(line, block)
    block.lost.add_ratings("", (rating.labels for rating in block.ratings))
    found = LostVotes()
    found.add(NO_UTTERANCE, block.lost.labels.total(), block.lost.ratings.total())
    return found


def read_transcription(text: str) -> Iterator[tuple[str, str]]:
    """Yield `(turn, words)` for each line `<turn> [start-end]: words`; other lines are remarks of the transcribers."""
    for line in text.split("\n"):
        match = _TRANSCRIPT.fullmatch(line.strip())
        if match is not None:
            yield match.group(1), match.group(2).strip()
