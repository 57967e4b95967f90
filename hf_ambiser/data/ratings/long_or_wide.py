"""From the rows of a table, long or wide, to utterances with their ratings.

Two rules decide what is not counted, and both list the row: a rater's second rating of an utterance (the first one
counts; without names of raters nobody can tell, and every row counts), and in a wide table a second row of an
utterance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hf_ambiser.data.lost_votes import LostVotes
from hf_ambiser.data.ratings.audio_files import AudioFile, AudioFinder, NoAudio, name_without_place
from hf_ambiser.data.ratings.cells import (
    MOST_VOTES,
    check_counts,
    count_of,
    find_separator,
    label_said_twice,
    labels_of,
)
from hf_ambiser.data.ratings.columns import Columns, label_of_column
from hf_ambiser.data.schema import Listed, Rating, TableRows
from hf_ambiser.files.tables import Cell, Line, TableFile, composed, in_words


# What every row of an utterance must say alike.
_ABOUT_UTTERANCE = ("speaker", "session")
# What rows may say in several ways (raters may have written a transcript each): the first counts, others are noted.
_FIRST_COUNTS = ("dialogue", "sentence")
# One rating of a row: the rater ("" if nobody says), the labels (none: the cell is empty), and how many like it.
Answer = tuple[str, tuple[str, ...], int]


@dataclass
class RatedUtterance:
    """What a table says of one utterance.

    Args:
        name: The cell that named it first, and the part of the recording, if it is one.
        line: The line where it was named first.
        audio: Its file, or why there is none.
        ratings: Ratings in the order of the rows.
        about: `speaker`, `session`, `dialogue` and `sentence`, as far as the table has them.
        raters: The names of its raters so far.
    """

    name: str
    line: Line
    audio: AudioFile | NoAudio
    ratings: list[Rating] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    raters: set[str] = field(default_factory=set)

    @property
    def votes(self) -> int:
        """The number of labels."""
        return sum(len(rating.labels) for rating in self.ratings)


@dataclass
class RatedTable:
    """All that a table says.

    Args:
        source: The table's name.
        utterances: In the order of the table.
        listed: The rows that are not used.
        counts: The counts of `schema.TableRows`; `votes_used` includes utterances without audio.
        people: Speaker -> attribute (`sex`, `age`) -> each value that rows give, with the first line of each.
        languages: Language -> rows.
        labels: Label in lower case, as labels are compared -> how it is written in the table -> votes.
        notes: Remarks in plain sentences.
        lost: The votes of rows that are not used.
    """

    source: str
    utterances: list[RatedUtterance] = field(default_factory=list)
    listed: list[Listed] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    people: dict[str, dict[str, dict[str, Line]]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lost: LostVotes = field(default_factory=LostVotes)

    def place(self, line: Line) -> str:
        """Where a row is, for lists."""
        return f"{self.source}:{line}" if isinstance(line, int) else line

    def list_row(self, line: Line, name: str, reason: str, detail: str, answers: Sequence[Answer] = ()) -> None:
        """Take a row as not used, with the votes in it."""
        votes = sum(len(labels) * n for _, labels, n in answers)
        self.lost.add(reason, votes, sum(n for _, labels, n in answers if labels))
        place = self.place(line)
        self.listed.append(Listed(name_without_place(name) or place, reason, detail, place))
        self.counts["rows_listed"] += 1
        self.counts["votes_in_listed_rows"] += votes

    def rows(self, listed_votes: int) -> TableRows:
        """Say what became of all rows and votes, of which `listed_votes` belong to utterances that are listed."""
        names = ("rows_in", "rows_used", "rows_listed", "votes_in", "votes_in_listed_rows", "empty_cells")
        counts = {name: self.counts[name] for name in names}
        counts |= {"votes_used": self.counts["votes_used"] - listed_votes, "votes_of_listed_utterances": listed_votes}
        return TableRows(counts, self.listed)


def rated_table(table: TableFile, columns: Columns, audio: AudioFinder, separator: str | None = None) -> RatedTable:
    """Read every row of a table.

    Args:
        table: The table.
        columns: Which of its columns is what.
        audio: The audio files, because two names of one file are one utterance.
        separator: What stands between several labels in a cell; "none", or None to find it out.

    Raises:
        ValueError: If `separator` is none of those that are known or the table has counts, or a cell holds objects.
    """
    rated = RatedTable(table.path.name)
    answers_of = _answers_of(table, columns, separator, rated)
    roles = {role: table.columns[name] for role, name in columns.roles.items() if role not in ("label", "rater")}
    found: dict[str, RatedUtterance] = {}
    several: dict[str, set[str]] = {role: set() for role in _FIRST_COUNTS}
    known: dict[tuple[str, tuple[str, ...]], Rating] = {}  # a million ratings are few different ones
    for line, problem in table.broken:
        rated.list_row(line, "", "malformed_line", problem)
    for row, line in enumerate(table.lines):
        said = {role: _text(cells[row]) for role, cells in roles.items()}
        answers = answers_of(row)
        if isinstance(answers, str):
            rated.list_row(line, said["utterance"], "malformed_line", answers)
            continue
        votes = sum(len(labels) * n for _, labels, n in answers)
        rated.counts["votes_in"] += votes
        part = said.get("start", ""), said.get("end", "")
        file = audio.find(said["utterance"], *part)
        name = f"{said['utterance']} {'-'.join(part)}" if any(part) else said["utterance"]
        key = f"file {file.id}" if isinstance(file, AudioFile) else f"name {name}"
        one = found.get(key) or RatedUtterance(name if said["utterance"] else "", line, file)
        about = {role: said[role] for role in _ABOUT_UTTERANCE if said.get(role)}
        if unused := _problem(one, about, answers, columns.wide and key in found):
            rated.list_row(line, said["utterance"], *unused, answers)
            continue
        found[key] = one
        one.about.update(about)
        for role in _FIRST_COUNTS:
            value = " ".join(said.get(role, "").lower().split())
            if value and one.about.setdefault(role, value) != value:
                several[role].add(key)
        rated.counts["rows_used"] += 1
        rated.counts["votes_used"] += votes
        _note_people(rated, said, line)
        for rater, labels, n in answers:
            if not labels:
                rated.counts["empty_cells"] += 1
                continue
            one.raters.add(rater)
            one.ratings += [known.setdefault((rater, labels), Rating(rater or None, labels))] * n
            for label in labels:
                rated.labels.setdefault(label.lower(), Counter())[label] += n
    rated.notes += [
        f"{len(keys)} utterances have more than one {role} in their rows; the first one counts"
        for role, keys in several.items()
        if keys
    ]
    rated.counts["rows_in"] = len(table.lines) + len(table.broken)
    rated.utterances = list(found.values())
    return rated


def _problem(
    one: RatedUtterance, about: dict[str, str], answers: list[Answer], second: bool
) -> tuple[str, str] | None:
    """Return why a row that can be read is not used: (reason, detail), or None."""
    if not one.name:
        return "malformed_id", "the row names no utterance"
    if second:
        return "duplicate_label", f"{in_words(one.line)} is about this utterance, too, and counts"
    for role, value in about.items():
        if one.about.get(role, value) != value:
            return "conflicting_row", f"{role} {value!r}, and {one.about[role]!r} in an earlier row"
    again = next((rater for rater, labels, _ in answers if labels and rater and rater in one.raters), "")
    return ("rated_twice", f"rater {again!r}") if again else None


def _answers_of(
    table: TableFile, columns: Columns, separator: str | None, rated: RatedTable
) -> Callable[[int], list[Answer] | str]:
    """Return a function from the number of a row to its ratings, or to what is wrong with the row."""
    if columns.class_columns:
        if separator is not None:
            raise ValueError(
                f"--separator {separator!r} came, and the columns {list(columns.class_columns[:5])} hold numbers, one"
                " column a class, and no labels to separate. Leave it out."
            )
        counted: list[tuple[str, tuple[str, ...], list[Cell]]]
        counted = [(name, (label_of_column(name),), table.columns[name]) for name in columns.class_columns]
        said = check_counts(table.path.name, table.lines, {name: cells for name, _, cells in counted})
        if rater := columns.roles.get("rater"):
            return _marks_of(counted, rater, table.columns[rater])

        rated.notes += [said] if said else []

        def counts(row: int) -> list[Answer] | str:
            answers: list[Answer] = []
            for name, labels, cells in counted:
                n = count_of(cells[row])
                if n is None:
                    return f"{name} is {cells[row]!r:.50}, and a count is a whole number from 0 to {MOST_VOTES}"
                if n or not _text(cells[row]):
                    answers.append(("", labels, n) if n else ("", (), 1))
            return answers

        return counts

    if columns.rater_columns:
        by_rater: list[tuple[str | list[Cell], list[Cell]]]
        by_rater = [(composed(name), table.columns[name]) for name in columns.rater_columns]
    else:
        raters = columns.roles.get("rater")
        by_rater = [(table.columns[raters] if raters else "", table.columns[columns.roles["label"]])]
    if any(isinstance(cell, tuple) and "{" in [part[:1] for part in cell] for _, cells in by_rater for cell in cells):
        raise ValueError(
            f"{table.path.name}: the cells of labels hold objects, and a table has one rating in a row. Write rater"
            " and label of each object into columns of their own."
        )
    mark, said = find_separator((cell for _, cells in by_rater for cell in cells), separator)
    rated.notes += [said] if said else []
    _check_one_rater(table, by_rater, mark)
    spaced = sum(
        isinstance(cell, str) and cell != " ".join(cell.split()) != "" for _, cells in by_rater for cell in cells
    )
    rated.notes += [f"white space before, after or twice within labels was taken off in {spaced} cells"] * bool(spaced)

    def given(row: int) -> list[Answer]:
        return [
            (rater if isinstance(rater, str) else _text(rater[row]), labels_of(cells[row], mark), 1)
            for rater, cells in by_rater
        ]

    return given


def _check_one_rater(table: TableFile, by_rater: Sequence[tuple[str | list[Cell], list[Cell]]], mark: str) -> None:
    """Refuse cells that hold a label twice: they are the answers of several raters, which would count as one's.

    A list beside a rater's name is that rater's: two marks on one part of a recording, for example.
    """
    twice = {cell: label for _, cells in by_rater for cell in set(cells) if (label := label_said_twice(cell, mark))}
    found = [
        (row, cells[row])
        for row in range(len(table.lines) if twice else 0)
        for rater, cells in by_rater
        if cells[row] in twice
        and (isinstance(cells[row], str) or not (rater if isinstance(rater, str) else rater[row]))
    ]
    if not found:
        return
    row, cell = found[0]
    shown = cell if isinstance(cell, str) else list(cell)
    more = f", and {len(found) - 1} more cells hold a label twice" if len(found) > 1 else ""
    raise ValueError(
        f"{table.path.name}: the cell {shown!r:.80} in {in_words(table.lines[row])} holds {twice[cell]!r} twice{more}."
        " A cell is one rater's, who says a label once. If several raters have answered, give each of them a column or"
        " a row of his own; if it is a slip, take the second one out."
    )


def _marks_of(
    marked: list[tuple[str, tuple[str, ...], list[Cell]]], column: str, raters: list[Cell]
) -> Callable[[int], list[Answer] | str]:
    """Return a function from a row, which marks the classes that one rater heard, to the rating."""

    def marks(row: int) -> list[Answer] | str:
        heard: tuple[str, ...] = ()
        for name, labels, cells in marked:
            n = count_of(cells[row])
            if n is None or n > 1:
                return f"{name} is {cells[row]!r:.50}, and beside the raters in {column!r} a class is marked by 1 or 0"
            heard += labels * n
        return [(_text(raters[row]), heard, 1)]

    return marks


def _note_people(rated: RatedTable, said: dict[str, str], line: Line) -> None:
    """Collect what a row says of its speaker and its language."""
    if said.get("language"):
        rated.languages[said["language"]] += 1
    if speaker := said.get("speaker"):
        for attribute in ("sex", "age"):
            if value := said.get(attribute):
                rated.people.setdefault(speaker, {}).setdefault(attribute, {}).setdefault(value.lower(), line)


def _text(cell: Cell) -> str:
    return (cell if isinstance(cell, str) else ", ".join(cell)).strip()
