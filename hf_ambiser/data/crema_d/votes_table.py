"""CREMA-D's `processedResults/tabulatedVotes.csv`: for each utterance and each kind of raters, how many said what."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_ambiser.data.lost_votes import LostVotes
from hf_ambiser.data.schema import Listed
from hf_ambiser.files.read import FileError
from hf_ambiser.files.release_tables import Line, ReleaseTable, read_release_table
from hf_ambiser.untrusted.numbers import decimal_number, whole_number


VOTES = Path("processedResults", "tabulatedVotes.csv")
# The vote columns and the labels that they stand for.
CODES = {"A": "anger", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness"}
# The first digit of a row's id says what the raters were shown: the kind of its ratings, and the row's name in notes.
KINDS = {"1": "voice", "2": "face", "3": "voice_and_face"}
ROWS = {"voice": "voice only", "face": "face only", "voice_and_face": "voice and face"}
UTTERANCE = re.compile(r"\b(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{2,3})\b", re.ASCII)
CURE = "Take the file of the release, or name its columns as the release does."

_ID = re.compile(r"([123]\d{5})(?:[.,]0+)?", re.ASCII)
# No row of the release has more than 20 votes; a larger number is one of something else.
_MOST_VOTES = 1000
_WORDS = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad")
# Means of the raters' levels, 0 to 100; -1 where nobody chose the class.
_MEANS = {code: f"mean{name}Resp" for code, name in zip(CODES, _WORDS, strict=True)}
# A table that was saved again may have fewer digits.
_ROUNDED = {"agreement": 0.006, "meanEmoResp": 0.06}


@dataclass(frozen=True)
class VoteRow:
    """A row of the table that can be used.

    Args:
        id: Six digits: the modality, and the number of the recording.
        counts: Votes in the order of `CODES`.
        source: File and line.
    """

    id: str
    counts: list[int]
    source: str


# Kind of rating -> the row.
Rows = dict[str, VoteRow]


def read_votes(
    root: Path, kinds: Sequence[str], notes: list[str], lost: LostVotes
) -> tuple[dict[str, Rows], list[Listed]]:
    """Read utterance -> its rows of these kinds, and the rows of these kinds that cannot be used.

    Every vote of these kinds is in one of the returned rows or in `lost`; of other kinds, a note tells how many.

    Raises:
        FileError: If the table cannot be read, or lacks a column, also the one of the rows' ids.
    """
    table = read_release_table(root / VOTES, (*CODES, "fileName", "numResponses"), CURE, VOTES.as_posix())
    notes += [f"{VOTES.as_posix()}: {', '.join(table.said)}"] if table.said else []
    ids = _column_of_ids(table)
    votes: dict[str, Rows] = {}
    listed: list[Listed] = []
    aside: Counter[str] = Counter()
    n_votes: Counter[str] = Counter()
    for line in table.lines:
        source = f"{VOTES.as_posix()}:{line.number}"
        problem, row_id, counts = _read(line, table, ids)
        kind = KINDS[row_id[0]] if row_id else ""
        if kind and kind not in kinds:
            aside[kind] += 1
            n_votes[kind] += sum(counts)
            continue
        found = UTTERANCE.search(line.text)
        name = found.group(0) if found else source
        if problem:
            listed.append(Listed(name, "malformed_line", problem, source))
            lost.add("malformed_line", sum(counts))
        elif kind in votes.get(name, {}):
            first = votes[name][kind]
            same = "the same votes" if first.counts == counts else "other votes"
            listed.append(Listed(name, "duplicate_label", f"{same} as in {first.source}, which is used", source))
            lost.add("duplicate_label", sum(counts))
        else:
            votes.setdefault(name, {})[kind] = VoteRow(row_id, counts, source)
            n_votes[kind] += sum(counts)
    notes.extend(
        f"{aside[kind]} {name} rows left aside, with {n_votes[kind]} votes"
        for kind, name in ROWS.items()
        if aside[kind]
    )
    if tuple(kinds) != ("voice",):
        told = (f"{n_votes[kind]} {ROWS[kind]} ({'counted' if kind in kinds else 'left aside'})" for kind in ROWS)
        notes.append(f"votes in the rows that can be read: {', '.join(told)}")
    return votes, listed


def _column_of_ids(table: ReleaseTable) -> int:
    """Find the column of the rows' ids, which the release does not name and other programs name in their own ways.

    Raises:
        FileError: If there is none: without it nobody can tell what the raters of a row were shown.
    """
    rows = [line.cells for line in table.lines if not line.problem]
    if not rows:
        return 0
    taken = {table.column(name) for name in (*CODES, "fileName", "numResponses")}
    fits = {
        place: sum(_ID.fullmatch(cells[place]) is not None for cells in rows)
        for place in range(len(table.header))
        if place not in taken
    }
    best = max(fits, key=lambda place: (fits[place], -place), default=0)
    if not fits.get(best):
        raise FileError(
            VOTES.as_posix(),
            f"lacks the column of ids, which has no name in the release: six digits, of which the first says whether"
            f" the raters heard the voice (1), saw the face (2) or both (3). The first row is {rows[0]!r:.200}",
            CURE,
        )
    return best


def _read(line: Line, table: ReleaseTable, ids: int) -> tuple[str, str, list[int]]:
    """Return what is wrong with a line ("" if nothing is), its id ("" if it has none), and the votes that it tells."""
    if line.problem:
        return line.problem, "", []
    cells = {name: line.cells[table.column(name)] for name in (*CODES, "fileName", "numResponses")}
    read = {name: whole_number(cells[name], _MOST_VOTES) for name in (*CODES, "numResponses")}
    counts = [read[code] or 0 for code in CODES]
    match = _ID.fullmatch(line.cells[ids])
    if match is None:
        wrong = f"id {line.cells[ids]!r:.50} is not six digits of which the first is a modality, 1, 2 or 3"
        return wrong, "", counts
    if not UTTERANCE.fullmatch(cells["fileName"]):
        return f"fileName {cells['fileName']!r:.50} is not <actor>_<sentence>_<emotion>_<level>", match[1], counts
    if odd := [name for name, n in read.items() if n is None]:
        return f"{odd[0]}={cells[odd[0]]!r:.50} is not a count from 0 to {_MOST_VOTES}", match[1], counts
    if sum(counts) != read["numResponses"]:
        return f"votes sum to {sum(counts)}, numResponses is {read['numResponses']}", match[1], counts
    return _contradiction(line, table, counts), match[1], counts


def _contradiction(line: Line, table: ReleaseTable, counts: list[int]) -> str:
    """Say where the votes differ from what the row itself says of them; "" if they do not.

    Each row of the release repeats its votes: the share of the most frequent class, its letter, and the means of the
    raters' levels. Votes that stand in the wrong columns contradict one of them.
    """

    def said(name: str) -> str:
        return line.cells[table.column(name)] if name in table.header else ""

    total = sum(counts)
    if not total:
        return ""
    votes = dict(zip(CODES, counts, strict=True))
    shown = ", ".join(f"{code} {n}" for code, n in votes.items() if n)
    winners = ":".join(code for code, n in votes.items() if n == max(counts))
    if said("emoVote") and said("emoVote") != winners:
        return f"votes {shown} elect {winners}, emoVote is {said('emoVote')!r:.50}"
    agreement = decimal_number(said("agreement"))
    if agreement is not None and abs(agreement - max(counts) / total) > _ROUNDED["agreement"]:
        return f"votes {shown} agree to {max(counts) / total:.4g}, agreement is {agreement:.4g}"
    means = {code: decimal_number(said(name)) for code, name in _MEANS.items() if votes[code]}
    if unchosen := [code for code, mean in means.items() if mean is not None and mean < 0]:
        return f"votes {shown}, but {_MEANS[unchosen[0]]} says that nobody chose {unchosen[0]}"
    mean, levels = decimal_number(said("meanEmoResp")), [(votes[code], level) for code, level in means.items()]
    if mean is not None and all(level is not None for _, level in levels):
        by_votes = sum(n * level for n, level in levels if level is not None) / total
        if abs(by_votes - mean) > _ROUNDED["meanEmoResp"]:
            return f"votes {shown} give a mean level of {by_votes:.4g}, meanEmoResp is {mean:.4g}"
    return ""
