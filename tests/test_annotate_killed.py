"""A corpus is annotated by one and two processes, killed at planted and drawn moments: the result is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.annotate_kill import MOMENTS
from helpers.made_corpus import made_tar
from helpers.made_data import tiny_model
from helpers.made_model import saved


ROOT = Path(__file__).parents[1]
INPUTS = 20


def killed_jobs(folder: Path, kills: int) -> Path:
    """Run `annotate_kill.py`; the folder of all jobs."""
    saved(folder / "model", tiny_model())
    made_tar(folder / "corpus.tar", INPUTS)
    script = Path(__file__).with_name("helpers") / "annotate_kill.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(kills)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return killed_jobs(tmp_path_factory.mktemp("killed"), 1)


def attempts_of(jobs: Path) -> list[dict]:
    return json.loads((jobs / "attempts.json").read_text())


def rows_of(folder: Path) -> dict[int, dict]:
    """Place in the source -> row, of all shards; no place stands in two rows."""
    rows = [row for path in sorted(folder.glob("data/*.parquet")) for row in pq.read_table(path).to_pylist()]
    without = pq.read_table(folder / "not_answered.parquet").to_pylist()
    found = {row["index"]: row for row in [*rows, *without]}
    assert len(found) == len(rows) + len(without)
    return found


def assert_same(folder: Path, whole: Path) -> None:
    """No utterance is lost, none stands there twice, and the answers are those of a job that was never killed."""
    mine, theirs = rows_of(folder), rows_of(whole)
    assert sorted(mine) == list(range(INPUTS)) and sorted(theirs) == list(range(INPUTS))
    for place, row in mine.items():
        for name, value in theirs[place].items():
            if isinstance(value, float | list):
                np.testing.assert_allclose(row[name], value, atol=1e-5)
            else:
                assert row[name] == value, (place, name)
    names = [sorted(path.name for path in one.glob("data/*")) for one in (folder, whole)]
    assert names[0] == names[1]
    manifests = [json.loads((one / "manifest.json").read_text()) for one in (folder, whole)]
    assert manifests[0]["counts"] == manifests[1]["counts"]
    assert not list(folder.glob("manifest.json.*")) and manifests[0]["counts"]["in"] == INPUTS


def test_shards_do_not_depend_on_how_many_processes_there_are(jobs):
    one, two = jobs / "whole1", jobs / "whole2"
    assert_same(two, one)
    assert len(rows_of(one)) == INPUTS and sum("status" in row for row in rows_of(one).values()) == 4
    for path in one.glob("data/*.parquet"):
        assert pq.read_table(path).equals(pq.read_table(two / "data" / path.name))


@pytest.mark.parametrize("world", [1, 2])
def test_killed_at_planted_moments_it_goes_on(world, jobs):
    ended = [one for one in attempts_of(jobs) if one["folder"] == f"planted{world}"]
    assert [one["moment"] for one in ended] == [moment for moment, _ in MOMENTS[world]]
    assert [one["killed"] for one in ended] == [True] * (len(ended) - 1) + [False], ended
    assert ended[-1]["statuses"] == [0] * world
    assert_same(jobs / f"planted{world}", jobs / "whole1")


def check_random(jobs: Path, world: int, kills: int) -> None:
    ended = [one for one in attempts_of(jobs) if one["folder"].startswith(f"random{world}-")]
    assert sum(one["killed"] for one in ended) == kills
    assert all(one["killed"] or one["statuses"] == [0] * world for one in ended), ended
    for folder in {one["folder"] for one in ended}:
        assert_same(jobs / folder, jobs / "whole1")


@pytest.mark.parametrize("world", [1, 2])
def test_killed_at_drawn_moments_it_goes_on(world, jobs):
    check_random(jobs, world, 1)


def check_no_shard_twice(jobs: Path) -> int:
    """A shard that was there once is never written again; how many were there after a kill."""
    kept = 0
    for _, ended in groupby(attempts_of(jobs), key=lambda one: one["folder"]):
        first, *later = ended
        for one in later:
            assert first["shards"].items() <= one["shards"].items(), (first, one)
            kept += len(first["shards"])
            first = one
    return kept


def test_no_shard_is_done_twice(jobs):
    assert check_no_shard_twice(jobs) >= 10


@pytest.mark.slow
def test_killed_at_twenty_drawn_moments_by_one_and_by_two_processes(tmp_path):
    jobs = killed_jobs(tmp_path, 20)
    for world in (1, 2):
        check_random(jobs, world, 20)
    check_no_shard_twice(jobs)
