"""A data set of the Hub is annotated where it lies, killed at any request, and refused in one line."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.hub_client import HubClient
from helpers.hub_endpoint import HubEndpoint
from helpers.made_corpus import encoded, made_tar
from helpers.made_data import tiny_model
from helpers.made_model import saved

from hf_ambiser import annotate


CARD = """---
configs:
- config_name: one
  data_files:
  - {split: train, path: one/train-*.parquet}
  - {split: test, path: one/test-*.parquet}
- config_name: two
  data_files: two/*.parquet
---
# Recordings
"""
HUB = "hf://datasets/me/rows"


def parquet(rows: list[dict], group: int = 4) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=group)
    return buffer.getvalue()


def rows(first: int, last: int, **more: str) -> list[dict]:
    return [{"audio": {"bytes": encoded(0.3, i), "path": f"{i}.wav"}, "n": i, **more} for i in range(first, last)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A model; and the split `train` of `me/rows` as a folder of Parquet files on this machine."""
    folder = tmp_path_factory.mktemp("made")
    saved(folder / "model", tiny_model())
    (folder / "local").mkdir()
    for name, content in TRAIN.items():
        (folder / "local" / Path(name).name).write_bytes(content)
    return folder


BROKEN = [{"audio": {"bytes": b"no audio", "path": "b.wav"}, "n": 0}]
PATH_ONLY = [{"audio": {"bytes": None, "path": __file__}, "n": 0}]  # a file of this machine
TRAIN = {
    "one/train-0.parquet": parquet([*rows(0, 5), *BROKEN, *rows(5, 8)]),
    "one/train-1.parquet": parquet([*rows(8, 11), *PATH_ONLY]),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[HubEndpoint]:
    tar = made_tar(tmp_path_factory.mktemp("tar") / "a.tar", 6).read_bytes()
    others = {"one/test-0.parquet": parquet(rows(20, 22)), "two/a.parquet": parquet(rows(30, 31))}
    built = {f"{name}/a.parquet": parquet([{**row, "id": f"u{row['n']}"} for row in rows(0, 3)]) for name in "xy"}
    with HubEndpoint() as endpoint:
        for name, files in {
            "rows": {**TRAIN, **others, "README.md": CARD.encode()},
            "built": {**built, "build_report.json": b"{}"},
            "tars": {"data/a.tar": tar},
            "files": {"a/1.wav": encoded(0.3, 1), "a/2.wav": b"no audio", "metadata.csv": b"file_name\na/1.wav\n"},
            "texts": {"a.csv": b"a,b\n1,2\n"},
            "spoilt": {"a.parquet": TRAIN["one/train-0.parquet"][:-9]},
        }.items():
            endpoint.store.create(f"me/{name}", "dataset").put(files)
        yield endpoint
        assert not endpoint.unknown


@pytest.fixture(scope="module")
def client(hub, made) -> Iterator[HubClient]:
    needed = "hf_ambiser.inference.annotate accelerate datasets transformers.models.auto"
    with HubClient(hub, made / "home", HUB_PROCESS_IMPORTS=needed) as process:
        yield process


def command(made: Path, source: str, out: str, *more: str) -> list[str]:
    words = ["--model", str(made / "model"), "--out", str(made / out), "--device", "cpu", "--no-progress"]
    return ["hf-ambiser", "annotate", source, *words, *more]


def all_rows(folder: Path) -> list[dict]:
    """Of all shards and of what was not answered, by place in the source."""
    found = [row for path in sorted(folder.glob("data/*.parquet")) for row in pq.read_table(path).to_pylist()]
    found += pq.read_table(folder / "not_answered.parquet").to_pylist()
    return sorted(found, key=lambda row: row["index"])


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def names(folder: Path) -> list[str]:
    return [row["recording"] for row in all_rows(folder)]


def test_every_kind_of_set_is_streamed_and_nothing_of_it_is_kept(hub, client, made):
    answers = client.commands(
        command(made, HUB, "train", "--subset", "one", "--split", "train", "--shard-size", "4"),
        command(made, HUB, "one", "--subset", "one"),
        command(made, f"{HUB}@main/two", "two"),
        command(made, "hf://datasets/me/built", "built"),
        command(made, "hf://datasets/me/tars", "tars"),
        command(made, "hf://datasets/me/files", "files"),
    )
    assert [status for status, _, _ in answers] == [0] * 6, [error[-500:] for _, _, error in answers]
    annotate(made / "local", made / "as_local", made / "model", shard_size=4, progress=False, device="cpu")
    theirs = all_rows(made / "as_local")
    for mine, other in zip(all_rows(made / "train"), theirs, strict=True):
        assert mine == (other if "reason" not in other else other | {"reason": mine["reason"]})
    reasons = [row["reason"] for row in all_rows(made / "train") if "reason" in row]
    assert reasons[0].startswith("libsndfile cannot read it") and reasons[1:] == [
        "the row holds no audio, at most a path"
    ]
    about = manifest(made / "train")["source"]
    commit = hub.history("me/rows", "dataset")[-1].oid
    assert (about["name"], about["revision"], about["inputs"]) == ("me/rows", commit, 13)
    assert f"at the commit `{commit}`" in (made / "train" / "README.md").read_text()
    assert names(made / "one")[-2:] == ["20.wav", "21.wav"] and len(names(made / "one")) == 15
    assert names(made / "two") == ["30.wav"] and names(made / "built") == ["u0", "u1", "u2"]
    assert manifest(made / "built")["source"]["left_out"] == {"repeats of an utterance": 3}
    assert names(made / "tars") == [f"data/a.tar/{i:05d}.wav" for i in range(6)]
    assert manifest(made / "tars")["source"]["left_out"] == {"members that are no recordings": 6}
    assert names(made / "files") == ["a/1.wav", "a/2.wav"]
    assert manifest(made / "files")["source"]["left_out"] == {"files that are no recordings": 1}
    kept = [path.name for path in (made / "home").rglob("*") if path.suffix in (".parquet", ".tar", ".wav")]
    assert kept == []


def test_what_cannot_be_streamed_is_one_line_and_a_revision_that_moved_is_refused(hub, client, made):
    cases = {
        (HUB, "no"): "pick one among the available configs: ['one', 'two'] (--subset)",
        (HUB, "no", "--subset", "three"): "'three' not found. Available: ['one', 'two'] (--subset)",
        (HUB, "no", "--subset", "one", "--split", "dev"): "has none of that name; it has train, test",
        (f"{HUB}/three", "no"): "me/rows has no folder 'three'",
        (f"{HUB}/../built", "no"): "leads out of its folder",
        (f"{HUB}@v9", "no"): "me/rows has no revision v9",
        ("hf://datasets/me/none", "no"): "there is no data set me/none that you may read",
        ("hf://datasets/me", "no"): "is no address of a data set: hf://datasets/ACCOUNT/NAME",
        ("hf://datasets/me/texts", "no"): "hf://datasets/me/texts@refs/convert/parquet",
        ("hf://datasets/me/spoilt", "no"): "me/spoilt/a.parquet is not a whole Parquet file",
        (str(made / "local"), "no", "--split", "train"): "--split train is for a data set of the Hub",
    }
    answers = client.commands(*(command(made, *words) for words in cases))
    for (status, _, error), reason in zip(answers, cases.values(), strict=True):
        line = error.strip().splitlines()[-1]
        assert status == 2 and line.startswith("hf-ambiser: ") and reason in line, (reason, error)
        assert "Traceback" not in error
    assert not (made / "no").exists()
    repo = hub.store.get("me/built", "dataset")
    repo.put(hub.files("me/built", "dataset"), "the same files, another commit")
    repo.create_tag("before", hub.history("me/built", "dataset")[-2].oid)
    source = "hf://datasets/me/built"
    moved, pinned = client.commands(command(made, source, "built"), command(made, f"{source}@before", "built"))
    assert moved[0] == 2 and "was begun with another revision of the data set" in moved[2]
    assert pinned[0] == 0, pinned[2]


def test_killed_or_cut_off_at_any_request_it_goes_on(hub, client, made):
    """No clip is lost or heard twice, and no shard that is there is fetched again."""
    words = command(made, HUB, "killed", "--subset", "one", "--split", "train", "--shard-size", "3")

    def of_rows(method: str, path: str) -> bool:
        return method == "GET" and path.endswith(".parquet")

    shards: dict[str, int] = {}
    for at, how in ((1, "kill"), (5, "kill"), (6, "drop"), (5, 503), (6, "kill_after"), (0, "none")):
        hub.reset_log()
        if how != "none":
            hub.fail(when=of_rows, at=at, how=how, times=1 if "kill" in str(how) else math.inf)
        answers, status = client._do([(words, {})])
        if how in ("drop", 503):
            assert answers[0][0] == 2 and "give the same command again" in answers[0][2].splitlines()[-1]
            assert "Traceback" not in answers[0][2]
        else:
            assert status == (0 if how == "none" else -9)
        there = {path.name: path.stat().st_ino for path in (made / "killed").glob("data/*.parquet")}
        assert shards.items() <= there.items()
        shards = there
    assert answers[0][0] == 0 and len(shards) == 5, answers
    whole = all_rows(made / "killed")
    annotate(made / "local", made / "for_killed", made / "model", shard_size=3, progress=False, device="cpu")
    assert [row["index"] for row in whole] == list(range(13))
    assert [row for row in whole if "reason" not in row] == [
        row for row in all_rows(made / "for_killed") if "reason" not in row
    ]


def test_offline_it_says_so(made):
    """This process is offline, as all tests are."""
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set, and me/rows would be read from the Hub"):
        annotate(HUB, made / "offline", made / "model", progress=False)
    assert not os.path.lexists(made / "offline")
