"""`annotate`: every kind of source, what is written about it, and what is refused."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from datasets import Audio, Dataset, DatasetDict, Features, Value, load_dataset
from helpers.made_corpus import encoded, made_tar, write_tar
from helpers.made_data import CLASSES, tiny_model
from helpers.made_model import RATE, noise, saved
from tqdm import tqdm
from transformers import HubertConfig, HubertForSequenceClassification, Wav2Vec2FeatureExtractor

from hf_ambiser import annotate, open_model, predict
from hf_ambiser.cli import main
from hf_ambiser.files.read import FileError
from hf_ambiser.inference.annotate import _bar
from hf_ambiser.inference.annotation_folder import AnnotationFolder
from hf_ambiser.inference.sources import open_source
from hf_ambiser.run_folder.run_lock import held


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return open_model(saved(tmp_path_factory.mktemp("tiny"), tiny_model()), "cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three recordings in two folders, one that is no audio, and a file of another kind."""
    monkeypatch.setenv("PATH", str(tmp_path / "no_ffmpeg"))
    speech = tmp_path / "speech"
    (speech / "b").mkdir(parents=True)
    for seed, name in enumerate(("a.wav", "b/c.flac", "b/d.wav")):
        soundfile.write(speech / name, noise(0.4 + seed / 4, seed), RATE)
    (speech / "b" / "broken.wav").write_text("no audio")
    (speech / "notes.txt").write_text("about it")
    return speech


def done(source, out, model, **options) -> tuple[dict, list[dict], list[dict]]:
    """The manifest, the rows of all shards, and those without an answer."""
    manifest = annotate(source, out, model, progress=False, device="cpu", **options)
    rows = [row for shard in manifest["shards"] for row in pq.read_table(out / shard["file"]).to_pylist()]
    return manifest, rows, pq.read_table(out / "not_answered.parquet").to_pylist()


def names(source) -> list[str]:
    opened = open_source(source)
    assert len(opened) == len(list(opened.names()))
    assert [one.name for one in opened.recordings(0, len(opened))] == list(opened.names())
    return list(opened.names())


# ---- what is written ------------------------------------------------------------------------------------------------


def test_rows_say_what_predict_says_and_every_input_is_in_one_table(folder, tmp_path, tiny):
    manifest, rows, without = done(folder, tmp_path / "out", tiny, shard_size=2, embeddings=True, threshold=0.3)
    assert [row["recording"] for row in rows] == ["a.wav", "b/c.flac", "b/d.wav"]
    assert [(row["index"], row["recording"], row["status"]) for row in without] == [(1, "b/broken.wav", "unreadable")]
    assert without[0]["reason"].startswith("libsndfile cannot read it") and without[0]["duration"] is None
    assert [row["index"] for row in rows] == [0, 2, 3]
    answers = predict([folder / row["recording"] for row in rows], tiny, progress=False, threshold=0.3)
    for row, answer in zip(rows, answers, strict=True):
        assert row["soft_label"] == pytest.approx(list(answer.probabilities.values()), abs=1e-5)
        assert row["leading_emotion"] == max(answer.probabilities, key=answer.probabilities.get)
        assert row["abstains"] == (answer.emotion is None)
        assert row["entropy"] == pytest.approx(answer.entropy, abs=1e-5)
        assert row["ambiguity"] == pytest.approx(answer.ambiguity, abs=1e-5)
        assert (row["duration"], row["windows"]) == (answer.duration, 1)
        samples, _ = soundfile.read(folder / row["recording"], dtype="float32")
        with torch.no_grad():
            expected = tiny.model(torch.from_numpy(samples)[None]).embedding[0].tolist()
        assert row["embedding"] == pytest.approx(expected, abs=1e-5)
    abstains = sum(row["abstains"] for row in rows)
    leading = {name: sum(row["leading_emotion"] == name for row in rows) for name in CLASSES}
    assert manifest["counts"] == {
        "in": 4, "answered": 3, "abstains": abstains, "not_answered": 1,
        "reasons": {"unreadable": 1}, "leading": leading,
    }  # fmt: skip
    assert [(one["rows"], one["not_answered"]) for one in manifest["shards"]] == [(1, 1), (2, 0)]
    schema = pq.read_schema(tmp_path / "out" / manifest["shards"][0]["file"])
    assert json.loads(schema.metadata[b"classes"]) == list(CLASSES) == manifest["model"]["classes"]
    assert manifest["settings"] == {
        "shard_size": 2, "embeddings": True, "window": 6.0, "hop": 3.0, "temperature": 1.0, "threshold": 0.3
    }  # fmt: skip
    loaded = load_dataset(
        "parquet", data_files=str(tmp_path / "out/data/*.parquet"), split="train", cache_dir=tmp_path
    )
    assert loaded.features["soft_label"].length == len(CLASSES) and len(loaded) == 3
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


def test_a_long_recording_has_the_weighted_mean_of_its_windows_embeddings(tmp_path, tiny):
    wave = noise(2.5)
    (tmp_path / "speech").mkdir()
    soundfile.write(tmp_path / "speech" / "long.wav", wave, RATE, subtype="FLOAT")
    _, (row,), _ = done(tmp_path / "speech", tmp_path / "out", tiny, embeddings=True, window=1.0, hop=1.0)
    parts = [wave[:RATE], wave[RATE : 2 * RATE], wave[2 * RATE :]]
    with torch.no_grad():
        said = [tiny.model(torch.from_numpy(part)[None]).embedding[0].numpy() for part in parts]
    expected = (said[0] + said[1] + 0.5 * said[2]) / 2.5
    assert row["windows"] == 3 and row["embedding"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_command_writes_what_the_function_writes_and_says_what_came_out(folder, tmp_path, tiny, capsys):
    done(folder, tmp_path / "mine", tiny.name, shard_size=3)
    words = ["annotate", str(folder), "--model", tiny.name, "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*words, "--shard-size", "3"]) == 0
    out, err = capsys.readouterr()
    assert out == (
        f"{tmp_path / 'out'}: 4 in = 3 answered + 1 not answered (1 unreadable: not_answered.parquet); shards: 2\n"
    ) and "4/4" in err  # fmt: skip
    for path in (tmp_path / "mine").glob("*/*.parquet"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "mine")).read_bytes()
    assert (tmp_path / "mine/manifest.json").read_text() == (tmp_path / "out/manifest.json").read_text()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.wav").write_text("no audio")
    assert main([*words[:1], str(tmp_path / "bad"), *words[2:5], str(tmp_path / "out2"), "--no-progress"]) == 1
    assert main([*words[:1], str(tmp_path / "nowhere"), *words[2:]]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err.strip().splitlines()[-1]


def test_memory_does_not_grow_with_the_number_of_inputs(tmp_path, tiny):
    peaks = []
    for n in (100, 1000):
        data = encoded(0.15)
        corpus = write_tar(tmp_path / f"{n}.tar", {f"{i}.wav": data for i in range(n)})
        tracemalloc.start()
        manifest = annotate(corpus, tmp_path / str(n), tiny, shard_size=100, progress=False, device="cpu")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert manifest["counts"]["answered"] == n
    # The names and places of 900 more inputs. Their audio has 4.5 MB.
    assert peaks[1] - peaks[0] < 1e6, peaks


def test_the_time_left_is_that_of_the_mean_speed_of_this_attempt():
    """Of 40 inputs, 10 belong to the other process and 10 were done before; 5 took 10 s, so 15 more take 30 s."""
    shards = [range(first, first + 10) for first in (0, 10, 20, 30)]
    processes = SimpleNamespace(num_processes=2, is_main_process=True)
    with _bar(shards, range(3), {1, 2}, processes, True) as bar:
        bar.start_t -= 10
        bar.update(5)
        said = tqdm.format_meter(**bar.format_dict)
    assert said.startswith("process 1 of 2:  50%") and " 15/30 [00:10<00:30," in said, said


# ---- sources --------------------------------------------------------------------------------------------------------


def test_a_list_of_paths_begins_at_its_own_folder(folder, tmp_path, tiny, monkeypatch):
    monkeypatch.chdir("/")
    listed = tmp_path / "list.txt"
    listed.write_text(f"speech/b/d.wav\n\n{folder / 'a.wav'}\nspeech/a.wav\nspeech/b\nnowhere.wav\n")
    _, rows, without = done(listed, tmp_path / "out", tiny)
    assert [row["recording"] for row in rows] == ["speech/b/d.wav", str(folder / "a.wav"), "speech/a.wav"]
    assert rows[1]["soft_label"] == pytest.approx(rows[2]["soft_label"], abs=1e-5)
    assert [row["reason"] for row in without] == ["it is a folder, and an input is a file", "there is no such file"]


def test_tars_are_read_from_their_places_and_a_broken_one_is_a_row(tmp_path, tiny):
    tars = tmp_path / "tars"
    tars.mkdir()
    made_tar(tars / "1.tar", 6)
    cut = made_tar(tars / "2.tar", 6).read_bytes()
    whole = names(tars)
    (tars / "2.tar").write_bytes(cut[: cut.index(b"00002.wav") + 700])
    (tars / "3.tar").write_text("no archive")
    manifest, rows, without = done(tars, tmp_path / "out", tiny)
    assert whole == [f"{k}.tar/{i:05d}.wav" for k in (1, 2) for i in range(6)]
    assert [row["recording"] for row in rows] == [f"1.tar/{i:05d}.wav" for i in (0, 1, 2, 3, 5)] + whole[6:8]
    reasons = {row["recording"]: row["reason"] for row in without}
    assert list(reasons) == ["1.tar/00004.wav", "2.tar/00002.wav", "2.tar", "3.tar"]
    assert "its archive ends after" in reasons["2.tar/00002.wav"]
    assert "cannot be read after" in reasons["2.tar"] and "after 0 members" in reasons["3.tar"]
    assert manifest["source"]["left_out"] == {"members that are no recordings": 8}
    (_, direct), _ = open_source(tars / "1.tar").recordings(0, 2), None
    assert direct.content == encoded(0.25, 1)


def rows_with_audio(n: int = 5) -> list[dict]:
    return [{"audio": {"bytes": encoded(0.3, i), "path": f"{i}.wav"}, "id": f"u{i}", "n": i} for i in range(n)]


def test_parquet_files_give_their_rows_and_a_built_set_each_utterance_once(tmp_path, tiny):
    data = tmp_path / "set"
    for name in ("x", "y"):
        (data / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows_with_audio()), data / name / "a.parquet", row_group_size=2)
    assert names(data) == [f"u{i}" for i in range(5)] * 2
    some = list(open_source(data).recordings(3, 7))
    assert [one.name for one in some] == ["u3", "u4", "u0", "u1"]
    assert [one.content for one in some] == [encoded(0.3, i) for i in (3, 4, 0, 1)]
    (data / "build_report.json").write_text("{}")
    manifest, rows, _ = done(data, tmp_path / "out", tiny, shard_size=3)
    assert [row["recording"] for row in rows] == [f"u{i}" for i in range(5)]
    assert manifest["source"]["left_out"] == {"repeats of an utterance": 5}
    without = [{"sound": {"bytes": None, "path": None}}, {"sound": {"bytes": encoded(0.3), "path": "/home/me/a.wav"}}]
    pq.write_table(pa.Table.from_pylist(without), tmp_path / "one.parquet")
    assert names(tmp_path / "one.parquet") == ["one.parquet, row 0", "a.wav"]


def test_a_path_in_a_data_set_leads_to_its_own_files_only(tmp_path):
    """Somebody's data set could name any recording of this machine, and its label would be published."""
    (tmp_path / "set" / "audio").mkdir(parents=True)
    soundfile.write(tmp_path / "secret.wav", noise(0.3), RATE)
    soundfile.write(tmp_path / "set" / "audio" / "a.wav", noise(0.3), RATE)
    paths = ["audio/a.wav", "../secret.wav", str(tmp_path / "secret.wav")]
    rows = [{"audio": {"bytes": None, "path": path}} for path in paths]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / "rows.parquet")
    first, *others = [one.content for one in open_source(tmp_path / "set" / "rows.parquet").recordings(0, 3)]
    assert first == tmp_path / "set" / "audio" / "a.wav"
    assert [one.reason for one in others] == ["the row holds no audio, and its path leads out of the data set"] * 2


def test_what_datasets_saved_is_read_split_by_split(tmp_path, tiny):
    features = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "n": Value("int64")})
    plain = [{key: row[key] for key in ("audio", "n")} for row in rows_with_audio(3)]
    made = Dataset.from_list(plain, features=features).cast_column("audio", Audio(sampling_rate=RATE, decode=False))
    made.save_to_disk(tmp_path / "one")
    DatasetDict({"train": made, "test": made.select([2])}).save_to_disk(tmp_path / "two")
    assert names(tmp_path / "one") == ["0.wav", "1.wav", "2.wav"]
    assert names(tmp_path / "two") == ["train/0.wav", "train/1.wav", "train/2.wav", "test/2.wav"]
    _, rows, _ = done(tmp_path / "two", tmp_path / "out", tiny, shard_size=3)
    assert [row["recording"] for row in rows] == names(tmp_path / "two")
    assert rows[2]["soft_label"] == pytest.approx(rows[3]["soft_label"], abs=1e-5)


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_another_model_source_or_setting_is_refused_by_its_name(folder, tmp_path, tiny):
    out = tmp_path / "out"
    first, _, _ = done(folder, out, tiny, shard_size=2)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert done(folder, out, tiny, shard_size=2)[0] == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before
    other = open_model(saved(tmp_path / "other", tiny_model(seed=1)), "cpu")
    for model, changes, what in (
        (other, {}, "model"),
        (tiny, {"window": 2.0}, "window: 6.0, and now it is 2.0"),
        (tiny, {"window": 6.0, "hop": 1.0}, "hop"),
        (tiny, {"threshold": 0.5}, "threshold"),
        (tiny, {"embeddings": True}, "embeddings"),
        (tiny, {"shard_size": 3}, "shard_size: 2, and now it is 3"),
    ):
        with pytest.raises(ValueError, match=f"was begun with another {what}"):
            done(folder, out, model, **{"shard_size": 2, **changes})
    os.rename(folder / "a.wav", folder / "e.wav")
    with pytest.raises(ValueError, match="was begun with another list of inputs"):
        done(folder, out, tiny, shard_size=2)
    (folder / "e.wav").unlink()
    with pytest.raises(ValueError, match="was begun with another number of inputs: 4, and now it is 3"):
        done(folder, out, tiny, shard_size=2)


def test_a_balanced_decision_says_which_emotion_leads_and_is_a_setting(folder, tmp_path):
    plain = open_model(saved(tmp_path / "plain", tiny_model()), "cpu")
    _, rows, _ = done(folder, tmp_path / "as_it_is", plain)
    shares = [0.7 if name == rows[0]["leading_emotion"] else 0.1 for name in plain.classes]
    balanced, other = tiny_model(), tiny_model()
    balanced.config.decision = {"balance": {"tau": 3.0, "shares": shares}}
    other.config.decision = {"balance": {"tau": 2.0, "shares": shares}}
    models = [open_model(saved(tmp_path / f"model{n}", one), "cpu") for n, one in enumerate((balanced, other))]
    manifest, rows, _ = done(folder, tmp_path / "out", models[0])
    assert manifest["settings"]["balance"] == {"tau": 3.0, "shares": shares}
    classes = models[0].classes
    for row in rows:
        beside = [p / share**3 for p, share in zip(row["soft_label"], shares, strict=True)]
        assert row["leading_emotion"] == classes[beside.index(max(beside))]
    assert any(row["leading_emotion"] != classes[int(np.argmax(row["soft_label"]))] for row in rows)
    card = " ".join((tmp_path / "out" / "README.md").read_text().split())
    assert "that of a balanced decision: the class with the largest p / m^tau, with tau 3 and the shares m" in card
    with pytest.raises(ValueError, match="was begun with another balanced decision"):
        done(folder, tmp_path / "out", models[1])
    asked, same, _ = done(folder, tmp_path / "asked", models[1], balance=3)  # a caller's tau is a setting
    assert asked["settings"]["balance"] == manifest["settings"]["balance"]
    assert [row["leading_emotion"] for row in same] == [row["leading_emotion"] for row in rows]
    for tau in (None, 1):
        with pytest.raises(ValueError, match="was begun with another balanced decision"):
            done(folder, tmp_path / "asked", models[1], balance=tau)
    words = ["annotate", str(folder), "--model", models[1].name, "--out", str(tmp_path / "command"), "--balance", "3"]
    assert main(words) == 0
    told = (tmp_path / "command" / "manifest.json").read_text()
    assert told == (tmp_path / "asked" / "manifest.json").read_text()
    path = tmp_path / "out" / "manifest.json"
    for spoilt in (0.5, {"tau": "3", "shares": shares}, {"tau": 3}):
        path.write_text(json.dumps({**manifest, "settings": {**manifest["settings"], "balance": spoilt}}))
        with pytest.raises(ValueError, match=r"manifest.json (must hold|lacks)"):
            AnnotationFolder(tmp_path / "out").read()


def test_a_threshold_for_another_tau_is_said_once(folder, tmp_path, caplog):
    model = tiny_model()
    model.config.decision = {"threshold": 0.3, "balance": {"tau": 0, "shares": [0.25] * 4}}
    opened = open_model(saved(tmp_path / "model", model), "cpu")
    for attempt in range(2):
        caplog.clear()
        manifest, _, _ = done(folder, tmp_path / f"out{attempt}", opened, balance=1, shard_size=1)
        assert len(manifest["shards"]) == 4 and caplog.text.count("was chosen for tau 0, not 1") == 1
        assert manifest["settings"]["threshold"] == 0.3
    model.config.decision["threshold"] = 0  # it never abstains, so nothing was promised
    caplog.clear()
    done(folder, tmp_path / "never", open_model(saved(tmp_path / "zero", model), "cpu"), balance=1)
    assert not caplog.text


def test_a_model_is_the_same_wherever_it_lies(folder, tmp_path, tiny):
    copy = open_model(saved(tmp_path / "copy", tiny_model()), "cpu")
    first, _, _ = done(folder, tmp_path / "out", tiny)
    assert done(folder, tmp_path / "out", copy)[0] == first


def test_a_shard_that_was_deleted_is_made_again_and_a_spoilt_one_is_named(folder, tmp_path, tiny):
    out = tmp_path / "out"
    first, _, _ = done(folder, out, tiny, shard_size=2)
    shard = AnnotationFolder(out, 2).shard(1)
    shard.unlink()
    assert done(folder, out, tiny, shard_size=2)[0] == first
    AnnotationFolder(out, 2).shard(0).unlink()
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(FileError, match=rf"{shard.name} is not a whole Parquet file .* Delete"):
        done(folder, out, tiny, shard_size=2)
    pq.write_table(pq.read_table(AnnotationFolder(out, 2).shard(0)).slice(0, 1), shard)
    with pytest.raises(FileError, match="has 1 answers, and there are 0 inputs without one; it had 2"):
        done(folder, out, tiny, shard_size=2)
    part = AnnotationFolder(out, 2).part(0)
    for path, column in ((shard, "abstains"), (part, "status")):
        kept, table = path.read_bytes(), pq.read_table(path)
        pq.write_table(table.set_column(table.schema.get_field_index(column), column, pa.nulls(len(table))), path)
        with pytest.raises(FileError, match=f"{path} has other columns than were written: .* Delete"):
            done(folder, out, tiny, shard_size=2)
        path.write_bytes(kept)


def test_sources_that_cannot_be_used_are_refused(folder, tmp_path, tiny):
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.txt").write_text("\n")
    (tmp_path / "a.tar.gz").touch()
    (tmp_path / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    for source, words in (
        (tmp_path / "nowhere", "there is no such file or folder; allowed: a folder of recordings"),
        (tmp_path / "empty", "holds nothing to annotate"),
        (tmp_path / "none.txt", "holds nothing to annotate"),
        (tmp_path / "a.tar.gz", "is compressed"),
        (folder / "a.wav", f"is one recording; `hf-ambiser predict {folder}/a.wav` answers for it"),
        (tmp_path / "text.parquet", "is not a whole Parquet file"),
        (tmp_path / "x.parquet", r"has no column of audio \({bytes, path}\); it has \['x'\]"),
        (tmp_path, "holds 4 recordings and 2 Parquet files; give a folder that holds one of these alone"),
    ):
        with pytest.raises(ValueError, match=words):
            annotate(source, tmp_path.parent / "out", tiny)


def test_a_second_process_is_refused_while_the_first_one_works(folder, tmp_path, tiny):
    with held(tmp_path / "out"), pytest.raises(ValueError, match=f"process {os.getpid()} on .* works in"):
        annotate(folder, tmp_path / "out", tiny, progress=False)


def test_a_model_that_says_no_embedding_is_refused_if_embeddings_are_wanted(folder, tmp_path):
    foreign = HubertForSequenceClassification(
        HubertConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3,
            conv_dim=(8, 8), conv_stride=(5, 64), conv_kernel=(10, 64), num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2, classifier_proj_size=8,
        )
    )  # fmt: skip
    opened = open_model(foreign, "cpu", extractor=Wav2Vec2FeatureExtractor())
    with pytest.raises(ValueError, match="is not one of hf_ambiser and says no embedding; leave embeddings out"):
        annotate(folder, tmp_path / "out", opened, embeddings=True, progress=False)
    _, rows, _ = done(folder, tmp_path / "out", opened)
    assert len(rows) == 3 and "embedding" not in rows[0]


def test_arguments_that_cannot_be_used_are_refused(folder, tmp_path, tiny):
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    for options, words in (
        ({"shard_size": 0}, "shard_size is 0; allowed: a whole number of at least 1"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"out": tmp_path / "file"}, "is a file; give the name of a folder"),
        ({"out": folder / "out"}, "is inside the source"),
        ({"out": tmp_path / "other"}, "holds 'mine.txt' and no manifest.json"),
        ({"window": 0.01}, "window is 0.01 s"),
    ):
        with pytest.raises(ValueError, match=words):
            annotate(folder, **{"out": tmp_path / "out", "model": tiny, "progress": False, **options})
    assert not (Path(folder) / "out").exists()
