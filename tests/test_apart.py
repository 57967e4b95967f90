"""Sides that are held apart in sentences and the like, and what the audit counts on two sides, against plain loops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hf_ambiser.data.overlap.audit import shared
from hf_ambiser.data.splits import APART, SplitError, SplitInput, SplitOptions, make_split
from hf_ambiser.data.splits.apart import side_of


CONFIGS = ("ipr-strict", "slc-strict", "slc-paper", "kfold4-strict-1", "loso-paper-s3", "ipr-paper")
OPEN = SplitOptions(min_per_class=0)


def made(n: int = 400, sentences: int = 40, unknown: float = 0.1) -> SplitInput:
    """Speakers of one session each, and sentences of which few speakers say each, so that some stand on two sides."""
    draw = np.random.default_rng(0)
    votes = draw.multinomial(5, [0.5, 0.3, 0.2], n).astype(float)
    top = votes.max(axis=1)
    label = np.where((votes == top[:, None]).sum(axis=1) == 1, votes.argmax(axis=1), -1)
    speaker = draw.integers(8, size=n)
    sentence = np.where(draw.random(n) < 0.9, speaker * 5 + draw.integers(5, size=n), draw.integers(sentences, size=n))
    said = np.where(draw.random(n) < unknown, "", np.char.add("t", sentence.astype(str)))
    people = np.char.add("s", speaker.astype(str))
    share = votes / 5
    bits = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)
    columns = {"speaker": people, "sentence": said, "session": np.char.add("g", (speaker // 2).astype(str))}
    ids = np.array([f"u{i:03d}" for i in range(n)])
    kept = label >= 0
    return SplitInput(ids, people, people, label, top / 5, bits, votes, kept, ("a", "b", "c"), columns)


@pytest.mark.parametrize("config", CONFIGS)
def test_what_is_left_out_is_what_a_loop_leaves_out(config):
    data = made()
    before = make_split(data, config, OPEN)
    after = make_split(data, config, dataclasses.replace(OPEN, disjoint=("sentence",)))
    said = data.columns["sentence"].tolist()
    held_out = {said[i] for i, name in enumerate(before.assignment) if name and side_of(name) != "train"} - {""}
    gone = 0
    for i, (was, is_now) in enumerate(zip(before.assignment, after.assignment, strict=True)):
        leaves = bool(was) and side_of(was) == "train" and said[i] in held_out
        gone += leaves
        assert is_now == ("" if leaves else was)
        assert after.left_out.get(i) == ((was, "sentence") if leaves else None)
    assert 0 < gone < 200 and f"{gone} for their sentence" in after.description
    for side in shared(data.columns["sentence"], after).values():
        assert side["shared"] == side["utterances"] == 0 < side["values"]
    assert after.fingerprint != before.fingerprint and after.options["disjoint"] == ["sentence"]
    assert "disjoint" not in before.options and not before.left_out


def test_a_share_of_the_values_is_held_out_where_all_stand_on_both_sides():
    data = made()
    twelve = np.array([f"t{i % 12}" for i in range(len(data.id))])
    data = dataclasses.replace(data, columns={**data.columns, "sentence": twelve})
    with pytest.raises(SplitError, match=r"nothing of the \d+ utterances of 'ambiguous'.*--disjoint sentence=0.25"):
        make_split(data, "slc-strict", SplitOptions(disjoint=("sentence",)))
    before = make_split(data, "slc-strict")
    after = make_split(data, "slc-strict", SplitOptions(disjoint=("speaker", "sentence=0.25")))
    on = {"train": set(), "validation": set(), "test": set()}
    for name, sentence in zip(after.assignment.tolist(), twelve.tolist(), strict=True):
        if name:
            on[side_of(name)].add(sentence)
    assert len(on["train"]) == 9 and len(on["test"]) == 3 and on["validation"] == on["test"]
    assert not on["train"] & on["test"]
    for i, (was, is_now) in enumerate(zip(before.assignment, after.assignment, strict=True)):
        own = on["train"] if side_of(was) == "train" else on["test"]
        assert is_now == (was if twelve[i] in own else "")
    other = make_split(data, "slc-strict", SplitOptions(seed=1, disjoint=("sentence=0.25",)))
    assert set(twelve[[n.startswith("test") for n in other.assignment]]) != on["test"]


def test_the_order_of_the_utterances_changes_nothing():
    data, options = made(), SplitOptions(disjoint=("sentence=0.4", "session"))
    order = np.random.default_rng(1).permutation(len(data.id))
    arrays = {f.name: getattr(data, f.name) for f in dataclasses.fields(data) if f.name not in ("classes", "columns")}
    columns = {name: values[order] for name, values in data.columns.items()}
    other = SplitInput(**{name: v[order] for name, v in arrays.items()}, classes=data.classes, columns=columns)
    turned = dataclasses.replace(options, disjoint=options.disjoint[::-1])
    assert np.array_equal(*(make_split(data, "kfold4-paper-0", o).assignment for o in (options, turned)))
    one, two = (make_split(of, "kfold4-paper-0", options) for of in (data, other))
    assert one.fingerprint == two.fingerprint
    assert one.assignment[order].tolist() == two.assignment.tolist() and len(one.left_out) == len(two.left_out)


def test_the_counts_of_the_audit_are_those_of_a_loop():
    data = made()
    for config in CONFIGS:
        split = make_split(data, config, OPEN)
        for values in data.columns.values():
            train = [v for v, s in zip(values, split.assignment, strict=True) if s and v and side_of(s) == "train"]
            for side, counts in shared(values, split).items():
                there = {v for v, s in zip(values, split.assignment, strict=True) if s and v and side_of(s) == side}
                both = there & set(train)
                found = [len(there), len(both), sum(v in both for v in train)]
                assert [counts[name] for name in ("values", "shared", "utterances")] == found
    assert shared(data.columns["speaker"], make_split(data, "slc-strict"))["test"]["shared"] == 0
    assert shared(data.columns["speaker"], make_split(data, "ipr-paper", OPEN))["test"]["shared"] > 0


@pytest.mark.parametrize(
    ("disjoint", "error"),
    [
        (("voice",), r"disjoint='voice': what can be held apart is one of \['speaker'"),
        (("sentence=2",), "a number between 0 and 1"),
        (("sentence=some",), "a number between 0 and 1"),
        (("sentence", "sentence=0.5"), "names 'sentence' more than once"),
        ("sentence", "must be a list of names"),
        (("dialogue",), r"disjoint='dialogue': of this corpus it is not known.*\['sentence', 'session', 'speaker'\]"),
        (("speaker",), "nothing of the"),
    ],
)
def test_what_cannot_be_held_apart_is_refused(disjoint, error):
    with pytest.raises(ValueError, match=error):
        make_split(made(), "ipr-paper", SplitOptions(min_per_class=0, disjoint=disjoint))
    assert set(made().columns) < set(APART)


def test_prototypes_are_checked_after_utterances_were_left_out():
    data = made(unknown=0)
    options = SplitOptions(min_per_class=0, d1_quota="per_class")
    found = make_split(data, "ipr-strict", options)
    fewest = int(np.bincount(data.label[found.rows("d1")], minlength=3).min())
    enough = dataclasses.replace(options, min_per_class=fewest)
    assert fewest > 3 and make_split(data, "ipr-strict", enough).rows("d1").tolist() == found.rows("d1").tolist()
    with pytest.raises(SplitError, match="D1 holds fewer than min_per_class"):
        make_split(data, "ipr-strict", dataclasses.replace(enough, disjoint=("sentence=0.6",)))


@pytest.mark.parametrize("quota", ["agreement", "per_class"])
def test_too_few_for_prototypes_advises_only_what_is_not_given(quota):
    data = made(unknown=0)
    options = SplitOptions(min_per_class=1000, d1_quota=quota)
    with pytest.raises(SplitError, match="D1 holds fewer than min_per_class=1000") as caught:
        make_split(data, "ipr-strict", options)
    text = str(caught.value)
    assert ("--d1-quota" in text) == (quota == "agreement") and "crema" not in text
    _, advised, after = text.partition("--min-per-class ")
    assert bool(advised) == (" 0" not in text.partition(" are: ")[2].partition(". ")[0])  # no class without one
    if advised:
        enough = dataclasses.replace(options, min_per_class=int(after.partition(")")[0]))
        assert make_split(data, "ipr-strict", enough).rows("d1").size
