"""The reader of tables that users bring: CSV, TSV, JSON, JSONL, Parquet and XLSX become columns with line numbers.

Such files come from spreadsheets and web tools of all kinds, so the reader finds out encoding and delimiter itself and
says what it found. A line that is no row never ends the reading: it is in `broken`, with its number and the reason.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_ambiser.files.read import FileError, kind_in_json, open_parquet, read_bytes
from hf_ambiser.untrusted.cells import texts


# A cell is a text, or several texts where the format has lists. "" is an empty cell.
Cell = str | tuple[str, ...]
# Where a row begins: its line in the file, or words ("s1/a.TextGrid:12") where a table is made of several files.
Line = int | str

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx")
CURE = f"Save the table as UTF-8 CSV with one line of column names; also read are {', '.join(SUFFIXES)}."
JSON_CURE = (
    "Give a list of objects, one for each row of a table (in pandas: to_json(orient='records')), or an export of Label"
    " Studio as JSON or JSON-MIN; a file with an object in each line ends in .jsonl."
)
JSONL_CURE = "Write one object in each line; a file that holds a list of objects ends in .json."
_SAMPLE = 200  # rows by which the delimiter is found
_MOST_BROKEN = 1000  # a file with more lines that are no rows is no table


def in_words(line: Line) -> str:
    """Name a row within a sentence."""
    return f"line {line}" if isinstance(line, int) else line


@dataclass
class TableFile:
    """The content of a table.

    Args:
        path: The file.
        columns: Name -> its R cells.
        lines: `(R,)` the line of the file (of Parquet: the row, from 1) where each row begins, or its place in words.
        broken: (line, reason) of what is no row.
        said: What was found out about the file, in words.
    """

    path: Path
    columns: dict[str, list[Cell]]
    lines: list[Line] = field(default_factory=list)
    broken: list[tuple[Line, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    _known: dict[Cell, Cell] = field(default_factory=dict, repr=False)

    def add(self, line: Line, cells: Iterable[Cell]) -> None:
        """Add a row; equal texts are stored once, for a table of a million ratings repeats few of them."""
        self.lines.append(line)
        for column, cell in zip(self.columns.values(), cells, strict=True):
            column.append(self._known.setdefault(cell, cell))

    def compose(self) -> int:
        """Write letters with accents as one character each in all cells; return how many cells were changed.

        Two byte spellings of one name look alike, and a reader of the table cannot tell them apart.
        """
        changed = {cell: whole for cell in self._known if (whole := _composed_cell(cell)) != cell}
        n = 0
        for column in self.columns.values() if changed else ():
            for row, cell in enumerate(column):
                if cell in changed:
                    column[row] = changed[cell]
                    n += 1
        return n


def composed(text: str) -> str:
    """Write each letter with an accent as one character (NFC); macOS writes a letter and an accent in file names."""
    return unicodedata.normalize("NFC", text)


def _composed_cell(cell: Cell) -> Cell:
    return composed(cell) if isinstance(cell, str) else tuple(map(composed, cell))


def read_table_file(path: Path) -> TableFile:
    """Read a table; its ending says which format it has.

    Raises:
        FileError: If it cannot be read, has another ending, has no column names, or has a name twice.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise FileError(path, f"ends in {suffix or 'nothing'!r}, which says no format that is known", CURE)
    if suffix == ".parquet":
        return _parquet(path)
    if suffix == ".xlsx":
        return _xlsx(path)
    if suffix == ".json":
        return table_of_json(path, *read_json_list(path))
    text, said = _decoded_and_filled(path, CURE)
    return _jsonl(path, text, said) if suffix in (".jsonl", ".ndjson") else _csv(path, text, said)


def _decoded_and_filled(path: Path, cure: str) -> tuple[str, list[str]]:
    text, said = decoded(path, cure)
    if not text.strip("\0 \t\r\n"):
        raise FileError(path, "is empty", cure)
    return text, said


def decoded(path: Path, cure: str = CURE) -> tuple[str, list[str]]:
    """Read UTF-8 or UTF-16, with or without a byte order mark, and else Latin-1, which fits all bytes.

    Returns:
        The text, and in words what was found out about it.

    Raises:
        FileError: If it cannot be read, or is no UTF-16 text though it looks like it.
    """
    data = read_bytes(path, cure)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif 4 * data[:1000].count(0) > len(data[:1000]):  # every other byte of Western texts; a stray one is no sign
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    else:
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
        return text, [f"encoding {encoding.removesuffix('-sig').upper()}"]
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise FileError(path, f"is not {encoding.upper()} text (byte {error.start})", cure) from error
    return data.decode("latin-1"), [
        "encoding Latin-1, because it is not UTF-8; if names look wrong, save the table as UTF-8"
    ]


def _csv(path: Path, text: str, said: list[str]) -> TableFile:
    lines = io.StringIO(text, newline="").readlines()  # line ends stay, as the module wants them
    first, delimiter = 0, ""
    if match := re.fullmatch(r"sep=(.)\s*", lines[0]):  # a spreadsheet's own way to say it
        first, delimiter = 1, match[1]
    delimiter = delimiter or _delimiter(lines, path.suffix.lower() == ".tsv")
    header: list[str] = []
    rows = _csv_rows(lines, first, delimiter, lambda: len(header))
    for _, cells, problem in rows:
        if problem:
            raise FileError(path, f"has a first line that is no line of column names: {problem}", CURE)
        if any(cell.strip() for cell in cells):
            header = cells
            break
    table = TableFile(path, _named(path, header), said=[*said, f"delimiter {DELIMITERS.get(delimiter, delimiter)}"])
    empty = 0
    for line, cells, problem in rows:
        extra = cells[len(header) :]
        if problem:
            table.broken.append((line, problem))
        elif not any(cell.strip() for cell in cells):
            empty += 1
        elif len(cells) < len(header) or any(cell.strip() for cell in extra):
            table.broken.append((line, f"{len(cells)} cells, the line of column names has {len(header)}"))
        else:
            table.add(line, texts(cells[: len(header)]))  # an apostrophe keeps a spreadsheet from computing a cell
        if len(table.broken) > _MOST_BROKEN > len(table.lines):
            raise FileError(path, f"has {_MOST_BROKEN} lines that are no rows; the first: {table.broken[0]}", CURE)
    if empty:
        table.said.append(f"{empty} empty lines, which are no rows")
    return table


def _csv_rows(
    lines: list[str], first: int, delimiter: str, width: Callable[[], int] = lambda: 0
) -> Iterator[tuple[int, list[str], str]]:
    """Yield (line, cells, problem) of each row.

    A quote that is never closed would take all rest of the file for one cell, and two stray ones the rows between. So
    after an error, and where a cell seems to enclose rows, the reading goes on at the line after the one where the row
    began.

    Args:
        lines: The file's lines with their ends.
        first: The line to begin with, from 0.
        delimiter: What stands between cells.
        width: Returns how many cells a row has, 0 if that is not known yet.
    """
    start = first
    while start < len(lines):
        reader = csv.reader(lines[start:] if start else lines, delimiter=delimiter, strict=True)
        begun, problem = start, ""
        while not problem:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                problem = f"its quotes do not match ({error})"
            else:
                end = start + reader.line_num
                if _encloses_rows(lines[begun:end], len(cells), delimiter, width()):
                    problem = "its quotes enclose the lines below"
                    break
                yield begun + 1, cells, ""
                begun = end
        yield begun + 1, [], problem
        start = begun + 1


def _encloses_rows(lines: list[str], n_cells: int, delimiter: str, width: int) -> bool:
    """Whether the lines of one row are rows themselves, so that a stray quote and not a text made them one.

    A text of several lines is part of a row with all its cells, and the lines within it are no rows.
    """
    if len(lines) < 2 or width < 2:
        return False
    within = [len(line.split(delimiter)) == width for line in lines[1:-1]]
    return n_cells < width or (bool(within) and all(within))


def _delimiter(lines: list[str], prefer_tab: bool) -> str:
    """Find the delimiter under which most of the first rows have as many cells as the names; more cells are better."""

    def fit(delimiter: str) -> tuple[float, int, bool]:
        sizes = []
        for _, cells, problem in _csv_rows(lines[:_SAMPLE], 0, delimiter):
            if problem or any(cell.strip() for cell in cells):
                sizes.append(0 if problem else len(cells))
        n = sizes[0] if sizes else 0
        return (sum(size == n for size in sizes) / len(sizes) if n > 1 else 0.0), n, prefer_tab and delimiter == "\t"

    return max(DELIMITERS, key=fit)


def _jsonl(path: Path, text: str, said: list[str]) -> TableFile:
    values: list[tuple[Line, Any]] = []
    broken: list[tuple[Line, str]] = []
    for number, line in enumerate(text.splitlines() if "\n" not in text else text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append((number, json.loads(line, object_pairs_hook=_no_key_twice)))
        except (ValueError, RecursionError) as error:
            broken.append((number, f"is not JSON ({error})"))
    return _of_objects(path, values, broken, said, JSONL_CURE)


def read_json_list(path: Path) -> tuple[list[Any], list[str]]:
    """Read the list that a JSON file holds: the rows of a table, or the tasks of an annotation tool.

    Returns:
        Its values, and in words what was found out about the file.

    Raises:
        FileError: If the file cannot be read, is empty, is not JSON, or holds no list or an empty one.
    """
    text, said = _decoded_and_filled(path, JSON_CURE)
    try:
        content = json.loads(text, object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"is not JSON ({error})", JSON_CURE) from error
    if not isinstance(content, list) or not content:
        holds = kind_in_json(content) if content != [] else "an empty list"
        raise FileError(path, f"holds {holds}, and must hold a list of objects", JSON_CURE)
    return content, said


def table_of_json(path: Path, values: list[Any], said: list[str]) -> TableFile:
    """Make a table of what `read_json_list` gave; values that are no objects are broken rows.

    Raises:
        FileError: If none is an object with names, or a name cannot be a column's.
    """
    places = (f"{path.name}:object {number}" for number in range(1, len(values) + 1))
    return _of_objects(path, list(zip(places, values, strict=True)), [], said, JSON_CURE)


def _of_objects(
    path: Path, values: list[tuple[Line, Any]], broken: list[tuple[Line, str]], said: list[str], cure: str
) -> TableFile:
    """Make a table of JSON values with the place of each; those that are no objects are broken."""
    rows = [(place, value) for place, value in values if isinstance(value, dict)]
    broken += [(place, no_object(value)) for place, value in values if not isinstance(value, dict)]
    broken.sort(key=lambda row: row[0] if isinstance(row[0], int) else 0)  # places in words are in order
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    if not names:
        what = f"{in_words(broken[0][0])} {broken[0][1]}" if broken else "each object is without names"
        raise FileError(path, f"holds no object with named values; {what}", cure)
    table = TableFile(path, _named(path, names), broken=broken, said=said)
    for place, row in rows:
        table.add(place, [cell_of(row.get(name)) for name in names])
    return table


def no_object(value: Any) -> str:
    """Say why a value of JSON is no row."""
    return f"holds {kind_in_json(value)}, not an object with named values"


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a name stands twice in it")
    return row


def _parquet(path: Path) -> TableFile:
    with open_parquet(path, CURE) as file:
        table = TableFile(path, _named(path, file.schema_arrow.names))
        for batch in file.iter_batches(batch_size=10_000):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                table.add(len(table.lines) + 1, [cell_of(value) for value in row])
    return table


def _xlsx(path: Path) -> TableFile:
    try:
        import openpyxl
    except ImportError:
        raise FileError(
            path, "is a spreadsheet, which needs openpyxl", "pip install 'hf-ambiser[xlsx]', or save it as CSV."
        ) from None
    read_bytes(path, CURE)  # says more about a folder, or a file that is not ours to read
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheet = book.worksheets[0]
        rows = [[cell_of(value) for value in row] for row in sheet.iter_rows(values_only=True)]
        said = [f"sheet {sheet.title!r} of {len(book.worksheets)}"]
        book.close()
    except Exception as error:  # openpyxl lets through what zipfile, its XML parser and its own checks raise
        raise FileError(path, f"is not a spreadsheet that openpyxl can read ({error})", CURE) from error
    filled = [number for number, row in enumerate(rows) if any(cell != "" for cell in row)]
    if not filled:
        raise FileError(path, "is empty", CURE)
    header = [str(name) for name in rows[filled[0]]]
    while not header[-1].strip():
        header.pop()
    table = TableFile(path, _named(path, header), said=said)
    for number in filled[1:]:
        cells, extra = rows[number][: len(header)], rows[number][len(header) :]
        if any(cell != "" for cell in extra):
            table.broken.append((number + 1, "has cells in columns without a name"))
        else:
            table.add(number + 1, [*cells, *[""] * (len(header) - len(cells))])
    return table


def cell_of(value: Any) -> Cell:
    """Write a value of a typed format as the text that a CSV file would have."""
    if isinstance(value, list | tuple):
        return tuple(str(cell_of(inner)) for inner in value)
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _named(path: Path, header: Iterable[str]) -> dict[str, list[Cell]]:
    """Name the columns; one without a name (an index that a program wrote) is called by its place."""
    columns: dict[str, list[Cell]] = {}
    for place, found in enumerate(header, start=1):
        name = composed(" ".join(found.split())) or f"column {place}"
        if name in columns:
            raise FileError(path, f"has two columns with the name {name!r}", "Rename or remove one of them.")
        columns[name] = []
    if not columns:
        raise FileError(path, "has no column names", CURE)
    return columns
