"""A table as data, and its three renderings: Markdown, CSV and LaTeX from the same entries."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hf_ambiser.untrusted.cells import csv_of
from hf_ambiser.untrusted.markdown import as_sentence, as_text


Part = float | int | str | None


@dataclass(frozen=True)
class Entry:
    """The content of one place in a table.

    Args:
        text: The text as a reader sees it.
        below: An addition such as an interval: it follows in Markdown and has a second line in LaTeX and HTML.
        parts: Unrounded numbers for the CSV file, by name; the name of the number itself is "".
    """

    text: str
    below: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table with what a reader must know of it.

    Args:
        name: Name of its files: letters, digits and `-_.` only.
        columns: Headings.
        rows: Rows with as many entries as there are columns; plain text is an entry without numbers.
        note: Explanation of the figures, under the table (in LaTeX the caption).
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Entry | str]]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: a row of {len(row)} entries for {len(self.columns)} columns.")

    @property
    def entries(self) -> list[list[Entry]]:
        """Rows of entries."""
        return [[entry if isinstance(entry, Entry) else Entry(entry) for entry in row] for row in self.rows]

    def markdown(self, note: bool = True) -> str:
        """As a Markdown table, the note after it."""
        lines = ["| " + " | ".join(map(_markdown, self.columns)) + " |", "|" + "---|" * len(self.columns)]
        for row in self.entries:
            lines.append("| " + " | ".join(_markdown(" ".join(filter(None, (e.text, e.below)))) for e in row) + " |")
        return "\n".join([*lines, *(["", as_sentence(self.note)] if self.note and note else [])])

    def csv(self) -> str:
        """As CSV; each unrounded number of an entry has a column of its own."""
        parts = [self._parts(column) for column in range(len(self.columns))]
        heads = [
            ": ".join(filter(None, (title, part)))
            for title, names in zip(self.columns, parts, strict=True)
            for part in names
        ]
        lines: list[Sequence[Part]] = [heads]
        for row in self.entries:
            line: list[Part] = []
            for entry, names in zip(row, parts, strict=True):
                # An entry without numbers, for example `undefined`, keeps its words in the first of its columns.
                words = [entry.text] + [""] * (len(names) - 1)
                line += [entry.parts.get(name, "") for name in names] if entry.parts else words
            lines.append(["" if cell is None else cell for cell in line])
        return csv_of(lines)

    def _parts(self, column: int) -> list[str]:
        names = dict.fromkeys(name for row in self.entries for name in row[column].parts)
        return list(names) or [""]

    @property
    def _words(self) -> list[bool]:
        """Which columns hold words only; they are set flush left."""
        return [not any(row[column].parts for row in self.entries) for column in range(len(self.columns))]

    def latex(self) -> str:
        r"""A `table` for `\usepackage{booktabs}`."""
        lines = [
            r"\begin{table}",
            rf"\caption{{{_latex(self.note)}}}" if self.note else "",
            rf"\label{{tab:{self.name}}}",
            r"\centering",
            rf"\begin{{tabular}}{{{''.join('l' if words else 'r' for words in self._words)}}}",
            r"\toprule",
            " & ".join(map(_latex, self.columns)) + r" \\",
            r"\midrule",
        ]
        for row in self.entries:
            lines.append(" & ".join(_latex(entry.text) for entry in row) + r" \\")
            if any(entry.below for entry in row):
                small = (rf"{{\scriptsize {_latex(e.below)}}}" if e.below else "" for e in row)
                lines.append(" & ".join(small) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
        return "\n".join(line for line in lines if line) + "\n"

    def html(self, note: bool = True) -> str:
        """As an HTML `<table>`; all text is escaped."""
        kinds = [' class="words"' if words else "" for words in self._words]
        head = "".join(f"<th{kind}>{html.escape(title)}</th>" for title, kind in zip(self.columns, kinds, strict=True))
        body = []
        for row in self.entries:
            below = (f"<small>{html.escape(entry.below)}</small>" if entry.below else "" for entry in row)
            cells = [html.escape(entry.text) + small for entry, small in zip(row, below, strict=True)]
            rest = (f"<td{kind}>{cell}</td>" for cell, kind in zip(cells[1:], kinds[1:], strict=True))
            body.append(f"<tr><th{kinds[0]}>{cells[0]}</th>{''.join(rest)}</tr>")
        words = f'<p class="note">{html.escape(self.note)}</p>' if self.note and note else ""
        rows = "\n".join(body)
        return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>{words}'


def file_name(*parts: object) -> str:
    """A file name of these parts, of letters, digits and `-_.` only."""
    return "_".join("".join(c if c.isalnum() or c in "-." else "_" for c in str(part)) for part in parts)


def _markdown(text: str) -> str:
    return as_text(" ".join(text.split()))


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "*": "", "`": "",
}  # fmt: skip


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    return "{[}" + escaped[1:] if escaped.startswith("[") else escaped  # after a row's end [ would be an argument
