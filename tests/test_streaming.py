"""`StreamingClassifier`: chunks of any size give the windows and the answers of `predict`."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.made_data import tiny_model
from helpers.made_model import RATE, saved

from hf_ambiser import StreamingClassifier, open_model, predict
from hf_ambiser.inference import streaming


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return open_model(saved(tmp_path_factory.mktemp("tiny"), tiny_model()))


def speech(seconds: float, seed: int) -> np.ndarray:
    """Noise whose loudness stays, so that the loudest window so far and the loudest of all differ by little."""
    random = np.random.default_rng(seed)
    return (random.normal(size=round(seconds * RATE)) * 0.1).astype(np.float32)


def chunks(samples: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Chunks of random sizes, some empty and some of a sample."""
    cuts, at = [], 0
    while at < len(samples):
        at += int(random.choice([0, 1, 7, 160, 1024, 16000, int(random.integers(1, 60000))]))
        cuts.append(min(at, len(samples)))
    return np.split(samples, cuts)


def same(ours, offline) -> None:
    assert [(one.start, one.end, one.status) for one in ours] == [(one.start, one.end, one.status) for one in offline]
    for one, other in zip(ours, offline, strict=True):
        assert one.level == pytest.approx(other.level)
        if other.distribution is None:
            assert one.distribution is None
            continue
        for name, value in other.probabilities.items():
            assert one.probabilities[name] == pytest.approx(value, abs=1e-5)
            assert one.similarities[name] == pytest.approx(other.similarities[name], abs=1e-5)


@pytest.mark.parametrize("seed", range(25))
def test_chunks_of_any_size_give_the_answers_of_the_whole_recording(seed, tiny):
    random = np.random.default_rng(seed)
    samples = speech(float(random.uniform(0.05, 9.0)), seed)
    if seed % 3 == 0:
        samples[len(samples) // 3 :] *= 1e-5  # nothing to hear from here on
    window = float(random.uniform(0.3, 3.0))
    hop = float(random.uniform(0.2, 1.0)) * window
    stream = StreamingClassifier(tiny, window, hop)
    found = [answer for chunk in chunks(samples, random) for answer in stream.feed(chunk)]
    found += stream.finish()
    (offline,) = predict(samples, tiny, sampling_rate=RATE, window=window, hop=hop, progress=False)
    same(found, offline.windows)


def test_another_rate_channels_and_integers_are_converted_as_in_predict(tiny):
    random = np.random.default_rng(0)
    samples = (random.normal(size=(44100 * 3, 2)) * 3000).astype(np.int16)
    stream = StreamingClassifier(tiny, 1.0, 0.5, sampling_rate=44100)
    found = [answer for chunk in np.split(samples, [1, 500, 60000, 60001]) for answer in stream.feed(chunk)]
    found += stream.finish()
    (offline,) = predict(samples, tiny, sampling_rate=44100, window=1.0, hop=0.5, progress=False)
    same(found, offline.windows)
    assert len(found) == 5


def test_an_answer_comes_as_soon_as_its_window_is_whole(tiny):
    stream = StreamingClassifier(tiny, 1.0, 0.25)
    samples = speech(2.0, 0)
    when = {i: len(stream.feed(samples[i - 800 : i])) for i in range(800, len(samples) + 1, 800)}
    assert [i / RATE for i, n in when.items() if n] == [1.0, 1.25, 1.5, 1.75, 2.0]
    assert set(when.values()) == {0, 1} and stream.finish() == []


def test_the_gate_knows_only_what_has_been(tiny):
    quiet, loud = speech(1.0, 0) * 0.02, speech(1.0, 1) * 5
    stream = StreamingClassifier(tiny, 1.0, 1.0)
    live = [answer.status for part in (quiet, loud, quiet) for answer in stream.feed(part)]
    samples = np.concatenate([quiet, loud, quiet])
    (offline,) = predict(samples, tiny, sampling_rate=RATE, window=1.0, hop=1.0, progress=False)
    assert live == ["answered", "answered", "silent"]
    assert [answer.status for answer in offline.windows] == ["silent", "answered", "silent"]


def test_silence_gets_no_emotion(tiny):
    stream = StreamingClassifier(tiny, 1.0)
    (answer,) = stream.feed(np.zeros(RATE, dtype=np.float32))
    assert (answer.status, answer.emotion, answer.probabilities) == ("silent", None, None)


def test_a_stored_balance_acts_as_in_predict(tmp_path):
    model, samples = tiny_model(), speech(3.0, 1)
    plain = StreamingClassifier(saved(tmp_path / "plain", model), 1.0, 0.5, sampling_rate=RATE)
    without = [*plain.feed(samples), *plain.finish()]
    shares = [0.7 if name == without[0].emotion else 0.1 for name in model.config.id2label.values()]
    model.config.decision = {"balance": {"tau": 3.0, "shares": shares}}
    folder = saved(tmp_path / "balanced", model)
    stream = StreamingClassifier(folder, 1.0, 0.5, sampling_rate=RATE)
    ours = [*stream.feed(samples), *stream.finish()]
    (offline,) = predict(samples, folder, sampling_rate=RATE, window=1.0, hop=0.5, progress=False)
    assert [one.emotion for one in ours] == [one.emotion for one in offline.windows] != [o.emotion for o in without]
    asked = StreamingClassifier(folder, 1.0, 0.5, sampling_rate=RATE, balance=0)
    assert [one.emotion for one in [*asked.feed(samples), *asked.finish()]] == [one.emotion for one in without]


def test_the_threshold_makes_it_abstain(tiny):
    stream = StreamingClassifier(tiny, 1.0, threshold=1.0)
    (answer,) = stream.feed(speech(1.0, 0))
    assert (answer.status, answer.emotion) == ("abstains", None) and answer.probabilities is not None


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        (np.array([0.0, np.nan]), "1 of 2 samples are NaN"),
        (np.arange(5), "of type int64"),
        (np.zeros((2, 2, 2)), "a chunk has shape \\(2, 2, 2\\)"),
        (np.float32(0.5), "a chunk has shape \\(\\)"),
        (np.zeros((5, 0)), "a chunk has shape \\(5, 0\\)"),
        (np.zeros((2, 160)), "a chunk has shape \\(2, 160\\); channels come last"),
    ],
)
def test_a_chunk_that_is_no_audio_is_refused_and_the_stream_goes_on(chunk, words, tiny):
    stream = StreamingClassifier(tiny, 1.0)
    with pytest.raises(ValueError, match=words):
        stream.feed(chunk)
    assert len(stream.feed(speech(1.0, 0))) == 1


def test_a_finished_stream_takes_nothing_more(tiny):
    stream = StreamingClassifier(tiny)
    assert stream.finish() == []
    for call in (stream.finish, lambda: stream.feed(speech(1.0, 0))):
        with pytest.raises(ValueError, match="make a new StreamingClassifier"):
            call()


def test_bad_arguments_are_refused_before_the_first_chunk(tiny):
    for arguments, words in (
        ({"window": 0.01}, "window is 0.01"),
        ({"window": 1.0, "hop": 2.0}, "hop is 2.0"),
        ({"sampling_rate": 7}, "sampling rate is 7 Hz"),
        ({"threshold": 2}, "threshold is 2"),
    ):
        with pytest.raises(ValueError, match=words):
            StreamingClassifier(tiny, **arguments)


def test_the_example_of_the_docstring():
    import doctest

    failed, tried = doctest.testmod(streaming)
    assert (failed, tried) == (0, 4)
