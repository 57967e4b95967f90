"""The reader of tables: encodings, delimiters, quotes, formats, and lines that are no rows."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.made_ratings import csv_text

from hf_ambiser.files.read import FileError
from hf_ambiser.files.tables import read_table_file


ROWS = [("clip", "label"), ("a", "anger"), ("ä ö", "tristesse, é"), ("c", "x\ny")]


@pytest.fixture
def read(tmp_path):
    """Write bytes or text under a name, and read them as a table."""

    def call(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table_file(path)

    return call


def rows_of(table):
    return list(zip(*table.columns.values(), strict=True))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_every_encoding_delimiter_and_line_end_gives_the_same_rows(read, delimiter, end, encoding):
    table = read(csv_text(ROWS, delimiter, end).encode(encoding))
    assert list(table.columns) == ["clip", "label"] and rows_of(table) == ROWS[1:]
    assert table.broken == [] and table.lines == [2, 3, 4]
    said = ", ".join(table.said)
    shown = {"utf-8-sig": "UTF-8", "latin-1": "Latin-1"}.get(encoding, encoding.upper())
    assert f"encoding {shown}" in said
    assert {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}[delimiter] in said


def test_a_row_has_the_line_where_it_begins(read):
    table = read('clip,label\n\n"a\n\nb",anger\n,,\nc,joy\n')
    assert rows_of(table) == [("a\n\nb", "anger"), ("c", "joy")] and table.lines == [3, 7]
    assert "2 empty lines, which are no rows" in table.said


def test_a_line_that_says_the_separator_is_obeyed(read):
    table = read("sep=;\nclip;label\na,b;joy\n")
    assert rows_of(table) == [("a,b", "joy")] and table.lines == [3]


def test_a_quote_that_is_never_closed_costs_one_line(read):
    table = read('clip,label\na,joy\nb,"fear\nc,joy\nd,fear\n')
    assert rows_of(table) == [("a", "joy"), ("c", "joy"), ("d", "fear")] and table.lines == [2, 4, 5]
    ((line, why),) = table.broken
    assert line == 3 and "quotes do not match" in why


@pytest.mark.parametrize("at", [0, 4])
def test_two_stray_quotes_do_not_swallow_the_rows_between(read, at):
    rows = [["a", "b", "c"], *([f"{n}", "x", "y"] for n in range(6))]
    lines = [",".join(row) for row in rows]
    lines[2] = f'{lines[2][:at]}"{lines[2][at:]}'
    lines[5] = f'{lines[5]}"'
    table = read("\n".join(lines))
    kept = dict(zip(table.lines, table.columns["a"], strict=True))
    assert set(kept) | {line for line, _ in table.broken} == set(range(2, 8))
    assert {4: "2", 5: "3", 7: "5"}.items() <= kept.items() and 3 in {line for line, _ in table.broken}


def test_a_text_of_several_lines_is_one_cell(read):
    table = read('a,b,c\n1,"one, two\nthree\nfour",x\n2,y,z\n')
    assert table.columns["b"] == ["one, two\nthree\nfour", "y"] and not table.broken


def test_rows_of_another_length_are_no_rows_but_empty_cells_at_the_end_are_nothing(read):
    table = read("clip,label\na\nb,joy,,\nc,joy,more\n")
    assert rows_of(table) == [("b", "joy")]
    assert table.broken == [
        (2, "1 cells, the line of column names has 2"),
        (4, "3 cells, the line of column names has 2"),
    ]


def test_a_stray_zero_byte_does_not_make_a_file_utf_16(read):
    table = read("clip,label\na\0b,joy\n")
    assert rows_of(table) == [("a\0b", "joy")] and "UTF-8" in table.said[0]


def test_columns_without_a_name_are_called_by_their_place(read):
    assert list(read(",clip,label\n0,a,joy\n").columns) == ["column 1", "clip", "label"]


def test_jsonl(read):
    lines = [
        '{"clip": "a", "label": ["anger", "joy"], "n": 3.0}',
        "",
        "{broken",
        "[1]",
        '{"clip": "b", "clip": "c"}',
        '{"label": null, "clip": "d"}',
    ]
    table = read("\n".join(lines), "t.jsonl")
    assert rows_of(table) == [("a", ("anger", "joy"), "3"), ("d", "", "")] and table.lines == [1, 6]
    assert [line for line, _ in table.broken] == [3, 4, 5]
    assert "not JSON" in table.broken[0][1] and "list" in table.broken[1][1] and "twice" in table.broken[2][1]


def test_json_is_a_list_of_rows(read):
    table = read('[{"clip": "a", "n": 3.0}, 7, {"label": ["x", "y"]}]', "t.json")
    assert rows_of(table) == [("a", "3", ""), ("", "", ("x", "y"))]
    assert table.lines == ["t.json:object 1", "t.json:object 3"]
    assert table.broken == [("t.json:object 2", "holds a number, not an object with named values")]


def test_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"clip": ["a", None], "label": [["x", "y"], []], "n": [1.5, float("nan")]}), path)
    table = read_table_file(path)
    assert rows_of(table) == [("a", ("x", "y"), "1.5"), ("", (), "")] and table.lines == [1, 2]


def test_xlsx(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    for row in ((None, None), ("clip", "label"), ("a", 3), (None, None), ("b", "joy", "more"), ("c", None)):
        book.active.append(row)
    book.create_sheet("other")
    book.save(tmp_path / "t.xlsx")
    table = read_table_file(tmp_path / "t.xlsx")
    assert rows_of(table) == [("a", "3"), ("c", "")] and table.lines == [3, 6]
    assert table.broken == [(5, "has cells in columns without a name")] and table.said == ["sheet 'Sheet' of 2"]


def test_xlsx_without_openpyxl_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    (tmp_path / "t.xlsx").write_bytes(b"x")
    with pytest.raises(
        FileError, match=r"t.xlsx is a spreadsheet, which needs openpyxl\. pip install 'hf-ambiser\[xlsx]'"
    ):
        read_table_file(tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b" \r\n\t\n", "is empty"),
        ("t.csv", b"a,b,a\n1,2,3\n", "two columns with the name 'a'"),
        ("t.csv", b'"a,b\n1,2\n', "no line of column names"),
        ("t.csv", b"\xff\xfea", "not UTF-16"),
        ("t.xls", b"x", r"ends in '\.xls'"),
        ("table", b"x", "ends in 'nothing'"),
        (
            "t.jsonl",
            b"[1]\n",
            "no object with named values; line 1 holds a list, not an object.*list of objects ends in",
        ),
        ("t.jsonl", b"{}\n[1]\n{bad", "no object with named values; line 2 holds a list, not an object"),
        ("t.json", b" ", "is empty. Give a list of objects"),
        ("t.jsonl", b"{}\n", "no object with named values; each object is without names"),
        ("t.json", b"[1, {}]", "no object with named values; t.json:object 1 holds a number"),
        ("t.json", b"[]", "holds an empty list, and must hold a list of objects"),
        ("t.json", b'{"clip": {"0": "a"}}', "holds an object, and must hold a list of objects.*orient='records'"),
        ("t.json", b'{"a": 1}\n{"a": 2}\n', r"is not JSON .* a file with an object in each line ends in \.jsonl"),
        ("t.json", b'[{"a": 1, "a": 2}]', "a name stands twice"),
        ("t.parquet", b"PAR1", "not a whole Parquet file"),
        ("t.xlsx", b"PK", "not a spreadsheet"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(read, name, content, why):
    with pytest.raises(FileError, match=why) as caught:
        read(content, name)
    cures = ("Save the table", "Rename", "Give a list of objects", "Write one object")
    assert "\n" not in str(caught.value) and any(cure in str(caught.value) for cure in cures)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx", ".jsonl", ".json"])
def test_a_file_that_is_missing_or_a_folder_is_refused_in_one_line(tmp_path, suffix):
    with pytest.raises(FileError, match="does not exist"):
        read_table_file(tmp_path / f"gone{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        read_table_file(tmp_path / f"folder{suffix}")


def test_a_file_of_lines_that_are_no_rows_is_refused(read):
    rows = "\n".join(f"{i},x,y" for i in range(1200))
    with pytest.raises(FileError, match="1000 lines that are no rows; the first: .2, '3 cells"):
        read(f"clip,label\n{rows}\n")


def test_json_keeps_what_a_spreadsheet_would_change(read):
    cells = {"a": "007", "b": "1e5", "c": True, "d": {"x": "é"}}
    (row,) = rows_of(read(json.dumps(cells), "t.ndjson"))
    assert row == ("007", "1e5", "True", '{"x": "é"}')
