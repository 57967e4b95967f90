"""Labelled utterances that are changed anew in each epoch: what is heard, what is not changed, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import made_data
from helpers.suite_checks import check_resume
from helpers.suite_methods import METHODS
from helpers.tiny_encoders import ENCODERS

from hf_ambiser.methods import load_method
from hf_ambiser.models import BLSTMConfig, PrototypeConfig, load_family
from hf_ambiser.training.augment import Augmenter
from hf_ambiser.training.augmented_copies import AugmentedCopies
from hf_ambiser.training.collator import AUGMENTED, LABELLED
from hf_ambiser.training.dataset import TrainingSet, describe
from hf_ambiser.training.sampler import StepKey


SPEED = {"kind": "speed", "speed": [0.5, 2.0]}
A = made_data.made_split(9, 0, name="a")
B = made_data.made_split(6, 1, labelled=False, name="b")
PLAIN = TrainingSet(A)


def heard(data, epoch, i):
    (row,) = [row for row in data[StepKey(epoch, i, ())] if row.role == LABELLED]
    assert row.index == i
    return row.waveform


def trainer(method, folder, model=None, split=A, **arguments):
    trainer_class = load_method(method)
    args = trainer_class.arguments_class(
        output_dir=str(folder), use_cpu=True, save_strategy="no", disable_tqdm=True,
        **{**trainer_class.suite_settings, "num_train_epochs": 50, **arguments},
    )  # fmt: skip
    ambiguous = made_data.made_split(6, 1, labelled=trainer_class.ambiguous_target is not None, name="b")
    model = made_data.tiny_model(family=trainer_class.model_family) if model is None else model
    return trainer_class(model, args, split, ambiguous_dataset=ambiguous if trainer_class.needs_ambiguous else None)


def test_an_utterance_is_changed_by_seed_epoch_and_id_alone():
    data = TrainingSet(A, labelled_augment=Augmenter(SPEED), seed=5)
    for epoch, i in ((0, 0), (3, 0), (3, 7)):
        expected = Augmenter(SPEED)(heard(PLAIN, 0, i), seed=5, epoch=epoch, key=A["id"][i])
        np.testing.assert_array_equal(heard(data, epoch, i), expected)
    fewer = TrainingSet(A.select([7, 2]), labelled_augment=Augmenter(SPEED), seed=5)
    np.testing.assert_array_equal(heard(fewer, 3, 0), heard(data, 3, 7))


def test_what_reads_utterances_outside_of_a_step_hears_them_as_they_are():
    """Statistics of features, loops over the label table: they stand for the corpus, not for an epoch."""
    data = TrainingSet(A, labelled_augment=Augmenter(SPEED))
    for i, (waveform, example) in enumerate(zip(data.waveforms(), data.inputs(), strict=True)):
        for got in (waveform, example.waveform, data.row(i).waveform):
            np.testing.assert_array_equal(got, heard(PLAIN, 0, i))


def test_ambiguous_utterances_and_their_copies_are_as_without_it():
    changed = TrainingSet(A, B, augment=Augmenter(), labelled_augment=Augmenter(SPEED))
    plain = TrainingSet(A, B, augment=Augmenter())
    rows, expected = changed[StepKey(2, 1, (4, 0))], plain[StepKey(2, 1, (4, 0))]
    assert [row.role for row in rows].count(AUGMENTED) == 2
    for got, want in zip(rows, expected, strict=True):
        same = np.array_equal(got.waveform, want.waveform)
        assert same == (got.role != LABELLED)


@pytest.mark.parametrize("limit", [{"max_seconds": 0.4}, {"segment_seconds": 0.25}])
def test_what_became_longer_is_cut_at_the_limit(limit):
    data = TrainingSet(A, labelled_augment=Augmenter({"kind": "speed", "speed": [0.5, 0.5]}), **limit)
    plain, longest = TrainingSet(A, **limit), round(16000 * next(iter(limit.values())))
    for i in range(len(data)):
        assert len(heard(data, 0, i)) == min(2 * len(heard(plain, 0, i)), longest)


@pytest.mark.parametrize("method", METHODS)
def test_the_argument_acts_with_every_method(method, tmp_path):
    data = trainer(method, tmp_path, labelled_augmentation=SPEED, seed=3).data
    (row,) = [row for row in data[StepKey(1, 4, ())] if row.role == LABELLED]
    whole = data.row(4).waveform
    assert len(row.waveform) == Augmenter(SPEED).samples(len(whole), 3, 1, data.ids[4]) != len(whole)


def test_a_training_set_that_was_made_before_must_say_the_same(tmp_path):
    trainer_class, model = load_method("soft_vote"), made_data.tiny_model()

    def made(data, given):
        args = trainer_class.arguments_class(
            output_dir=str(tmp_path), use_cpu=True, save_strategy="no", disable_tqdm=True, labelled_augmentation=given
        )
        return trainer_class(model, args, data, feature_extractor=made_data.extractor(model))

    changed = TrainingSet(A, target="soft_label", labelled_augment=Augmenter(SPEED))
    assert made(changed, SPEED).data is changed
    for data, given in ((TrainingSet(A, target="soft_label"), SPEED), (changed, None), (changed, {})):
        with pytest.raises(ValueError, match="labelled_augmentation=.*made before.*Give the trainer the split"):
            made(data, given)


def test_an_empty_mapping_is_the_mixture_of_the_defaults(tmp_path):
    data = trainer("soft_vote", tmp_path, labelled_augmentation="{}").data
    expected = Augmenter()(heard(PLAIN, 0, 2), seed=data._changed._seed, epoch=1, key="a002")
    np.testing.assert_array_equal(heard(data, 1, 2), expected)


def test_a_feature_extractor_makes_frames_of_what_is_heard(tmp_path):
    """Frames that are computed once cannot change, so every epoch computes them from waveforms."""
    model = load_family("blstm")(BLSTMConfig(input="acoustic32", num_labels=len(made_data.CLASSES)))
    made = trainer("meta", tmp_path, model, labelled_augmentation=SPEED)
    first, second = (heard(made.data, epoch, 1) for epoch in (0, 1))
    assert first.ndim == 1 and len(first) != len(second)
    batch = made.data_collator([made.data[StepKey(0, 1, ())]])
    assert batch[model.main_input_name].shape[::2] == (1, 32)
    plain = trainer("meta", tmp_path, model)
    assert plain.data.row(1).waveform.ndim == 2, "without it they are computed once"
    with_frames = A.add_column("frames", plain.data._labelled._stored["frames"])
    assert trainer("meta", tmp_path, model, with_frames, labelled_augmentation=SPEED).data.row(1).waveform.ndim == 1
    assert made.evaluation_set(A)[0][0].waveform.ndim == 2, "what is only scored is not changed"


def test_epochs_take_turns_with_cached_copies_of_a_frozen_encoder(tmp_path):
    def model():
        torch.manual_seed(0)
        made = load_family("prototype")(PrototypeConfig(ENCODERS["whisper"], num_labels=len(made_data.CLASSES)))
        made.freeze_encoder()
        return made

    given = {"feature_cache": str(tmp_path / "cache"), "labelled_augmentation": SPEED, "cached_copies": 2}
    data = trainer("soft_vote", tmp_path, model(), **given, seed=1).data
    copies = [data[StepKey(epoch, 3, ())][0].encoded for epoch in range(4)]
    assert len(copies[0]) == len(copies[1]) and copies[0].shape[1] != copies[1].shape[1], "of other speeds"
    assert np.array_equal(copies[0], copies[2]) and np.array_equal(copies[1], copies[3])
    encode = model().eval()
    for epoch in (0, 1):
        waveform = Augmenter(SPEED)(heard(PLAIN, 0, 3), seed=0, epoch=(1 + epoch) % 2, key="a003")
        batch = made_data.extractor(encode)(waveform, sampling_rate=16000, return_tensors="pt")
        frames, lengths = encode.encoder_frames(batch["input_values"], batch["attention_mask"])
        np.testing.assert_allclose(copies[epoch], frames[0, :, : int(lengths[0])].detach(), atol=1e-5)
    assert describe(data)["labelled_copies"] == 2 and "augmented_copies" not in describe(data)


@pytest.mark.parametrize("frozen", [False, True])
def test_stopped_and_resumed_is_bit_equal(frozen, tmp_path, monkeypatch):
    heard = []
    changed = AugmentedCopies._waveform
    monkeypatch.setattr(AugmentedCopies, "_waveform", lambda *args: heard.append(args) or changed(*args))
    given = {"labelled_augmentation": SPEED}
    check_resume("soft_vote", tmp_path, arguments=given, frozen=frozen, encoder="whisper" if frozen else "log-mel")
    assert len(heard) >= 21, "each labelled utterance was changed at least once"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{bad", "labelled_augmentation='{bad' is not JSON"),
        ("[1]", "is not a mapping; give a mapping"),
        (3, "labelled_augmentation=3 is not a mapping"),
        ({"volume": 2}, r"labelled_augmentation=.*no field \['volume'\]"),
        ({"tempo": 2}, r"labelled_augmentation=.*tempo is 2; allowed is \(low, high\)"),
        ({"gain_probability": "often"}, "gain_probability is 'often'; allowed is 0..1"),
        ({"sampling_rate": "16k"}, "sampling_rate is '16k'; allowed"),
        ({"sampling_rate": 8000}, "sampling_rate must be 16000 Hz"),
        ({"noise_colours": 3}, "noise_colours is 3; allowed"),
        ({"noise_colours": [["pink"]]}, "noise_colours is .*; allowed"),
        ({1: 2, "a": 3}, "no field"),
        ({"speed": [0.9, 1.1]}, "speed would decide nothing.*kind='mixed'.*probability above 0"),
        ({"kind": "speed", "noise_probability": 1.0}, "noise_probability would decide nothing.*kind='speed'"),
        ({"semitones": [-1, 1], "pitch_probability": 0}, "semitones would decide nothing"),
        ({"speed": [0.9, 9.0]}, "speed is .*allowed is"),
        ({"speed": ["slow", "fast"]}, "labelled_augmentation=.*allowed is"),
    ],
)
def test_a_bad_value_is_named(value, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_method("soft_vote").arguments_class(output_dir=str(tmp_path), labelled_augmentation=value)
