"""What the trainer reads of a built split, and the batches that come of it."""

import io
import logging

import numpy as np
import pytest
import soundfile
import torch
from datasets import concatenate_datasets
from helpers.made_data import CLASSES, extractor, made_split, tiny_model

from hf_ambiser.data.audio import decode
from hf_ambiser.training.augment import Augmenter
from hf_ambiser.training.collator import AMBIGUOUS, AUGMENTED, LABELLED, Example, UtteranceCollator
from hf_ambiser.training.dataset import EvaluationSet, TrainingSet, describe
from hf_ambiser.training.sampler import StepKey
from hf_ambiser.training.utterance_store import UtteranceStore


A = made_split(9, 0, name="a")
B = made_split(6, 1, labelled=False, name="b")
REFERENCE = ["reference_votes", "reference_soft_label", "reference_label", "true_distribution"]
READ_OF_LABELLED = ["id", "audio", "duration", "label", "soft_label"]
READ_OF_AMBIGUOUS = ["id", "audio", "duration"]


def wave(split, i: int) -> np.ndarray:
    return decode(split[i]["audio"]["bytes"])


def with_columns(split, **columns):
    features = split.features
    for name, values in columns.items():
        split = split.remove_columns(name).add_column(name, values, feature=features[name])
    return split


def same(x: list[Example], y: list[Example]) -> bool:
    return len(x) == len(y) and all(
        (a.index, a.role) == (b.index, b.role) and np.array_equal(a.waveform, b.waveform)
        for a, b in zip(x, y, strict=True)
    )


# ---- rows and roles ------------------------------------------------------------------------------------------------


def test_a_key_gives_its_labelled_clip_and_the_ambiguous_ones_each_with_its_copy():
    data = TrainingSet(A, B, augment=Augmenter(), seed=5)
    assert (len(data), data.n_labelled, data.n_ambiguous) == (9, 9, 6)
    assert data.ids == [*A["id"], *B["id"]]
    clips = data[StepKey(3, 4, (2, 0))]
    # Rows of the label table: labelled first, ambiguous after them.
    assert [(c.index, c.role) for c in clips] == [
        (4, LABELLED),
        (9 + 2, AMBIGUOUS),
        (9 + 2, AUGMENTED),
        (9 + 0, AMBIGUOUS),
        (9 + 0, AUGMENTED),
    ]
    np.testing.assert_array_equal(clips[0].waveform, wave(A, 4))
    np.testing.assert_array_equal(clips[1].waveform, wave(B, 2))
    np.testing.assert_array_equal(clips[3].waveform, wave(B, 0))
    for clean, copy in ((clips[1], clips[2]), (clips[3], clips[4])):
        assert len(copy.waveform) == len(clean.waveform) and not np.array_equal(copy.waveform, clean.waveform)
    np.testing.assert_array_equal(clips[2].waveform, Augmenter()(wave(B, 2), seed=5, epoch=3, key="b002"))


def test_a_copy_depends_on_seed_epoch_and_utterance_only():
    data = TrainingSet(A, B, augment=Augmenter(), seed=5)
    copy = data[StepKey(1, 0, (3,))][2].waveform
    data[StepKey(1, 5, (1, 2))]
    np.testing.assert_array_equal(data[StepKey(1, 8, (0, 3))][4].waveform, copy)
    longer = TrainingSet(A.select(range(2)), B.select([3, 1]), augment=Augmenter(), seed=5)
    np.testing.assert_array_equal(longer[StepKey(1, 1, (0,))][2].waveform, copy)
    assert not np.array_equal(data[StepKey(2, 0, (3,))][2].waveform, copy)
    other_seed = TrainingSet(A, B, augment=Augmenter(), seed=6)
    assert not np.array_equal(other_seed[StepKey(1, 0, (3,))][2].waveform, copy)


def test_without_augmentation_there_are_no_copies_and_without_a_split_no_ambiguous_clips():
    assert [c.role for c in TrainingSet(A, B)[StepKey(0, 1, (0, 1))]] == [LABELLED, AMBIGUOUS, AMBIGUOUS]
    alone = TrainingSet(A)
    assert [c.role for c in alone[StepKey(0, 1, ())]] == [LABELLED]
    assert (alone.n_ambiguous, len(alone.ids), alone.ambiguous_durations.shape) == (0, 9, (0,))


# ---- what is learnt from -------------------------------------------------------------------------------------------


def test_targets():
    hard, soft = TrainingSet(A, B), TrainingSet(A, B, target="soft_label")
    for i, row in enumerate(A):
        assert hard.observed[i].tolist() == [float(c == row["label"]) for c in range(4)]
        np.testing.assert_allclose(soft.observed[i], row["soft_label"])
    for data in (hard, soft):
        assert data.observed.shape == (15, 4) and not data.observed[9:].any()
        assert data.left_out == []


@pytest.mark.parametrize("target", ["label", "soft_label"])
def test_no_column_with_the_raters_answer_is_read(target):
    full = TrainingSet(A, B, target=target, augment=Augmenter())
    bare = TrainingSet(
        A.select_columns(READ_OF_LABELLED), B.select_columns(READ_OF_AMBIGUOUS), target=target, augment=Augmenter()
    )
    assert bare.ids == full.ids
    np.testing.assert_array_equal(bare.observed, full.observed)
    key = StepKey(0, 3, (5, 1))
    assert same(bare[key], full[key])


def test_a_revealed_or_wrong_answer_in_the_ambiguous_split_changes_nothing():
    told = with_columns(B, label=[2] * 6, soft_label=[[0, 0, 1.0, 0]] * 6, reference_label=[1] * 6)
    a, b = TrainingSet(A, B), TrainingSet(A, told)
    np.testing.assert_array_equal(a.observed, b.observed)
    assert same(a[StepKey(0, 0, (0, 5))], b[StepKey(0, 0, (0, 5))])


def test_what_has_no_target_is_left_out_counted_and_listed(caplog):
    label, soft = list(A["label"]), [list(row) for row in A["soft_label"]]
    label[1] = label[4] = -1  # no consensus
    soft[4] = [0.0] * 4  # and no vote either
    split = with_columns(A, label=label, soft_label=soft)
    with caplog.at_level(logging.INFO):
        hard = TrainingSet(split, B)
    assert "2 labelled utterances have no label" in caplog.text
    assert hard.left_out == ["a001", "a004"] and hard.n_labelled == 7
    assert hard.ids[:7] == ["a000", "a002", "a003", "a005", "a006", "a007", "a008"]
    soft_set = TrainingSet(split, B, target="soft_label")
    assert soft_set.left_out == ["a004"] and soft_set.n_labelled == 8
    for data in (hard, soft_set):
        # Rows, durations and audio still belong together.
        for row in range(data.n_labelled):
            i = int(data.ids[row][1:])
            np.testing.assert_array_equal(data[StepKey(0, row, ())][0].waveform, wave(A, i))
            assert data.labelled_durations[row] == pytest.approx(A[i]["duration"])
        clip = data[StepKey(0, 0, (2,))][1]
        assert data.ids[clip.index] == "b002"
        assert data.observed[: data.n_labelled].sum(axis=1) == pytest.approx(np.ones(data.n_labelled))
    assert describe(hard) == {
        "labelled": 7,
        "ambiguous": 6,
        "left_out_without_target": 2,
        "left_out_ids": ["a001", "a004"],
        "cut_at_max_seconds": 0,
    }


def test_a_wrong_target_is_refused():
    with pytest.raises(ValueError, match=r"target='votes' is not one of \['label', 'soft_label'\]"):
        TrainingSet(A, target="votes")


def test_splits_put_together_are_read_like_one():
    joined = TrainingSet(concatenate_datasets([A, made_split(3, 4, name="c")]), B)
    assert joined.n_labelled == 12 and joined.ids[9:12] == ["c000", "c001", "c002"]
    np.testing.assert_array_equal(joined[StepKey(0, 10, ())][0].waveform, wave(made_split(3, 4, name="c"), 1))


# ---- the store -----------------------------------------------------------------------------------------------------


def test_cached_clips_are_the_decoded_ones():
    total = sum(wave(A, i).nbytes for i in range(9))
    stores = [UtteranceStore(A, cache_gb=gb) for gb in (1.0, 0.0, total / 2 / 1e9)]
    for _ in range(3):
        for i in range(9):
            for store in stores:
                np.testing.assert_array_equal(store[i], wave(A, i))
    everything, nothing, half = (len(store._cache) for store in stores)
    assert (everything, nothing) == (9, 0) and 0 < half < 9
    assert sum(w.nbytes for w in stores[2]._cache.values()) <= total / 2


def test_augmentation_does_not_change_a_cached_clip():
    for kind in ("mixed", "gain", "noise", "reverberation", "pitch"):
        data = TrainingSet(A, B, augment=Augmenter({"kind": kind}))
        for epoch in range(3):
            assert data[StepKey(epoch, 0, (1,))][2].role == AUGMENTED
        np.testing.assert_array_equal(data[StepKey(0, 0, (1,))][1].waveform, wave(B, 1))


def test_longer_clips_are_cut_and_counted():
    limit = 0.4
    data = TrainingSet(A, B, max_seconds=limit, augment=Augmenter())
    longer = 0
    for split, row in ((A, lambda i: data[StepKey(0, i, ())][0]), (B, lambda i: data[StepKey(0, 0, (i,))][1])):
        for i in range(len(split)):
            whole = wave(split, i)
            np.testing.assert_array_equal(row(i).waveform, whole[:6400])
            longer += len(whole) > 6400
    assert 0 < longer < 15 and data.n_cut == longer == describe(data)["cut_at_max_seconds"]
    assert len(data[StepKey(0, 0, (0,))][2].waveform) == min(6400, len(wave(B, 0)))  # the copy is of the cut clip
    assert TrainingSet(A, B).n_cut == 0


@pytest.mark.parametrize("samples", [17600, 36800, 9120, 4640])
def test_a_clip_of_exactly_the_limit_is_neither_cut_nor_counted(samples):
    # 1.1 s is stored as float32, which is a little more than 1.1; 2.3 s a little less.
    stream = io.BytesIO()
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, samples).astype(np.float32)
    soundfile.write(stream, sound, 16000, format="FLAC", subtype="PCM_16")
    split = with_columns(A.select([0]), audio=[{"bytes": stream.getvalue(), "path": "x"}], duration=[samples / 16000])
    store = UtteranceStore(split, max_seconds=samples / 16000)
    assert len(store[0]) == samples and store.n_cut == 0
    shorter = UtteranceStore(split, max_seconds=(samples - 16) / 16000)
    assert len(shorter[0]) == samples - 16 and shorter.n_cut == 1


def test_the_memory_of_what_was_cut_away_is_given_back():
    store = UtteranceStore(A, max_seconds=0.1)
    cut = store[0]
    assert len(cut) == 1600
    assert cut.base is None or cut.base.nbytes == cut.nbytes


# ---- scoring -------------------------------------------------------------------------------------------------------


def test_clips_are_scored_against_the_raters_answer_also_where_labels_are_hidden():
    data = EvaluationSet(B)
    assert data.ids == [f"b{i:03d}" for i in range(6)] and list(data.speakers) == [row["speaker"] for row in B]
    for i, row in enumerate(B):
        (clip,) = data[i]
        assert (clip.index, clip.role, clip.consensus) == (i, LABELLED, row["reference_label"])
        assert clip.votes.tolist() == row["reference_votes"]
        np.testing.assert_array_equal(clip.waveform, wave(B, i))
    assert data.votes.sum() == 30 and data.durations == pytest.approx(B["duration"])
    assert len(EvaluationSet(B, max_seconds=0.1)[3][0].waveform) == 1600


# ---- segments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.1, 0.25, 10.0])
def test_segments_are_the_clip_cut_from_its_start(seconds):
    store, size = UtteranceStore(A, segment_seconds=seconds), round(seconds * 16000)
    assert len(store) == sum(-(-len(wave(A, i)) // size) for i in range(len(A)))
    for i in range(len(A)):
        pieces = [store[j] for j in np.flatnonzero(store.utterance == i)]
        np.testing.assert_array_equal(np.concatenate(pieces), wave(A, i))
        assert all(len(piece) == size for piece in pieces[:-1]) and 0 < len(pieces[-1]) <= size
    np.testing.assert_allclose(store.durations, [len(store[j]) / 16000 for j in range(len(store))], atol=1e-6)


@pytest.mark.parametrize(("samples", "n"), [(1599, 1), (1600, 1), (1601, 2), (3200, 2), (17600, 11)])
def test_a_clip_of_whole_segments_has_no_empty_one(samples, n):
    stream = io.BytesIO()
    soundfile.write(stream, np.full(samples, 0.1, np.float32), 16000, format="FLAC", subtype="PCM_16")
    split = with_columns(A.select([0]), audio=[{"bytes": stream.getvalue(), "path": "x"}], duration=[samples / 16000])
    assert len(UtteranceStore(split, segment_seconds=0.1)) == n


def test_a_clip_is_cut_at_its_limit_before_it_is_cut_into_segments():
    store = UtteranceStore(A, max_seconds=0.3, segment_seconds=0.2)
    assert store.n_cut == sum(len(wave(A, i)) > 4800 for i in range(len(A)))
    for i in range(len(A)):
        pieces = [store[j] for j in np.flatnonzero(store.utterance == i)]
        np.testing.assert_array_equal(np.concatenate(pieces), wave(A, i)[:4800])


def test_each_segment_is_a_row_with_its_utterances_target():
    data = TrainingSet(A, made_split(6, 1, name="b"), ambiguous_target="soft_label", segment_seconds=0.25)
    whole = TrainingSet(A, made_split(6, 1, name="b"), ambiguous_target="soft_label")
    target = dict(zip(whole.ids, whole.observed.tolist(), strict=True))
    assert len(set(data.ids)) == len(data.ids) == len(data.observed) == data.n_labelled + data.n_ambiguous
    assert {name.partition("#")[0] for name in data.ids} == set(whole.ids) and "a000#1" in data.ids
    assert [target[name.partition("#")[0]] for name in data.ids] == data.observed.tolist()
    assert describe(data)["utterances_before_cutting"] == 15 and "utterances_before_cutting" not in describe(whole)
    clip = data[StepKey(0, data.ids.index("a003#1"), ())][0]
    np.testing.assert_array_equal(clip.waveform, wave(A, 3)[4000:8000])


def test_a_row_is_given_by_itself_and_its_ratings_where_they_are_learnt_from():
    data = TrainingSet(A, B, target="soft_label", segment_seconds=0.25)
    rows = [data.row(i) for i in range(len(data.ids))]
    assert [row.index for row in rows] == list(range(len(data.ids))) and len(rows) > 15
    assert [row.role for row in rows] == [LABELLED] * data.n_labelled + [AMBIGUOUS] * data.n_ambiguous
    assert all(np.array_equal(row.waveform, one) for row, one in zip(rows, data.waveforms(), strict=True))
    by_name = {row["id"]: row["ratings"] for row in A}
    assert data.ratings == [by_name.get(name.split("#")[0], []) for name in data.ids]
    assert all(len(ratings) == 5 for ratings in data.ratings[: data.n_labelled])
    assert TrainingSet(A, B).ratings == [[]] * 15, "consensus labels are learnt from, and no rating"


def test_segments_are_scored_each_with_its_clips_answer():
    data, whole = EvaluationSet(B, segment_seconds=0.2), EvaluationSet(B)
    row = [whole.ids.index(name.partition("#")[0]) for name in data.ids]
    np.testing.assert_array_equal(data.votes, whole.votes[row])
    np.testing.assert_array_equal(data.consensus, whole.consensus[row])
    np.testing.assert_array_equal(data.agreement, whole.agreement[row])
    assert [data.speakers[i] for i in range(len(data))] == [whole.speakers[i] for i in row]


def test_votes_of_ambiguous_utterances_are_read_where_a_method_says_so_and_the_voteless_listed():
    split = made_split(6, 1, name="b")
    votes = split["soft_label"]
    split = with_columns(split, soft_label=[[0.0] * 4 if i == 2 else v for i, v in enumerate(votes)])
    data = TrainingSet(A, split, ambiguous_target="soft_label")
    assert data.left_out == ["b002"] and data.n_ambiguous == 5
    kept = [v for i, v in enumerate(votes) if i != 2]
    np.testing.assert_allclose(data.observed[data.n_labelled :], kept, atol=1e-6)
    assert TrainingSet(A, split).observed[9:].sum() == 0


# ---- batches -------------------------------------------------------------------------------------------------------


def test_a_batch_holds_labelled_then_ambiguous_then_augmented_rows_padded_at_the_end():
    data = TrainingSet(A, B, augment=Augmenter())
    collate = UtteranceCollator(extractor(tiny_model()))
    items = [data[StepKey(0, 7, (4, 1))], data[StepKey(0, 2, ())], data[StepKey(0, 5, (3,))]]
    batch = collate(items)
    assert set(batch) == {"input_values", "attention_mask", "index", "role"}
    assert batch["role"].tolist() == [LABELLED] * 3 + [AMBIGUOUS] * 3 + [AUGMENTED] * 3
    assert batch["index"].tolist() == [7, 2, 5, 13, 10, 12, 13, 10, 12]  # copies in the order of their originals
    assert batch["input_values"].dtype == torch.float32 and batch["attention_mask"].dtype == torch.int64
    clips = [clip for item in items for clip in item]
    for row, index, role in zip(range(9), batch["index"].tolist(), batch["role"].tolist(), strict=True):
        clip = next(c for c in clips if (c.index, c.role) == (index, role))
        n = len(clip.waveform)
        np.testing.assert_array_equal(batch["input_values"][row, :n].numpy(), clip.waveform)
        assert not batch["input_values"][row, n:].any()
        assert batch["attention_mask"][row].tolist() == [1] * n + [0] * (batch["input_values"].shape[1] - n)
    assert batch["attention_mask"][:, -1].any()  # padded to the longest and no further


def test_a_batch_to_be_scored_has_votes_and_consensus():
    data = EvaluationSet(A)
    batch = UtteranceCollator(extractor(tiny_model()))([data[3], data[0]])
    assert batch["votes"].tolist() == [A[3]["reference_votes"], A[0]["reference_votes"]]
    assert batch["consensus"].tolist() == [A[3]["label"], A[0]["label"]] and batch["votes"].dtype == torch.float32
    assert batch["votes"].shape == (2, len(CLASSES))
