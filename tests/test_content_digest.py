"""The digest by which two data sets are known to be the same one."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_ambiser.data.parquet_files import content_digest
from hf_ambiser.files.read import FileError


ROWS = [
    {"id": f"u{i}", "label": i % 3 - 1, "soft": [i / 7, 1 - i / 7], "audio": {"bytes": bytes([i] * i), "path": None}}
    for i in range(150)
]


def write(folder, rows=ROWS, name="data/part.parquet", **options):
    """Write rows as a Parquet file below a folder, and return the folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path, **options)
    return folder


def test_how_rows_are_stored_does_not_count(tmp_path):
    expected = content_digest(write(tmp_path / "plain"))
    table = pa.Table.from_pylist(ROWS)
    large = table.set_column(0, "id", table["id"].cast(pa.large_string()))
    stored = {
        "uncompressed": {"compression": "none"},
        "zstd": {"compression": "zstd"},
        "row_groups": {"row_group_size": 7},
        "no_dictionary": {"use_dictionary": False, "data_page_version": "2.0", "version": "1.0"},
        "metadata": {"rows": table.replace_schema_metadata({"created by": "another version"})},
        "large_strings": {"rows": large},
    }
    for name, options in stored.items():
        assert content_digest(write(tmp_path / name, **options)) == expected, name
    one = (tmp_path / "plain" / "data" / "part.parquet").read_bytes()
    assert (tmp_path / "zstd" / "data" / "part.parquet").read_bytes() != one
    for k, rows in enumerate((ROWS[:40], ROWS[40:])):
        write(tmp_path / "shards", rows, f"data/part-{k:05d}-of-00002.parquet")
    assert content_digest(tmp_path / "shards") == expected


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("order of rows", [{"x": 1}, {"x": 2}], [{"x": 2}, {"x": 1}]),
        ("a row less", [{"x": 1}, {"x": 1}], [{"x": 1}]),
        ("name of a column", [{"x": 1}], [{"y": 1}]),
        ("order of columns", [{"x": 1, "y": 1}], [{"y": 1, "x": 1}]),
        ("nothing and empty text", [{"x": "a"}, {"x": None}], [{"x": "a"}, {"x": ""}]),
        ("text and bytes", [{"x": "a"}], [{"x": b"a"}]),
        ("text and number", [{"x": "1"}], [{"x": 1}]),
        ("number and truth", [{"x": 1}], [{"x": True}]),
        ("next number", [{"x": 1.0}], [{"x": math.nextafter(1.0, 2)}]),
        ("sign", [{"x": 12}], [{"x": -12}]),
        ("where a list ends", [{"x": [[1], [2, 3]]}], [{"x": [[1, 2], [3]]}]),
        ("where a text ends", [{"x": "ab", "y": "c"}], [{"x": "a", "y": "bc"}]),
        ("empty list and nothing", [{"x": [1]}, {"x": []}], [{"x": [1]}, {"x": None}]),
        ("field of a record", [{"x": {"a": 1, "b": None}}], [{"x": {"a": None, "b": 1}}]),
    ],
)
def test_every_change_of_a_value_counts(tmp_path, kind, one, other):
    assert content_digest(write(tmp_path / "a", one)) != content_digest(write(tmp_path / "b", other)), kind


def test_the_place_within_the_folder_counts_and_the_folder_does_not(tmp_path):
    expected = content_digest(write(tmp_path / "a"))
    assert content_digest(write(tmp_path / "elsewhere" / "b")) == expected
    assert content_digest(write(tmp_path / "c", name="data/other.parquet")) != expected


def test_digest_by_hand(tmp_path):
    """Written out for one file: name, columns, then each row's values, with kinds and lengths."""
    rows = [{"id": "u1", "n": 5, "x": [0.5], "raw": b"\0\1", "none": None}]
    folder = write(tmp_path, rows, "d.parquet")
    words = b"l3:s9:d.parquet" + b"l5:s2:ids1:ns1:xs3:raws4:none" + b"l5:" + 5 * b"None"
    words += b"l5:s2:u1" + b"i5;" + b"l1:f\0\0\0\0\0\0\xe0\x3f" + b"b2:\0\1" + b"None"
    assert content_digest(folder) == hashlib.blake2b(words, digest_size=6).hexdigest()


def test_names_of_the_classes_count(tmp_path):
    digests = set()
    for names in (["anger", "sadness"], ["anger", "fear"], ["sadness", "anger"]):
        features = Features({"label": ClassLabel(names=names), "id": Value("string")})
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        Dataset.from_dict({"label": [0, 1], "id": ["a", "b"]}, features=features).to_parquet(folder / "d.parquet")
        digests.add(content_digest(folder))
    assert len(digests) == 3


def test_columns_of_one_name_count_both_and_nan_is_one_value(tmp_path):
    two = [pa.table([[1], [2]], names=["x", "x"]), pa.table([[3], [2]], names=["x", "x"])]
    assert content_digest(write(tmp_path / "a", two[0])) != content_digest(write(tmp_path / "b", two[1]))
    nan = [content_digest(write(tmp_path / str(sign), [{"x": sign * math.nan}])) for sign in (1, -1)]
    assert nan[0] == nan[1]


@pytest.mark.parametrize("values", [[datetime(2026, 1, 1)], [Decimal("1.5")]])
def test_what_no_built_data_set_holds_is_refused(tmp_path, values):
    folder = write(tmp_path, pa.table({"x": values}))
    with pytest.raises(FileError, match=r"part\.parquet holds what no built data set has .*Build the data set again"):
        content_digest(folder)


@pytest.mark.parametrize("where", ["end", "rows"])
def test_a_spoilt_file_is_named(tmp_path, where):
    path = write(tmp_path, compression="gzip") / "data" / "part.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] if where == "end" else whole[:40] + bytes(200) + whole[240:])
    with pytest.raises(FileError, match=r"part\.parquet.*Build the data set again") as error:
        content_digest(tmp_path)
    assert "no built data set" not in str(error.value)
