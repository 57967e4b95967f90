"""CREMA-D's single answers, `finishedResponses.csv`: who gave which answer, and how strong the emotion seemed.

The release's `tabulatedVotes.csv` counts these answers without the slow ones, by the rule of its own script
(`processFinishedResponses.R`): an answer is left out if the first click that belongs to it took more than 10 s
(`finishedEmoResponses.csv`). The two belong together if session * 1000 + query type * 100 + question is the same
number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hf_ambiser.data.crema_d.votes_table import CODES, KINDS, VoteRow
from hf_ambiser.files.release_tables import Line, ReleaseTable, read_release_table
from hf_ambiser.untrusted.numbers import decimal_number, whole_number


RESPONSES, FIRST_CLICKS = Path("finishedResponses.csv"), Path("finishedEmoResponses.csv")
SLOWEST = 10_000  # ms, for the first click
_CURE = "Take the file of the release, or move it away; then the raters stay anonymous."
_ANSWER = ("localid", "queryType", "clipNum", "questNum", "sessionNums", "respEmo", "respLevel")
_CLICK = ("queryType", "questNum", "sessionNums", "ttr")
_SHOWN = 5


@dataclass(frozen=True)
class Answer:
    """A rater's answer: the class' letter, and how strong the emotion seemed (0 to 100, None if that is not told)."""

    rater: str
    code: str
    level: int | None


@dataclass
class Responses:
    """The answers that the release counts.

    Args:
        answers: Id of a row of `tabulatedVotes.csv` -> its answers in the order of the file.
        differs: What was asked for and differs from the table of votes, in words.
        found: Whether there is such a file at all.
    """

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    differs: list[str] = field(default_factory=list)
    found: bool = False

    def of(self, row: VoteRow) -> list[Answer]:
        """The answers that a row of votes counts; none, with a remark, if they are others than the row says."""
        if not self.found:
            return []
        answers = self.answers.get(row.id, [])
        counts = Counter(answer.code for answer in answers)
        tabulated = dict(zip(CODES, row.counts, strict=True))
        if all(counts[code] == n for code, n in tabulated.items()):
            return answers
        told = ", ".join(f"{code} {counts[code]} for {n}" for code, n in tabulated.items() if counts[code] != n)
        self.differs.append(f"{row.source} ({told})")
        return []

    def said(self) -> list[str]:
        """Say, after all rows were looked at, in which of them the raters stay anonymous."""
        if not self.differs:
            return []
        shown = "; ".join(self.differs[:_SHOWN]) + (" ..." if len(self.differs) > _SHOWN else "")
        return [
            f"{RESPONSES} gives other votes than {len(self.differs)} of the rows that are used; their votes count as"
            f" the table has them, and their raters stay anonymous: {shown}"
        ]


def read_responses(root: Path, notes: list[str]) -> Responses:
    """Read the answers below `root`, if they are there, and say in `notes` what was left out and why.

    Raises:
        FileError: If a file is there and cannot be used.
    """
    if not (root / RESPONSES).exists():
        notes.append(f"no {RESPONSES}: the raters are anonymous, so no model of raters can be fitted to their votes")
        return Responses()
    table = read_release_table(root / RESPONSES, _ANSWER, _CURE, RESPONSES.as_posix())
    slow = _slow_questions(root, notes)
    found = Responses(found=True)
    n_slow, unreadable = 0, []
    for line in table.lines:
        question, row_id, answer = _answer(line, table)
        if answer is None:
            unreadable.append(line.number)
        elif question in slow:
            n_slow += 1
        else:
            found.answers.setdefault(row_id, []).append(answer)
    _note_lines(notes, RESPONSES, unreadable)
    raters = {answer.rater for answers in found.answers.values() for answer in answers}
    kept = sum(map(len, found.answers.values()))
    notes.append(
        f"{RESPONSES}: {len(table.lines)} answers = {kept} counted, by {len(raters)} raters, + {n_slow} whose first"
        f" click took more than {SLOWEST / 1000:g} s, which the release leaves out, + {len(unreadable)} that cannot be"
        " read"
    )
    return found


def _slow_questions(root: Path, notes: list[str]) -> set[int]:
    """Return the numbers of the questions whose first click was too slow."""
    if not (root / FIRST_CLICKS).exists():
        notes.append(f"no {FIRST_CLICKS}: nobody can tell which answers the release left out as too slow")
        return set()
    table = read_release_table(root / FIRST_CLICKS, _CLICK, _CURE, FIRST_CLICKS.as_posix())
    slow, unreadable = set(), []
    for line in table.lines:
        question = _question(line, table)
        time = decimal_number(_cell(line, table, "ttr"))
        if question is None:
            unreadable.append(line.number)
        elif time is not None and time > SLOWEST:  # the release keeps an answer whose time is no number
            slow.add(question)
    _note_lines(notes, FIRST_CLICKS, unreadable)
    return slow


def _answer(line: Line, table: ReleaseTable) -> tuple[int, str, Answer | None]:
    """Return the number of the question, the id of the row of votes, and the answer; None if it cannot be read."""
    question = _question(line, table)
    clip = whole_number(_cell(line, table, "clipNum"), 99_999)
    rater, code = _cell(line, table, "localid"), _cell(line, table, "respEmo").upper()
    if question is None or clip is None or not rater or code not in CODES:
        return 0, "", None
    kind = whole_number(_cell(line, table, "queryType"), 9)
    return question, f"{kind}{clip:05d}", Answer(rater, code, whole_number(_cell(line, table, "respLevel"), 100))


def _question(line: Line, table: ReleaseTable) -> int | None:
    """The number that the release's script gives to a question of a session; None if the line cannot be read."""
    session = whole_number(_cell(line, table, "sessionNums"), 10**8)
    kind = whole_number(_cell(line, table, "queryType"), 9)
    question = whole_number(_cell(line, table, "questNum"), 10**6)
    if session is None or kind is None or question is None or str(kind) not in KINDS:
        return None
    return session * 1000 + kind * 100 + question


def _cell(line: Line, table: ReleaseTable, name: str) -> str:
    return "" if line.problem else line.cells[table.column(name)]


def _note_lines(notes: list[str], file: Path, lines: list[int]) -> None:
    if lines:
        shown = ", ".join(map(str, lines[:_SHOWN])) + (" ..." if len(lines) > _SHOWN else "")
        notes.append(f"{file}: {len(lines)} lines cannot be read: {shown}")
