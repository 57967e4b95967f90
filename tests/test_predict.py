"""`predict`: answers are those of a batch of one and of transformers' pipeline, and a bad input is a row."""

from __future__ import annotations

import json
import math
import shutil
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from helpers.made_data import CLASSES, extractor, tiny_config, tiny_model
from helpers.made_model import RATE, check_against_the_pipeline, noise, saved

from hf_ambiser import open_model, predict
from hf_ambiser.inference.answers import Distribution
from hf_ambiser.inference.decision import Decision
from hf_ambiser.inference.parts import Part, answer_parts
from hf_ambiser.inference.windows import Window
from hf_ambiser.metrics import balanced_lead
from hf_ambiser.models import available_families
from hf_ambiser.models.emotion_pipeline import EmotionPipeline


MODELS = {
    **{
        f"{family} {encoder}": (family, encoder)
        for family in available_families()
        for encoder in ("log-mel", "wav2vec2")
    },
    "prototype whisper": ("prototype", "whisper"),
    "blstm acoustic32": ("blstm", "acoustic32"),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return open_model(saved(tmp_path_factory.mktemp("tiny"), tiny_model()))


@pytest.fixture(scope="module", params=MODELS)
def any_model(request, tmp_path_factory):
    family, encoder = MODELS[request.param]
    config = tiny_config(family=family, encoder="log-mel" if encoder == "acoustic32" else encoder)
    if encoder == "acoustic32":
        config.input = "acoustic32"
    model = tiny_model(config, family=family)
    prepare = extractor(model)
    if encoder == "acoustic32":
        prepare.fit([noise(1.0, seed) for seed in range(3)], RATE)
    return open_model(saved(tmp_path_factory.mktemp("model"), model, prepare))


def test_answers_are_those_of_one_utterance_and_of_the_pipeline(any_model):
    check_against_the_pipeline(any_model, (0.11, 2.3, 0.9, 3.1))


def test_the_shipped_model_answers_as_the_pipeline_does():
    check_against_the_pipeline(open_model(), (1.3, 4.0))


def test_what_follows_from_a_distribution(tiny):
    (found,) = predict(noise(1.0), tiny, sampling_rate=RATE, progress=False)
    shares = list(found.probabilities.values())
    assert sum(shares) == pytest.approx(1) and found.emotion == max(found.probabilities, key=found.probabilities.get)
    assert found.entropy == pytest.approx(-sum(p * math.log2(p) for p in shares))
    assert found.ambiguity == pytest.approx(found.entropy / math.log2(len(CLASSES)))
    with torch.no_grad():
        cosines = tiny.model(torch.from_numpy(noise(1.0))[None]).prototype_similarity[0]
    assert list(found.similarities.values()) == pytest.approx(cosines.tolist(), abs=1e-5)


def test_one_certain_class_has_no_ambiguity_and_equal_ones_have_all(tiny):
    sure = Distribution.of(np.array([0.0, 1.0]), None, ["a", "b"], Decision())
    open_ = Distribution.of(np.array([0.25] * 4), None, list("abcd"), Decision())
    assert (sure.emotion, sure.entropy, sure.ambiguity, sure.similarities) == ("b", 0.0, 0.0, None)
    assert (open_.entropy, open_.ambiguity) == (2.0, 1.0)


# ---- abstention -----------------------------------------------------------------------------------------------------


def with_decision(tiny, folder: Path, decision: object) -> Path:
    shutil.copytree(tiny.name, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "decision": decision}))
    return folder


def test_the_stored_temperature_and_threshold_act_and_the_callers_threshold_replaces_it(tiny, tmp_path):
    wave = noise(1.0)
    (plain,) = predict(wave, tiny, sampling_rate=RATE, progress=False)
    stored = {"temperature": 2.5, "threshold": 0.99, "risk": 0.1, "sets": None}
    folder = with_decision(tiny, tmp_path / "decided", stored)
    (found,) = predict(wave, folder, sampling_rate=RATE, progress=False)
    with torch.no_grad():
        logits = tiny.model(torch.from_numpy(wave)[None]).logits[0].double()
    expected = [math.exp(one / 2.5) for one in logits.tolist()]
    expected = [one / sum(expected) for one in expected]
    assert list(found.probabilities.values()) == pytest.approx(expected, abs=1e-5)
    assert (found.status, found.emotion, found.has_answer) == ("abstains", None, True)
    (told,) = predict(wave, folder, sampling_rate=RATE, progress=False, threshold=0.0)
    assert (told.status, told.probabilities) == ("answered", found.probabilities)
    assert plain.status == "answered"
    (least,) = predict(wave, tiny, sampling_rate=RATE, progress=False, threshold=max(plain.probabilities.values()))
    assert least.status == "answered"  # the threshold itself is enough


def test_the_class_of_a_balance_is_that_of_the_metric_and_of_the_pipeline():
    rng, pipe = np.random.default_rng(0), EmotionPipeline.__new__(EmotionPipeline)
    for shares in ([0.5, 0.3, 0.2, 0.0], [0.25] * 4, [1.0, 0.0, 0.0, 0.0]):
        for tau in (0.0, 0.25, 1.0, 3.0, 900.0):
            stored = {"decision": {"balance": {"tau": tau, "shares": shares}}, "id2label": dict(enumerate("abcd"))}
            pipe.model = SimpleNamespace(config=SimpleNamespace(**stored))
            answers = rng.dirichlet(np.full(4, 0.3), size=50)
            expected = balanced_lead(answers, np.array(shares), tau).tolist()
            decision = Decision.of(pipe.model.config)
            # At tau 0 it is the leading class, also one without a share.
            slow = [
                max((k for k in range(4) if shares[k]), key=lambda k: math.log(row[k]) - tau * math.log(shares[k]))
                if tau
                else max(range(4), key=lambda k: row[k])
                for row in answers
            ]
            assert [decision.lead(row) for row in answers] == expected == slow
            assert [pipe._lead(torch.from_numpy(row)) for row in answers] == expected


@pytest.mark.parametrize(
    ("stored", "threshold", "words"),
    [
        (3, None, "decision is 3; allowed: an object"),
        ({"temperature": 0}, None, "decision.temperature is 0; allowed: a number above 0"),
        ({"temperature": "1"}, None, "decision.temperature is '1'"),
        ({"balance": 0.5}, None, "decision.balance is 0.5; allowed: a tau and 4 shares"),
        ({"balance": {"tau": -1, "shares": [0.25] * 4}}, None, "decision.balance is"),
        ({"balance": {"tau": 1, "shares": [0.5] * 2}}, None, "decision.balance is"),
        ({"balance": {"tau": 1, "shares": [0] * 4}}, None, "decision.balance is"),
        ({"balance": {"tau": 1, "shares": ["0.25"] * 4}}, None, "decision.balance is"),
        ({"threshold": 1.5}, None, "decision.threshold is 1.5; allowed: a probability"),
        (None, -0.1, "^threshold is -0.1"),
        (None, math.nan, "^threshold is nan"),
    ],
)
def test_a_decision_out_of_range_is_refused(stored, threshold, words):
    with pytest.raises(ValueError, match=words):
        Decision.of(type("Config", (), {"decision": stored, "id2label": dict(enumerate("abcd"))})(), threshold)


def test_a_stored_balance_changes_the_answer_and_not_the_distribution(tiny, tmp_path):
    wave = noise(1.0)
    (plain,) = predict(wave, tiny, sampling_rate=RATE, progress=False)
    shares = [0.9 if name == plain.emotion else 0.1 / (len(tiny.classes) - 1) for name in tiny.classes]
    stored = {"temperature": 1.0, "balance": {"tau": 1.5, "shares": shares}}
    folder = with_decision(tiny, tmp_path / "balanced", stored)
    (found,) = predict(wave, folder, sampling_rate=RATE, progress=False)
    assert found.probabilities == plain.probabilities and found.status == "answered"
    beside = {name: found.probabilities[name] / share**1.5 for name, share in zip(tiny.classes, shares, strict=True)}
    assert found.emotion == max(beside, key=lambda name: beside[name]) != plain.emotion
    assert found.windows[0].emotion == found.emotion
    # The threshold asks for the probability of the class that is answered.
    between = (found.probabilities[found.emotion] + plain.probabilities[plain.emotion]) / 2
    (told,) = predict(wave, folder, sampling_rate=RATE, progress=False, threshold=between)
    assert told.status == "abstains"


@pytest.mark.parametrize("stored_tau", [0, 1.5])
def test_the_balance_of_the_caller_replaces_the_stored_one(tiny, tmp_path, stored_tau, caplog):
    wave = noise(1.0)
    (plain,) = predict(wave, tiny, sampling_rate=RATE, progress=False)
    shares = [0.9 if name == plain.emotion else 0.1 / (len(tiny.classes) - 1) for name in tiny.classes]
    stored = {"threshold": 0.01, "balance": {"tau": stored_tau, "shares": shares}}
    folder = with_decision(tiny, tmp_path / "balanced", stored)
    (own,) = predict(wave, folder, sampling_rate=RATE, progress=False)
    assert (own.emotion == plain.emotion) == (stored_tau == 0) and not caplog.text
    for tau in (0.0, 0.7, np.float32(0.5), np.int64(1), 4):
        caplog.clear()
        (found,) = predict(wave, folder, sampling_rate=RATE, progress=False, balance=tau)
        expected = balanced_lead(np.array([list(found.probabilities.values())]), np.array(shares), tau)
        assert found.emotion == tiny.classes[int(expected[0])] and found.probabilities == plain.probabilities
        # The stored threshold still acts, but what it promised was for the stored tau.
        promised = f"the stored threshold 0.01 was chosen for tau {stored_tau:g}, not {tau:g}"
        assert (promised in caplog.text) == (tau != stored_tau)
    assert len({predict(wave, folder, sampling_rate=RATE, progress=False, balance=t)[0].emotion for t in (0, 4)}) == 2
    caplog.clear()
    predict(wave, folder, sampling_rate=RATE, progress=False, balance=0.7, threshold=0.2)
    assert not caplog.text  # the caller's own threshold promises nothing


@pytest.mark.parametrize(
    ("balance", "words"),
    [
        (
            0.5,
            "balance is 0.5, and the model stores no shares of its answers.* stores them with --balance 0",
        ),
        (-1.0, "balance is -1.0; allowed: a number of 0"),
        (math.nan, "balance is nan; allowed"),
        (math.inf, "balance is inf; allowed"),
        (True, "balance is True; allowed"),
        ("0.5", "balance is '0.5'; allowed"),
    ],
)
def test_a_balance_that_cannot_act_is_refused(tiny, balance, words):
    with pytest.raises(ValueError, match=words):
        predict(noise(1.0), tiny, sampling_rate=RATE, progress=False, balance=balance)
    (plain,) = predict(noise(1.0), tiny, sampling_rate=RATE, progress=False, balance=0)
    assert plain.status == "answered"  # the leading class needs no shares


# ---- long recordings ------------------------------------------------------------------------------------------------


def test_a_long_recording_has_a_timeline_and_the_weighted_mean_of_its_windows_with_speech(tiny):
    wave = np.concatenate([noise(5.0, 1), np.zeros(5 * RATE, np.float32), noise(2.5, 2), noise(1.0, 3) / 300])
    (found,) = predict(wave, tiny, sampling_rate=RATE, window=2.0, hop=1.0, progress=False, batch_size=3)
    assert found.duration == 13.5
    assert [(one.start, one.end) for one in found.windows] == [*((i, i + 2) for i in range(12)), (12, 13.5)]
    speech = [one.status == "answered" for one in found.windows]
    assert speech == [True] * 5 + [False] * 4 + [True] * 4
    assert all(one.probabilities is None and one.emotion is None for one in found.windows if one.status == "silent")
    total = {name: 0.0 for name in CLASSES}
    seconds = 0.0
    for one in found.windows:
        if one.status == "answered":
            (alone,) = predict(
                wave[round(one.start * RATE) : round(one.end * RATE)], tiny, sampling_rate=RATE, progress=False
            )
            seconds += one.end - one.start
            for name in CLASSES:
                assert one.probabilities[name] == pytest.approx(alone.probabilities[name], abs=1e-5)
                total[name] += (one.end - one.start) * one.probabilities[name]
    for name in CLASSES:
        assert found.probabilities[name] == pytest.approx(total[name] / seconds, abs=1e-9)


def test_a_quiet_part_counts_only_where_nothing_is_much_louder(tiny):
    quiet, loud = noise(2.0, 1) * 0.03, noise(2.0, 2) * 3
    (alone,) = predict(quiet, tiny, sampling_rate=RATE, progress=False)
    both = np.concatenate([loud, quiet])
    (beside,) = predict(both, tiny, sampling_rate=RATE, window=2.0, hop=2.0, progress=False)
    assert alone.status == "answered"
    assert [one.status for one in beside.windows] == ["answered", "silent"]
    assert "speech has at least" in beside.windows[1].reason


def test_the_default_window_is_the_models_segment_or_six_seconds(tmp_path, tiny):
    fusion = open_model(saved(tmp_path, tiny_model(family="fusion")))
    assert (fusion.window, tiny.window) == (fusion.model.config.segment_seconds, 6.0)
    found = predict([noise(6.0), noise(6.1)], tiny, sampling_rate=RATE, progress=False)
    assert [len(one.windows) for one in found] == [1, 2]


def test_memory_does_not_grow_with_the_length_of_a_recording(tiny, tmp_path):
    peaks = []
    for minutes in (2, 20):
        path = tmp_path / f"{minutes}.flac"
        with soundfile.SoundFile(path, "w", 22050, 2, format="FLAC", subtype="PCM_16") as file:
            for second in range(60 * minutes):
                file.write(np.sin(np.arange(44100) / (20 + second % 7)).reshape(22050, 2) * 0.3)
        tracemalloc.start()
        (found,) = predict(path, tiny, progress=False, batch_size=4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.status == "answered" and found.duration == pytest.approx(60 * minutes, abs=0.01)
        assert len(found.windows) == 20 * minutes - 1
    assert peaks[1] < 20e6 and peaks[1] - peaks[0] < 2e6, peaks


def test_two_hours_of_nothing_are_said_to_be_silent(tiny, tmp_path):
    path = tmp_path / "hours.flac"
    with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(120):
            file.write(np.zeros(60 * RATE, dtype=np.int16))
    (found,) = predict(path, tiny, progress=False)
    assert (found.status, found.duration, found.emotion) == ("silent", 7200.0, None)
    assert "-200 dB of full scale; speech has at least -60 dB" in found.reason


# ---- a bad input is a row -------------------------------------------------------------------------------------------


def test_bad_recordings_are_rows_and_the_good_ones_among_them_are_answered_in_order(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "no_ffmpeg"))
    good = tmp_path / "good.wav"
    soundfile.write(good, noise(1.5), RATE)
    (tmp_path / "text.wav").write_text("these are words\n")
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "nan.wav", np.where(np.arange(9000) == 7000, np.nan, 0.1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", noise(0.02), RATE)
    soundfile.write(tmp_path / "none.wav", noise(0.0), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "eight.wav", np.stack([noise(1.5)] * 8, 1), RATE)
    soundfile.write(tmp_path / "bits.wav", noise(1.5), RATE, subtype="PCM_U8")
    soundfile.write(tmp_path / "fast.wav", np.repeat(noise(1.5), 12), 192000)
    (tmp_path / "folder").mkdir()
    order = ["text.wav", "good.wav", "empty.wav", "nan.wav", "short.wav", "none.wav", "silent.wav", "eight.wav",
             "bits.wav", "fast.wav", "folder", "nowhere.wav", "good.wav"]  # fmt: skip
    found = predict([tmp_path / name for name in order], tiny, progress=False, batch_size=2)
    assert [Path(one.recording).name for one in found] == order
    assert [one.status for one in found] == [
        "unreadable", "answered", "unreadable", "invalid", "too short", "unreadable", "silent", "answered",
        "answered", "answered", "unreadable", "unreadable", "answered",
    ]  # fmt: skip
    for one in found:
        assert one.has_answer == (one.probabilities is not None) == (one.reason == "")
        assert "\n" not in one.reason
        json.dumps(one.to_dict(), allow_nan=False)
    assert found[4].reason == "0.020 s are shorter than 0.1 s, the shortest that a model learns from"
    assert found[5].reason == "it holds no sample"
    by_eight = list(found[7].probabilities.values())
    assert by_eight == pytest.approx(list(found[1].probabilities.values()), abs=1e-3)


def test_a_recording_that_breaks_off_late_has_no_answer_from_its_beginning(tiny):
    wave = noise(30.0)
    wave[-1] = np.inf
    spoilt, good = predict([wave, noise(2.0)], tiny, sampling_rate=RATE, window=2.0, batch_size=2, progress=False)
    assert (spoilt.status, spoilt.windows, spoilt.duration) == ("invalid", (), None)
    assert good.status == "answered"


def test_no_input_gives_no_answer(tiny):
    assert predict([], tiny, progress=False) == []


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_one_is_refused(size, tiny):
    with pytest.raises(ValueError, match="batch_size is"):
        predict(noise(1.0), tiny, sampling_rate=RATE, batch_size=size)


@pytest.mark.parametrize(
    "on_cpu,lengths,size,expected",
    [
        (False, [2.0, 0.5, 3.0, 1.0, 1.5], 2, [[0.5, 1.0], [1.5, 2.0], [3.0]]),
        # A CPU computes no more than a tenth of padding, and no more than 6 s together.
        (True, [2.0, 0.5, 3.0, 1.0, 1.5], 2, [[0.5], [1.0], [1.5], [2.0], [3.0]]),
        (True, [2.0, 2.1, 2.0, 2.1, 0.5, 7.0, 0.5], 8, [[0.5, 0.5], [2.0, 2.0], [2.1, 2.1], [7.0]]),
        (True, [0.9, 1.0, 0.95], 2, [[0.9, 0.95], [1.0]]),
    ],
)
def test_batches_hold_windows_of_similar_length(tiny, monkeypatch, on_cpu, lengths, size, expected):
    monkeypatch.setattr(type(tiny), "on_cpu", property(lambda self: on_cpu))
    sizes = []
    plain = type(tiny).probabilities

    def noted(self, waveforms, temperature=1.0):
        sizes.append([len(wave) / RATE for wave in waveforms])
        return plain(self, waveforms, temperature)

    monkeypatch.setattr(type(tiny), "probabilities", noted)
    found = predict(
        [noise(one) for one in lengths], tiny, sampling_rate=RATE, window=8.0, batch_size=size, progress=False
    )
    assert sizes == expected
    assert [one.duration for one in found] == lengths


def test_a_part_lets_go_of_its_samples(tiny):
    parts = [Part.of(Window(0, noise(1.0)), RATE), Part.of(Window(0, np.zeros(RATE, np.float32)), RATE)]
    answer_parts(parts, tiny, Decision(), 4)
    assert [part.samples for part in parts] == [None, None]
    assert parts[0].probabilities is not None and parts[1].probabilities is None
