"""Data sets with label noise: how many labels are noisy, which, by what, and whoever reads them is told."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.made_run import built

from hf_ambiser.data import load_split, read_dataset_info
from hf_ambiser.data.label_noise import LabelNoise, add_label_noise, confusion, noisy_labels
from hf_ambiser.data.label_noise_cli import main
from hf_ambiser.data.noise_record import LABEL_NOISE, describe_label_noise
from hf_ambiser.data.push import dataset_publication


CHANGED = ("label", "votes", "soft_label", "ratings")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("source"), configs=("slc-strict", "ipr-strict", "slc-paper-kfold3-0"))


def made(source: Path, out: Path, **changes) -> Path:
    add_label_noise(source, out, LabelNoise(**{"config": "slc-strict", "share": 0.4, **changes}), progress=False)
    return out


@pytest.fixture(scope="module")
def noisy(source, tmp_path_factory) -> Path:
    return made(source, tmp_path_factory.mktemp("noisy") / "out", how="confusion")


def test_confusions_are_other_votes_for_utterances_of_a_consensus():
    votes = np.array([[4, 1, 0], [3, 0, 2], [1, 4, 0], [0, 5, 0], [0, 0, 5], [2, 2, 1]], dtype=float)
    counts = confusion(np.array([0, 0, 1, 1, 2, -1]), votes)
    assert counts.tolist() == [[0, 1, 2], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("n,share,expected", [(1000, 0.2, 200), (1000, 0.4, 400), (7, 0.2, 1), (9, 0.4, 4), (5, 1, 5)])
def test_exactly_the_share_is_noisy_and_always_another_class(n, share, expected):
    label = np.arange(n) % 4
    ids = [f"u{i}" for i in range(n)]
    with_gaps = np.concatenate([label, [-1, -1]])
    new = noisy_labels([*ids, "none", "nil"], with_gaps, np.ones((4, 4)), share, seed=0)
    assert (new != with_gaps).sum() == expected and new[-2:].tolist() == [-1, -1]
    assert set(new.tolist()) <= {-1, 0, 1, 2, 3}


def test_a_smaller_share_is_inside_a_larger_one_and_ids_alone_decide():
    label, ids = np.arange(600) % 3, [f"u{i}" for i in range(600)]
    chances = np.array([[0, 3, 1], [0, 0, 0], [1, 1, 0]], dtype=float)
    small, large = (noisy_labels(ids, label, chances, share, seed=1) for share in (0.2, 0.4))
    changed = small != label
    assert (small[changed] == large[changed]).all() and (large != label).sum() == 240
    order = np.random.default_rng(0).permutation(600)
    shuffled = noisy_labels([ids[i] for i in order], label[order], chances, 0.4, seed=1)
    assert (shuffled == large[order]).all()
    assert (noisy_labels(ids, label, chances, 0.4, seed=2) != large).any()


def test_new_classes_are_as_likely_as_the_confusions_say():
    n = 30000
    label, ids = np.repeat([0, 1, 2], n // 3), [f"u{i}" for i in range(n)]
    chances = np.array([[9, 3, 1], [0, 0, 0], [0, 1, 5]], dtype=float)  # a diagonal counts for nothing
    new = noisy_labels(ids, label, chances, 1, seed=0)
    assert (new != label).all()
    shares = [[float((new[label == a] == b).mean()) for b in range(3)] for a in range(3)]
    assert np.allclose(shares, [[0, 0.75, 0.25], [0.5, 0, 0.5], [0, 1, 0]], atol=0.02)  # none confused: each alike


def test_labels_votes_and_shares_change_and_what_the_raters_said_does_not(source, noisy):
    before, after = (load_split(folder, "slc-strict", "clear") for folder in (source, noisy))
    assert before.features == after.features
    assert all(before[c] == after[c] for c in before.column_names if c not in CHANGED)
    n_noisy = 0
    for old, new in zip(before, after, strict=True):
        a, b = old["label"], new["label"]
        assert new["reference_label"] == a and new["ratings"] == [] and old["ratings"]
        n_noisy += a != b
        order = list(range(4))
        order[a], order[b] = order[b], order[a]
        for column in ("votes", "soft_label"):
            assert new[column] == [old[column][i] for i in order]
        assert int(np.argmax(new["soft_label"])) == b and max(new["votes"]) == max(old["votes"])
    assert n_noisy == round(0.4 * len(before)) > 0


def test_all_other_splits_are_copied_bytes_and_all(source, noisy):
    splits = read_dataset_info(noisy)["configs"]["slc-strict"]["splits"]
    assert set(splits) == set(read_dataset_info(source)["configs"]["slc-strict"]["splits"])
    files = {path.name for path in (noisy / "slc-strict").iterdir()}
    assert files == {path.name for path in (source / "slc-strict").iterdir()}
    for name in files:
        same = (noisy / "slc-strict" / name).read_bytes() == (source / "slc-strict" / name).read_bytes()
        assert same != name.startswith("clear-")
    assert [path.name for path in noisy.iterdir() if path.is_dir()] == ["slc-strict"]  # no other config


def test_report_and_card_say_how_many_of_which_class_became_which(source, noisy):
    info, clean = read_dataset_info(noisy), read_dataset_info(source)
    rows = load_split(noisy, "slc-strict", "clear")
    names = info["classes"]
    pairs = Counter(
        (names[a], names[b]) for a, b in zip(rows["reference_label"], rows["label"], strict=True) if a != b
    )
    counts = info[LABEL_NOISE]["counts"]["clear"]
    assert {(a, b): n for a, row in counts["from_to"].items() for b, n in row.items()} == pairs
    assert counts == info["replaced_labels"]["counts"]["clear"]  # the keys of stored files stay
    assert counts["replaced"] == sum(pairs.values()) and counts["labels"] == len(rows)
    per_class = info["configs"]["slc-strict"]["splits"]["clear"]["per_class"]
    assert per_class == {name: rows["label"].count(i) for i, name in enumerate(names)}
    assert info["content"] != clean["content"] == info[LABEL_NOISE]["source_content"]
    assert info["configs"]["slc-strict"]["fingerprint"] == clean["configs"]["slc-strict"]["fingerprint"]
    told = describe_label_noise(info[LABEL_NOISE])
    (a, b), n = pairs.most_common(1)[0]
    assert (
        f"{counts['replaced']} of the {counts['labels']} of clear (40%, seed 0)" in told and f"{a} to {b} {n}" in told
    )
    card = (noisy / "README.md").read_text()
    assert told in card and told in dataset_publication(noisy).card("me/noisy", "v1").sections["summary"]
    assert LABEL_NOISE not in clean and "on purpose" not in (source / "README.md").read_text()


def test_the_same_command_keeps_what_is_there_and_another_one_is_refused(source, noisy, tmp_path, capsys):
    arguments = ["--dataset", str(source), "--how", "confusion", "--share", "0.4", "--no-progress", "--out"]
    before = (noisy / "README.md").stat().st_mtime_ns
    assert main([*arguments, str(noisy)]) == 0 and "(was there)" in capsys.readouterr().out
    assert main([*arguments, str(noisy), "--seed", "1"]) == 2
    assert re.fullmatch(r"add_label_noise.py: .*\(seed differ\).*\n", capsys.readouterr().err)
    assert main([*arguments, str(source)]) == 2 and "labels are the raters'" in capsys.readouterr().err
    assert (noisy / "README.md").stat().st_mtime_ns == before
    again = made(source, tmp_path / "again", how="confusion")
    assert read_dataset_info(again) == read_dataset_info(noisy)  # the content digest is in it


def test_a_run_that_is_killed_leaves_nothing_that_looks_whole(source, tmp_path, monkeypatch):
    from hf_ambiser.data import label_noise

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(label_noise, "content_digest", killed)
    with pytest.raises(KeyboardInterrupt):
        made(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert read_dataset_info(made(source, tmp_path / "out"))[LABEL_NOISE]["how"] == "uniform"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"how": "random"}, "how='random' is not one of"),
        ({"share": 1.5}, "share=1.5 must be above 0"),
        ({"share": 1e-4}, "rounds to none"),
        ({"splits": ()}, "splits is empty"),
        ({"splits": ("d1",)}, "has no split 'd1'; it has"),
        ({"splits": ("test_clear",)}, "split 'test' repeats utterances of 'test_clear'"),
        ({"config": "ipr-strict", "splits": ("d2",)}, "the labels of 'd2' are hidden"),
        ({"config": "slc-paper-kfold3-0"}, "is a fold, and folds share their files"),
        ({"config": "slc-paper"}, "has no config 'slc-paper'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(source, tmp_path, changes, words):
    with pytest.raises(ValueError, match=words) as error:
        made(source, tmp_path / "out", **changes)
    assert "\n" not in str(error.value) and not any(tmp_path.iterdir())


def test_noisy_labels_and_modelled_ones_are_no_source(noisy, tmp_path):
    with pytest.raises(ValueError, match="has noisy labels already"):
        made(noisy, tmp_path / "out")
    info = read_dataset_info(noisy)
    del info[LABEL_NOISE]
    info["policy"]["aggregation"] = "mace"
    (tmp_path / "modelled").mkdir()
    (tmp_path / "modelled" / "build_report.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="labels are by mace"):
        made(tmp_path / "modelled", tmp_path / "out")
