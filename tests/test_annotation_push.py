"""An annotated corpus is published with a card that says which model said so, and nothing of this machine."""

from __future__ import annotations

import json

import pytest
import soundfile
from datasets import load_dataset
from helpers.hub_client import HubClient
from helpers.hub_endpoint import HubEndpoint
from helpers.made_data import tiny_model
from helpers.made_model import RATE, noise, saved

from hf_ambiser import annotate, open_model, push_annotation
from hf_ambiser.cli import main
from hf_ambiser.files.read import FileError
from hf_ambiser.hub.leaks import LeakError
from hf_ambiser.hub.push import PushError, PushOptions
from hf_ambiser.inference.annotation_folder import AnnotationFolder
from hf_ambiser.inference.annotation_push import annotation_publication
from hf_ambiser.untrusted.links import LinkError
from hf_ambiser.untrusted.names import NotAName


DRY = PushOptions(dry_run=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return open_model(saved(tmp_path_factory.mktemp("tiny") / "my_model", tiny_model()), "cpu")


@pytest.fixture
def folder(tmp_path, tiny, monkeypatch):
    """An annotated folder of two recordings and one that is no audio."""
    monkeypatch.setenv("PATH", str(tmp_path / "no_ffmpeg"))
    speech = tmp_path / "interviews"
    speech.mkdir()
    for seed in range(2):
        soundfile.write(speech / f"{seed}.wav", noise(0.5, seed), RATE)
    (speech / "broken.wav").write_text("no audio")
    annotate(speech, tmp_path / "out", tiny, shard_size=2, threshold=0.3, progress=False, device="cpu")
    return tmp_path / "out"


def test_what_is_published_is_named_and_says_which_model_said_it(folder, tmp_path):
    pushed = push_annotation(folder, "me/annotated", DRY)
    assert sorted(pushed.files) == [
        "README.md",
        "data/annotated-00000-of-00002.parquet",
        "data/annotated-00001-of-00002.parquet",
        "manifest.json",
        "not_answered.parquet",
    ]
    card = (folder / "README.md").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())
    for words in (
        "The model **my_model** said what people would hear in 2 of 3 recordings of *interviews*",
        "No human has listened for these labels.",
        manifest["model"]["digest"],
        "3 in = 2 answered + 1 not answered",
        "| unreadable | 1 | it is no audio, or cannot be decoded |",
        "It abstains below a share of 0.3.",
        "These are a model's answers and not votes.",
        *(f"| {name} | {n} |" for name, n in manifest["counts"]["leading"].items()),
    ):
        assert words in card, words
    assert str(tmp_path) not in card
    for config, rows in (("annotated", 2), ("not_answered", 1)):
        loaded = load_dataset(str(folder), config, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(loaded) == rows and "recording" in loaded.column_names


def test_what_a_human_wrote_into_the_card_stays(folder, tmp_path, tiny):
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nListened to ten of them myself.\n")
    AnnotationFolder(folder, 2).shard(0).unlink()
    annotate(tmp_path / "interviews", folder, tiny, shard_size=2, threshold=0.3, progress=False, device="cpu")
    assert "Listened to ten of them myself." in (folder / "README.md").read_text()
    assert push_annotation(folder, "me/annotated", DRY).kept == ["text 1"]


def test_the_command_checks_and_lists(folder, capsys):
    assert main(["push", str(folder), "me/annotated", "--dry-run"]) == 0
    assert "data/annotated-00000-of-00002.parquet" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--base", "x/y"], ["--keep-audio-metadata"]])
def test_options_of_another_kind_of_folder_are_refused(folder, words, capsys):
    with pytest.raises(SystemExit):
        main(["push", str(folder), "me/annotated", "--dry-run", *words])
    assert f"{words[0]}" in (said := capsys.readouterr().err) and str(folder) in said and "Leave it out" in said


def test_a_job_that_is_not_finished_is_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(
        json.dumps({name: manifest[name] for name in ("model", "source", "settings")})
    )
    with pytest.raises(PushError, match="is not finished. Give the `annotate` command that began it once more"):
        push_annotation(folder, "me/annotated", DRY)


def test_a_manifest_with_something_of_another_kind_is_named(folder):
    path = folder / "manifest.json"
    whole = json.loads(path.read_text())
    of_another_kind = {str: 3, int: "x", float: "x", bool: None, dict: [3], list: {"x": 3}}
    spoilt = []
    for name, inner in whole.items():
        one = of_another_kind[type(inner)]
        spoilt += [
            {**whole, name: one},
            *([] if name == "shards" else [{k: v for k, v in whole.items() if k != name}]),
        ]
        for key, value in inner.items() if isinstance(inner, dict) else ():
            spoilt += [{**whole, name: {**inner, key: of_another_kind[type(value)]}}]
            spoilt += [{**whole, name: {k: v for k, v in inner.items() if k != key}}]
    spoilt += [{**whole, "shards": [3]}, {**whole, "model": {**whole["model"], "classes": [3]}}]
    assert len(spoilt) > 40
    for manifest in spoilt:
        path.write_text(json.dumps(manifest))
        with pytest.raises(FileError, match=f"{path} (must hold|lacks) .* Restore it from a copy"):
            annotation_publication(folder)
    path.unlink()
    path.symlink_to(folder / "gone")
    assert main(["push", str(folder), "me/annotated", "--dry-run"]) == 2


def test_files_that_were_changed_or_are_links_are_refused(folder):
    first, second = (AnnotationFolder(folder, 2).shard(number) for number in range(2))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(FileError, match="is not the file that was written: its digest differs"):
        push_annotation(folder, "me/annotated", DRY)
    first.unlink()
    first.symlink_to(second)
    with pytest.raises(LinkError):
        push_annotation(folder, "me/annotated", DRY)
    first.unlink()
    with pytest.raises(FileError, match="is not there|does not exist|no such"):
        push_annotation(folder, "me/annotated", DRY)
    first.write_bytes(kept)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["file"] = "data/../../secret.parquet"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(NotAName, match=r"the file 'data/../../secret.parquet' leads out of its folder"):
        annotation_publication(folder)


def test_names_that_are_paths_of_this_machine_are_refused(folder, tmp_path, tiny):
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'interviews' / '0.wav'}\n")
    annotate(tmp_path / "list.txt", tmp_path / "listed", tiny, progress=False, device="cpu")
    with pytest.raises(LeakError, match="column recording: the local path"):
        push_annotation(tmp_path / "listed", "me/annotated", DRY)


@pytest.mark.slow
def test_it_is_published_in_one_commit_and_pushed_again_nothing_changes(folder, tmp_path):
    push = ["hf-ambiser", "push", str(folder), "me/annotated"]
    with HubEndpoint() as hub, HubClient(hub, tmp_path / "home") as client:
        assert [status for status, _, _ in client.commands(push, push)] == [0, 0]
        assert len(hub.history("me/annotated", "dataset")) == 2  # the first one is empty
        files = hub.files("me/annotated", "dataset")
    for name, path in annotation_publication(folder).files.items():
        assert files[name] == path.read_bytes()
    assert b"me/annotated" in files["README.md"] and b"revision=" in files["README.md"]
