import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.crema_d_tree import csv_row, encode, made_corpus, tone, write_tree
from helpers.iemocap_tree import block, votes, write_audio, write_dialog

from hf_ambiser.data import AmbiguousSpeech, load_split, read_dataset_info
from hf_ambiser.data.audio import decode
from hf_ambiser.data.build import build
from hf_ambiser.data.build_cli import main, main_of_any_corpus
from hf_ambiser.data.corpus_rows import prepare
from hf_ambiser.data.schema import features
from hf_ambiser.data.splits import SplitError, SplitOptions, make_split
from hf_ambiser.labels.policies import get_policy


datasets = pytest.importorskip("datasets")

CONFIGS = ("ipr-strict", "slc-paper", "loso-strict", "kfold3-paper-0")
OPTIONS = {"d1_quota": "per_class", "min_per_class": 2, "progress": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    return build("crema_d", root, tmp_path_factory.mktemp("built") / "out", configs=CONFIGS, **OPTIONS)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_counts_add_up_and_ties_are_listed_but_available(built, cache):
    counts = built.content["counts"]
    assert counts == {"in": 150, "kept": 144, "listed": 6, "listed_by_reason": {"no_consensus": 6}}
    assert built.summary().splitlines()[-1] == "150 in = 144 kept + 6 listed"
    with open(built.out / "listed.csv", newline="") as file:
        listed = list(csv.DictReader(file))
    assert {row["reason"] for row in listed} == {"no_consensus"} and "anger 4, disgust 4" in listed[0]["detail"]
    assert listed[0]["source"].startswith("AudioWAV/")
    found = set()
    for split in ("no_consensus", "validation_no_consensus", "test_no_consensus"):
        part = load_split(built.out, "ipr-strict", split, cache_dir=cache)
        assert set(part["label"]) == {-1} and set(part["tier"]) == {"no_consensus"}
        assert np.allclose(part["soft_label"], [[0.5, 0.5, 0, 0, 0, 0]])
        found |= set(part["id"])
    assert found == {row["id"] for row in listed}
    votes = built.content["votes"]
    assert votes["in"] == votes["counted"] + votes["excluded_total"] == 150 * 8


def test_load_dataset_gives_back_features_and_rows(built, root, cache):
    prepared = prepare("crema_d", root)
    expected = {row["id"]: row for row in prepared.rows(range(len(prepared.utterances)))}
    seen = Counter()
    for name in datasets.get_dataset_split_names(str(built.out), "ipr-strict"):
        part = datasets.load_dataset(str(built.out), "ipr-strict", split=name, cache_dir=str(cache))
        assert part.features == features(get_policy("crema-d-6").classes)
        assert part["id"] == sorted(part["id"])
        for row in part:
            seen[row["id"]] += 1
            want = expected[row["id"]]
            assert row["audio"] == want["audio"] and row["speaker"] == want["id"][:4]
            assert row["reference_votes"] == want["votes"] and row["reference_label"] == want["label"]
            assert row["duration"] == pytest.approx(0.2) and row["true_distribution"] == [0] * 6
            if name != "d2":
                assert row["ratings"] == want["ratings"] and row["label"] == want["label"]
                assert row["soft_label"] == pytest.approx(np.array(row["votes"]) / sum(row["votes"]))
                assert row["agreement"] == pytest.approx(max(row["soft_label"]))
    assert seen == Counter(dict.fromkeys(expected, 1))
    report = read_dataset_info(built.out)["configs"]["ipr-strict"]["splits"]
    assert sum(part["rows"] for part in report.values()) == 150


def test_d2_is_masked_and_reveal_brings_the_labels_back(built, root, cache):
    d2 = load_split(built.out, "ipr-strict", "d2", cache_dir=cache)
    assert len(d2) and set(d2["label"]) == {-1} and set(d2["tier"]) == {"unlabelled"}
    assert not np.any(d2["votes"]) and not np.any(d2["soft_label"]) and not any(d2["ratings"])
    assert np.isnan(d2["agreement"]).all() and np.isnan(d2["entropy"]).all()
    assert min(d2["reference_label"]) >= 0 and np.allclose(np.sum(d2["reference_soft_label"], axis=1), 1)

    shown = load_split(built.out, "ipr-strict", "d2", reveal=True, cache_dir=cache)
    assert shown.features == d2.features and shown["id"] == d2["id"] and shown["audio"] == d2["audio"]
    prepared = prepare("crema_d", root)
    expected = {row["id"]: row for row in prepared.rows(range(len(prepared.utterances)))}
    for row in shown:
        want = expected[row["id"]]
        assert row["votes"] == want["votes"] == row["reference_votes"] and row["label"] == want["label"]
        assert row["tier"] == want["tier"]
        for name in ("agreement", "entropy", "soft_label"):
            assert row[name] == pytest.approx(want[name], abs=1e-6)
    d1 = load_split(built.out, "ipr-strict", "d1", cache_dir=cache)
    assert load_split(built.out, "ipr-strict", "d1", reveal=True, cache_dir=cache)[:] == d1[:]


def test_streaming_and_the_cast_to_audio_need_no_torchcodec(built, cache):
    stream = datasets.load_dataset(str(built.out), "slc-paper", split="clear", streaming=True)
    first = next(iter(stream))
    assert decode(first["audio"]["bytes"]).shape == (3200,)
    part = load_split(built.out, "slc-paper", "clear", cache_dir=cache)
    part = part.cast_column("audio", datasets.Audio(sampling_rate=16000, decode=False))
    assert isinstance(part.features["audio"], datasets.Audio) and part[0]["audio"]["bytes"] == first["audio"]["bytes"]


def test_folds_share_their_files_and_the_papers_validation_repeats_the_test_side(built, cache):
    names = [c for c in built.content["configs"] if c.startswith("loso-strict-")]
    assert names == [f"loso-strict-{s}" for s in range(1001, 1007)]
    parquet = list((built.out / "folds").iterdir())
    assert len(parquet) == 12  # labelled and not, per speaker, once for all seven folds
    for name in names[:2]:
        parts = {s: load_split(built.out, name, s, cache_dir=cache) for s in ("train", "validation", "test")}
        speakers = {s: set(p["speaker"]) for s, p in parts.items()}
        assert speakers["test"] == {name[-4:]} and len(speakers["validation"]) == 1
        assert len(speakers["train"]) == 4 and len(set.union(*speakers.values())) == 6
        assert sum(map(len, parts.values())) == 144 and all(min(p["label"]) >= 0 for p in parts.values())
        for s, part in parts.items():
            assert built.content["configs"][name]["splits"][s]["rows"] == len(part)
    assert set(load_split(built.out, names[0], "no_consensus", cache_dir=cache)["label"]) == {-1}
    for config, repeated in (("slc-paper", ("test_clear", "test_ambiguous")), ("kfold3-paper-0", ("test",))):
        again = load_split(built.out, config, "validation", cache_dir=cache)["id"]
        originals = [i for s in repeated for i in load_split(built.out, config, s, cache_dir=cache)["id"]]
        assert sorted(again) == sorted(originals)


@pytest.fixture(scope="module")
def folds(root, tmp_path_factory):
    configs = ("ipr-strict-kfold3", "slc-paper-kfold3")
    return build("crema_d", root, tmp_path_factory.mktemp("folds") / "out", configs=configs, **OPTIONS)


def test_folds_with_hidden_labels_store_a_clip_at_most_once_in_either_form(folds, root, cache):
    prepared = prepare("crema_d", root)
    data, stored = prepared.split_input(), Counter()
    for path in (folds.out / "folds").glob("*.parquet"):
        stored.update((i, "hidden" in path.name) for i in pq.read_table(path, columns=["id"])["id"].to_pylist())
    assert set(stored.values()) == {1} and len({i for i, _ in stored}) == 150
    for config in folds.content["configs"]:
        split = make_split(data, config, SplitOptions(d1_quota="per_class", min_per_class=2))
        for name in split.names:
            part = load_split(folds.out, config, name, cache_dir=cache)
            assert sorted(part["id"]) == sorted(data.id[split.rows(name)]), (config, name)
            hidden = config.startswith("ipr") and name == "d2"
            assert (set(part["tier"]) == {"unlabelled"}) == hidden and np.any(part["votes"]) != hidden


def test_a_fold_is_the_same_through_load_dataset_and_its_hidden_labels_come_back(folds, cache):
    name = "ipr-strict-kfold3-1"
    for split in ("d1", "d2", "d3"):
        ours = load_split(folds.out, name, split, cache_dir=cache)
        theirs = datasets.load_dataset(str(folds.out), name, split=split, cache_dir=str(cache))
        assert ours["id"] == theirs["id"] and ours["audio"] == theirs["audio"] and ours.features == theirs.features
    hidden, shown = (load_split(folds.out, name, "d2", reveal=r, cache_dir=cache) for r in (False, True))
    assert shown["id"] == hidden["id"] and shown["audio"] == hidden["audio"]
    assert shown["label"] == hidden["reference_label"] and shown["votes"] == hidden["reference_votes"]
    assert shown.features == hidden.features


def test_the_builder_class_gives_folds_too(folds, root, tmp_path, cache):
    name = "ipr-strict-kfold3-1"
    builder = AmbiguousSpeech(
        config_name=name, corpus="crema_d", data_dir=str(root), cache_dir=str(tmp_path), d1_quota="per_class",
        min_per_class=2,
    )  # fmt: skip
    builder.download_and_prepare()
    for split, part in builder.as_dataset().items():
        ours = load_split(folds.out, name, split, cache_dir=cache)
        ours = ours.select(np.argsort(ours["id"]))
        assert part["id"] == ours["id"] and part["label"] == ours["label"] and part["audio"] == ours["audio"]


def test_the_card_states_what_a_reader_needs(built):
    card = (built.out / "README.md").read_text()
    report = built.content
    for name, config in report["configs"].items():
        assert f"### `{name}`" in card and config["fingerprint"] in card
        for split, part in config["splits"].items():
            assert f"| {split}{' (labels hidden)' if part['labels_hidden'] else ''} | {part['rows']} |" in card
    for text in (report["policy_fingerprint"], "150 in = 144 kept + 6 listed", "no_consensus", "cao2014cremad",
                 "Open Database License", "seed 0", "available"):  # fmt: skip
        assert text in card
    import yaml

    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "odbl" and [c["config_name"] for c in front["configs"]] == list(report["configs"])


def test_the_same_input_gives_the_same_files(built, root, tmp_path):
    again = build("crema_d", root, tmp_path / "again", configs=CONFIGS, **OPTIONS)
    assert files_of(again.out) == files_of(built.out)


def test_the_builder_class_gives_the_same_rows(built, root, cache, tmp_path):
    builder = AmbiguousSpeech(
        config_name="ipr-strict", corpus="crema_d", data_dir=str(root), cache_dir=str(tmp_path),
        d1_quota="per_class", min_per_class=2,
    )  # fmt: skip
    builder.download_and_prepare()
    made = builder.as_dataset()
    assert set(made) == set(built.content["configs"]["ipr-strict"]["splits"])
    for name, part in made.items():
        other = load_split(built.out, "ipr-strict", name, cache_dir=cache)
        assert part.features == other.features
        assert part.remove_columns(["agreement", "entropy"])[:] == other.remove_columns(["agreement", "entropy"])[:]
        np.testing.assert_array_equal(part["entropy"], other["entropy"])  # NaN equals NaN here
    with pytest.raises(ValueError, match="data_dir is not set"):
        AmbiguousSpeech(config_name="slc-strict", cache_dir=str(tmp_path)).download_and_prepare()


def test_odd_audio_is_listed_or_converted_and_counted(tmp_path, cache):
    good, kinds = encode(tone()), {}
    kinds["AAA"] = encode(tone(0.5, 22050), 22050)
    kinds["BBB"] = encode(tone(0.5, channels=2))
    kinds |= {"CCC": b"junk", "DDD": encode(tone()[:0]), "EEE": encode(0 * tone()), "FFF": encode(tone(0.05))}
    names = {f"100{s}_{k}_ANG_XX": data for s in range(1, 4) for k, data in (kinds | {"GGG": good}).items()}
    rows = [csv_row(i, clip, [3, 0, 0, 0, 1, 0]) for i, clip in enumerate(names)]
    rows.append(csv_row(90, "1001_NON_ANG_XX", [3, 0, 0, 0, 1, 0]))
    silent_voters = csv_row(91, "1001_ZZZ_ANG_XX", [1, 0, 0, 0, 0, 0])
    silent_voters[1] = silent_voters[8] = 0
    write_tree(
        tmp_path / "in", [*rows, silent_voters],
        {f"AudioWAV/{c}.wav": d for c, d in names.items()} | {"AudioWAV/1001_ZZZ_ANG_XX.wav": good},
    )  # fmt: skip
    report = build("crema_d", tmp_path / "in", tmp_path / "out", configs=["slc-strict"], progress=False)
    assert report.content["counts"] == {
        "in": 23, "kept": 9, "listed": 14,
        "listed_by_reason": {"empty_audio": 3, "label_without_audio": 1, "no_votes": 1, "silent_audio": 3,
                             "too_short_audio": 3, "unreadable_audio": 3},
    }  # fmt: skip
    assert report.content["audio_conversions"] == {"averaged to mono": 3, "resampled": 3}
    assert any("3 clips were resampled" in note for note in report.content["notes"])
    waves = {}
    for split in report.content["configs"]["slc-strict"]["splits"]:
        for row in load_split(report.out, "slc-strict", split, cache_dir=cache):
            waves[row["id"]] = row
    assert len(waves) == 9
    assert waves["1001_GGG_ANG_XX"]["audio"]["bytes"] == good
    converted = waves["1001_AAA_ANG_XX"]
    assert converted["audio"]["path"].endswith(".flac") and decode(converted["audio"]["bytes"]).shape == (8000,)
    assert converted["duration"] == pytest.approx(0.5, abs=1e-3)


def test_shards_are_bounded_and_complete(root, built, tmp_path, cache):
    size = 10 * len(encode(tone(0.2)))
    report = build("crema_d", root, tmp_path / "out", configs=["slc-paper"], shard_bytes=size, progress=False)
    clear = sorted((report.out / "slc-paper").glob("clear-*.parquet"))
    rows = report.content["configs"]["slc-paper"]["splits"]["clear"]["rows"]
    assert len(clear) == -(-rows // 10) > 1 and clear[0].name == f"clear-00000-of-{len(clear):05d}.parquet"
    whole = load_split(built.out, "slc-paper", "clear", cache_dir=cache)
    assert load_split(report.out, "slc-paper", "clear", cache_dir=cache)[:] == whole[:]


def test_other_policies_change_classes_and_list_the_rest(root, tmp_path, cache):
    four = build("crema_d", root, tmp_path / "four", "crema-d-4", ["slc-strict"], progress=False)
    reasons = four.content["counts"]["listed_by_reason"]
    # Disgust and fear win 24 clips each; the six ties are between anger and disgust.
    assert reasons["outside_classes"] == 48 and reasons["no_consensus"] == 6
    assert four.content["counts"]["kept"] == 96 and four.content["votes"]["excluded_total"] > 0
    inclusive = get_policy("crema-d-6", rule="all_inclusive")
    every = build("crema_d", root, tmp_path / "all", inclusive, ["ipr-paper"], **OPTIONS)
    assert every.content["counts"]["kept"] == 150 and every.content["counts"]["listed"] == 0
    assert every.content["configs"]["ipr-paper"]["splits"]["d2"]["without_label"] == 6


def test_a_build_that_dies_leaves_nothing_that_looks_whole(root, tmp_path, monkeypatch):
    module = sys.modules["hf_ambiser.data.build"]
    real, calls = module.write_shards, []

    def dies(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "write_shards", dies)
    with pytest.raises(KeyboardInterrupt):
        build("crema_d", root, tmp_path / "out", configs=["slc-strict"], progress=False)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(module, "write_shards", real)
    report = build("crema_d", root, tmp_path / "out", configs=["slc-strict"], progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["out"] and report.content["counts"]["in"] == 150


def test_an_existing_folder_is_replaced_only_when_asked(root, tmp_path):
    out = tmp_path / "out"
    first = build("crema_d", root, out, configs=["slc-strict"], progress=False)
    with pytest.raises(FileExistsError, match="--overwrite"):
        build("crema_d", root, out, configs=["slc-paper"], progress=False)
    assert "slc-strict" in read_dataset_info(out)["configs"]
    card = out / "README.md"
    card.write_text(card.read_text().replace("## Columns", "## Columns, by Anna") + "\nAsk Anna.\n")
    build("crema_d", root, out, configs=["slc-paper"], progress=False, overwrite=True)
    # What a human wrote into the data set's card stays, what follows from the build is new.
    again = card.read_text()
    assert "## Columns, by Anna" in again and "Ask Anna." in again and "`slc-paper`" in again
    assert list(read_dataset_info(out)["configs"]) == ["slc-paper"] != list(first.content["configs"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not a built data set"):
        build("crema_d", root, tmp_path / "mine", progress=False, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_loading_errors_list_what_there_is(built, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist.*hf-ambiser build"):
        load_split(tmp_path / "none", "ipr-strict", "d1")
    with pytest.raises(FileNotFoundError, match="holds no build_report.json"):
        read_dataset_info(tmp_path)
    with pytest.raises(ValueError, match="no config 'ipr'; it has .*'ipr-strict'"):
        load_split(built.out, "ipr", "d1")
    with pytest.raises(ValueError, match="no split 'train'; it has .'d1', 'd2'"):
        load_split(built.out, "ipr-strict", "train")


def test_bad_requests_fail_before_anything_is_written(root, tmp_path):
    with pytest.raises(SplitError, match="min_per_class=500"):
        build("crema_d", root, tmp_path / "out", min_per_class=500, progress=False)
    with pytest.raises(SplitError, match="not one of"):
        build("crema_d", root, tmp_path / "out", configs=["nonsense"], progress=False)
    with pytest.raises(ValueError, match="limit=0"):
        build("crema_d", root, tmp_path / "out", limit=0, progress=False)
    assert not any(tmp_path.iterdir())


def test_the_script_runs_from_a_fresh_clone(root, tmp_path):
    script = Path(__file__).parents[1] / "dataset_scripts" / "crema_d.py"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, str(script), "--root", str(root), "--out", str(tmp_path / "out"), "--limit", "90"]
    command += ["--configs", "slc-strict", "--seed", "3", "--no-progress"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True)
    last = done.stdout.splitlines()[-1]
    counts = read_dataset_info(tmp_path / "out")["counts"]
    assert last == f"90 in = {counts['kept']} kept + {counts['listed']} listed" and counts["in"] == 90
    assert "60 labelled utterances were not looked at" in done.stdout


@pytest.mark.parametrize("words", [["--rating", "t.csv", "--audio", "clips"], ["--raitngs=t.csv"]])
def test_a_misspelt_table_of_ratings_is_told_the_option(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main_of_any_corpus(words, "hf-ambiser build")
    said = capsys.readouterr().err
    assert caught.value.code == 2 and f"{words[0]} is not known here (did you mean '--ratings'?)" in said


def test_the_command_line_ends_user_errors_in_one_line(tmp_path, capsys):
    assert main("crema_d", ["--root", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: CREMA-D not found")


def test_the_real_part_in_small(tmp_path, cache):
    root = os.environ.get("CREMA_D_ROOT")
    if not root:
        pytest.skip("CREMA_D_ROOT is not set")
    report = build("crema_d", root, tmp_path / "out", configs=["slc-strict"], limit=150, progress=False)
    counts = report.content["counts"]
    assert counts["in"] == 150 == counts["kept"] + counts["listed"] and not report.content["audio_conversions"]
    config = report.content["configs"]["slc-strict"]
    parts = [part for name, part in config["splits"].items() if name not in config["repeats"]]
    assert sum(part["rows"] for part in parts) == 150
    row = load_split(report.out, "slc-strict", "clear", cache_dir=cache)[0]
    wave = decode(row["audio"]["bytes"])
    assert len(wave) / 16000 == pytest.approx(row["duration"]) and row["agreement"] >= 2 / 3 - 1e-6


def test_sessions_are_the_unit_of_iemocap(tmp_path, cache):
    said = {
        "ang": votes("Anger", "Anger", "Anger"),
        "hap": votes("Happiness", "Excited", "Happiness"),
        "sad": votes("Sadness", "Sadness", "Neutral"),
        "neu": votes("Neutral", "Neutral", "Neutral"),
        "fru": votes("Frustration", "Frustration", "Anger"),
        "xxx": votes("Anger", "Neutral", "Sadness"),
    }
    for session in range(1, 6):
        dialog, blocks = f"Ses0{session}F_impro01", {}
        for i, (code, lines) in enumerate(said.items()):
            for who in "FM":
                name = f"{dialog}_{who}{i:03d}"
                blocks[name] = block(name, code, *lines)
        write_dialog(tmp_path / "in", dialog, blocks)
    write_audio(tmp_path / "in", ["Ses01F_impro01_F099"])  # no evaluation
    report = build(
        "iemocap", tmp_path / "in", tmp_path / "out", configs=["ipr-strict", "loso-strict"],
        min_per_class=0, min_duration=0.01, progress=False,
    )  # fmt: skip
    counts = report.content["counts"]
    assert counts["in"] == counts["kept"] + counts["listed"] and counts["kept"] == 40
    assert counts["listed_by_reason"]["no_consensus"] == counts["listed_by_reason"]["outside_classes"] == 10
    sessions = {"train": set(), "validation": set(), "test": set()}
    for split in report.content["configs"]["ipr-strict"]["splits"]:
        side = "test" if split.startswith("test") or split == "d3" else split.split("_")[0]
        side = side if side in sessions else "train"
        sessions[side] |= set(load_split(report.out, "ipr-strict", split, cache_dir=cache)["session"])
    assert {side: len(found) for side, found in sessions.items()} == {"train": 3, "validation": 1, "test": 1}
    assert len(set.union(*sessions.values())) == 5
    folds = [c for c in report.content["configs"] if c.startswith("loso")]
    assert len(folds) == 10
    parts = {s: load_split(report.out, folds[0], s, cache_dir=cache) for s in ("train", "validation", "test")}
    assert [len(set(parts[s]["speaker"])) for s in parts] == [8, 1, 1]
    assert set(parts["validation"]["session"]) == set(parts["test"]["session"])
    assert not set(parts["train"]["session"]) & set(parts["test"]["session"])


def test_another_build_in_a_folder_of_the_same_name_is_not_answered_from_the_cache(root, tmp_path, cache):
    # load_dataset's cache knows a local folder by its last name and its card only.
    loaded = []
    for place, policy in (("a", "crema-d-6"), ("b", "crema-d-4")):
        report = build("crema_d", root, tmp_path / place / "same_name", policy, ["slc-paper"], progress=False)
        loaded.append(load_split(report.out, "slc-paper", "clear", cache_dir=cache).features["label"].num_classes)
    assert loaded == [6, 4]
    rebuilt = build(
        "crema_d", root, tmp_path / "b" / "same_name", "crema-d-6", ["slc-paper"], overwrite=True, progress=False
    )
    assert load_split(rebuilt.out, "slc-paper", "clear", cache_dir=cache).features["label"].num_classes == 6


def test_a_corpus_that_is_generated_is_generated_where_it_is_not_there(tmp_path):
    small = {"n_utterances": 12, "n_speakers": 4}
    options = {"configs": ["slc-strict"], "progress": False}
    report = build("simulated", tmp_path / "corpus", tmp_path / "a", generate_options=small, **options)
    assert report.content["counts"]["in"] == 12
    # A folder that is there is read as it is.
    votes = (tmp_path / "corpus" / "votes.csv").read_bytes()
    again = build("simulated", tmp_path / "corpus", tmp_path / "b", **options)
    assert again.content["content"] == report.content["content"]
    assert (tmp_path / "corpus" / "votes.csv").read_bytes() == votes
    with pytest.raises(ValueError, match="'crema_d' is not generated"):
        build("crema_d", tmp_path, tmp_path / "c", generate_options=small)
