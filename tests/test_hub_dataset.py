"""Training and scoring on a data set of the Hub: what was pushed, checked, from any revision, and offline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.hub_client import HubClient
from helpers.hub_endpoint import HubEndpoint
from helpers.made_ratings import tone
from helpers.made_run import built, fields
from helpers.made_sets import parquet, rated_rows, write_sets

from hf_ambiser.data.hub_dataset import dataset_folder, on_the_hub, why_not_on_the_hub
from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.run_folder.layout import RunFolder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A built data set, and the configuration of a small run on it."""
    folder = tmp_path_factory.mktemp("made")
    dataset = built(folder, configs=("ipr-strict", "kfold3-strict-0"))
    given = fields(dataset, folder / "run", method="hard_vote", warmup_epochs=..., num_train_epochs=1)
    (folder / "run.yaml").write_text(yaml.safe_dump(given))
    return folder


@pytest.fixture(scope="module")
def hub(made) -> Iterator[HubEndpoint]:
    """`me/data` as pushed, `me/spoilt` with other rows, `me/cut` with a file cut short, `me/other` none of ours."""
    with HubEndpoint() as endpoint:
        with HubClient(endpoint, made / "pusher") as client:
            ((status, _, error),) = client.commands(["hf-ambiser", "push", str(made / "dataset"), "me/data"])
            assert status == 0, error
        files = endpoint.files("me/data", "dataset")
        name, other = [name for name in files if name.endswith(".parquet")][:2]
        endpoint.store.create("me/spoilt", "dataset").put({**files, name: files[other]})
        endpoint.store.create("me/cut", "dataset").put({**files, name: files[name][:-100]})
        endpoint.store.create("me/other", "dataset").put({"train.csv": b"a,b\n"})
        yield endpoint
        assert not endpoint.unknown


@pytest.fixture(scope="module")
def client(hub, made) -> Iterator[HubClient]:
    with HubClient(hub, made / "home") as process:
        yield process


def train(made: Path, dataset: str, out: str) -> list[str]:
    words = ["--config", str(made / "run.yaml"), "--dataset", dataset, "--output_dir", str(made / out)]
    return ["hf-ambiser", "train", *words]


def one_line(answer: tuple[int, str, str]) -> str:
    status, _, error = answer
    (line,) = [line for line in error.splitlines() if "hf-ambiser" in line and ":" in line][-1:]
    assert status == 2 and "Traceback" not in error
    return line


def test_the_commands_take_a_data_set_of_the_hub(hub, client, made):
    (tag,) = hub.tags("me/data", "dataset")
    config = {"datasets": [{"dataset": "me/data", "configs": ["kfold3-strict-0"]}], "systems": {"one": {}}}
    shared = {"method": "hard_vote", "num_train_epochs": 1, "train_splits": ["train"], "ambiguous_splits": []}
    (made / "plan.yaml").write_text(
        yaml.safe_dump({"name": "plan", "about": "a", "seeds": [0], "shared": shared} | config)
    )
    evaluate = ["evaluate", "--model", str(made / "run" / "model"), "--split", "d3", "--dataset", "me/data"]
    answers = client.commands(
        train(made, f"me/data@{tag}", "run"),
        ["hf-ambiser", *evaluate],
        ["hf-ambiser", "count-labels", "me/data"],
        ["hf-ambiser", "study", "--plan", str(made / "plan.yaml"), "--out", str(made / "study"), "--dry-run"],
    )
    assert [status for status, _, _ in answers] == [0] * 4, [error[-1000:] for _, _, error in answers]
    assert "| WA |" in answers[1][1] and "kfold3-strict" in answers[3][1]
    run, info = RunFolder(made / "run"), read_dataset_info(made / "dataset")
    assert run.read_data()["content"] == info["content"] and run.is_finished
    # Nothing of the run says where the cache lies on this machine.
    assert run.read_arguments()["dataset"] == f"me/data@{tag}"
    texts = [path for path in run.path.rglob("*") if path.suffix in (".json", ".yaml", ".md")]
    assert len(texts) > 5 and not [path for path in texts if "snapshots" in path.read_text()]


def test_every_split_of_the_downloaded_folder_is_the_one_that_was_built(hub, client, made):
    snapshots = list((made / "home" / "hub" / "datasets--me--data" / "snapshots").iterdir())
    info = read_dataset_info(snapshots[0])
    assert info == read_dataset_info(made / "dataset") and len(snapshots) == 1
    for config, about in info["configs"].items():
        for split in about["splits"]:
            mine, theirs = (load_split(folder, config, split) for folder in (made / "dataset", snapshots[0]))
            assert repr(mine[:]) == repr(theirs[:]) and len(mine)  # hidden labels are NaN


def test_what_is_not_on_the_hub_as_it_was_pushed_is_one_line(client, made):
    reasons = {
        "me/none": "there is no data set me/none that you may read",
        "me/data@v9": "me/data has no revision v9",
        "me/other": "holds no build_report.json, so it is not a data set that hf_ambiser pushed",
        "me/spoilt": "and its Parquet files are ",
        "me/cut": "is not a whole Parquet file",
    }
    answers = client.commands(*(train(made, name, "no") for name in reasons))
    for answer, reason in zip(answers, reasons.values(), strict=True):
        assert reason in one_line(answer)
    assert not (made / "no").exists()


def test_ratings_of_a_set_that_anybody_has_pushed(hub, client, tmp_path):
    """It is downloaded and read; a file of this machine that a row names is not."""
    write_sets(tmp_path, rated_rows(tmp_path))
    files = {
        path.relative_to(tmp_path / "parquet").as_posix(): path.read_bytes()
        for path in (tmp_path / "parquet").rglob("*.parquet")
    }
    hub.store.create("me/rated", "dataset").put({**files, "README.md": b"# Rated\n"})
    secret = tone(tmp_path / "secret.wav")
    ratings = [{"rater": "k", "label": "joy"}, {"rater": "l", "label": "anger"}]
    stealing = [{"id": f"u{i}", "audio": {"bytes": None, "path": str(secret)}, "ratings": ratings} for i in range(3)]
    path = parquet(tmp_path / "s.parquet", stealing)
    hub.store.create("me/stealing", "dataset").put({"data/s.parquet": path.read_bytes()})
    words = ["hf-ambiser", "build", "--ratings"]
    good, below, pushed, stolen, other, none, twice = client.commands(
        [*words, "hf://datasets/me/rated", "--preview"],
        [*words, "hf://datasets/me/rated@main/data", "--preview"],
        [*words, "hf://datasets/me/data", "--preview"],
        [*words, "hf://datasets/me/stealing", "--no-speakers", "--out", str(tmp_path / "out")],
        [*words, "hf://datasets/me/other", "--preview"],
        [*words, "hf://datasets/me/none", "--preview"],
        [*words, "hf://datasets/me/rated/../x", "--preview"],
    )
    assert [answer[0] for answer in (good, below, pushed)] == [0, 0, 0], good[2] + below[2] + pushed[2]
    assert "60 utterances with audio, 300 votes" in good[1] and "me--rated@" in good[1]
    assert "rows repeat an utterance in another config" in pushed[1] and "simulated-again" in pushed[1]
    assert "the row names a file and holds no audio" in one_line(stolen)
    assert "holds no Parquet file" in one_line(other)
    assert "there is no data set me/none that you may read" in one_line(none)
    assert "leads out of its folder" in one_line(twice)


def test_offline_the_cache_is_enough(client, made, monkeypatch):
    """This process is offline, as all tests are; the cache is that of the client, which has downloaded it."""
    from huggingface_hub import constants

    from hf_ambiser.data import hub_dataset

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(made / "home" / "hub"))
    monkeypatch.setattr(hub_dataset, "_DOWNLOADED", {})
    for how in ({}, {"cached": True}):
        assert read_dataset_info("me/data", **how) == read_dataset_info(made / "dataset")
    assert len(load_split("me/data", "ipr-strict", "d1")) == len(load_split(made / "dataset", "ipr-strict", "d1"))


def test_without_the_hub_and_the_cache_it_says_so(made):
    with pytest.raises(FileNotFoundError, match="me/data does not exist as a folder.*HF_HUB_OFFLINE is set.*build"):
        read_dataset_info("me/data")
    with pytest.raises(FileNotFoundError, match="me/data, revision v1, is not in the cache"):
        load_split("me/data@v1", "ipr-strict", "d1")


def test_which_names_are_asked_for_on_the_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert all(map(on_the_hub, ["me/data", Path("me/data"), "me/data@v1.0", "Some-1/d_2"]))
    local = [
        "data/crema_d",
        "runs/gone",
        "me",
        "me/a/b",
        "/me/data",
        "../data",
        "./x",
        "me/data@",
        "me/.hidden",
        "",
        "m e/d",
    ]
    assert not any(map(on_the_hub, local))
    assert [dataset_folder(name) for name in local] == [Path(name) for name in local]
    assert "because a folder runs is here" in why_not_on_the_hub("runs/gone")
    assert why_not_on_the_hub("data/crema_d") == why_not_on_the_hub("me/data") == ""
    with pytest.raises(FileNotFoundError, match="runs/gone does not exist, so .* because a folder runs is here$"):
        read_dataset_info("runs/gone")
    (tmp_path / "me" / "data").mkdir(parents=True)
    assert not on_the_hub("me/data") and dataset_folder("me/data") == Path("me/data")


def test_a_report_whose_content_is_missing_is_refused(made, monkeypatch):
    from hf_ambiser.data import hub_dataset

    folder = made / "incomplete"
    folder.mkdir()
    report = json.loads((made / "dataset" / "build_report.json").read_text())
    del report["content"]
    (folder / "build_report.json").write_text(json.dumps(report))
    monkeypatch.setattr(hub_dataset, "download_dataset", lambda *words, **more: folder)
    monkeypatch.setattr(hub_dataset, "_DOWNLOADED", {})
    with pytest.raises(ValueError, match="says that the content is None.*another revision"):
        dataset_folder("me/incomplete")
