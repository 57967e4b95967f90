"""Whole utterances at 16 kHz: what torchaudio did before it still does, and no rate costs more than a bound."""

from __future__ import annotations

import time
from math import gcd

import numpy as np
import pytest
import torchaudio.functional
from helpers.made_files import encoded, sound

from hf_ambiser.data.audio import RESAMPLED, RESAMPLED_BY_SOXR, inspect_audio
from hf_ambiser.data.audio_store import AudioStore
from hf_ambiser.data.resampling import MOST_WEIGHTS, by_torchaudio, resample
from hf_ambiser.inference.resampling import HIGHEST, LOWEST


USUAL = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 37800, 44056, 44100, 47952, 48000, 64000]
USUAL += [88200, 96000, 176400, 192000, 352800, 384000]
ODD = [11127, 22051, 22254, 44099, 48001, 191999]


@pytest.mark.parametrize("rate", USUAL)
def test_usual_rates_have_the_bytes_that_they_had_before(rate):
    import torch

    wave = sound(0.2, rate)[:, 0]
    before = torchaudio.functional.resample(torch.from_numpy(wave), rate, 16000).numpy()
    assert by_torchaudio(rate)
    np.testing.assert_array_equal(resample(wave, rate), before)


@pytest.mark.parametrize("rate", ODD)
def test_odd_rates_cost_little_and_the_tone_stays(rate):
    t = np.arange(2 * rate) / rate
    wave = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    assert not by_torchaudio(rate)
    begun = time.process_time()
    found = resample(wave, rate)
    assert time.process_time() - begun < 1
    assert found.dtype == np.float32 and abs(len(found) - 32000) <= 1
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(found)) / 16000)
    assert np.abs(found - expected)[400:-400].max() < 2e-3


def test_the_rule_against_a_slow_transcription_of_the_reduced_fraction():
    for rate in [*range(LOWEST, 60_000, 487), HIGHEST]:
        common = max(d for d in range(1, 16001) if rate % d == 0 and 16000 % d == 0)
        assert common == gcd(rate, 16000)
        assert by_torchaudio(rate) == (rate // common * (16000 // common) <= MOST_WEIGHTS)


def test_the_record_says_which_resampler_it_was():
    assert inspect_audio(encoded(sound(0.3, 44100), 44100)).conversions == (RESAMPLED,)
    odd = inspect_audio(encoded(sound(0.3, 44099), 44099))
    assert odd.conversions == (RESAMPLED_BY_SOXR,) and odd.duration == pytest.approx(0.3, abs=1e-3)
    assert inspect_audio(encoded(sound(0.3, 44099), 44099)).data == odd.data


def test_an_utterance_is_converted_once_however_many_rows_have_it(monkeypatch, tmp_path):
    from helpers.crema_d_tree import made_corpus

    from hf_ambiser.data import corpus_rows

    root = made_corpus(tmp_path, speakers=1, per_class=1)
    for path in (root / "AudioWAV").iterdir():
        path.write_bytes(encoded(sound(0.2, 22050), 22050))
    heard = []

    def counted(source, *args):
        heard.append(source)
        return inspect_audio(source, *args)

    monkeypatch.setattr(corpus_rows, "inspect_audio", counted)
    prepared = corpus_rows.prepare("crema_d", root, scratch=tmp_path)
    every = range(len(prepared.utterances))
    first, again = ([row["audio"] for row in prepared.rows(every)] for _ in range(2))
    assert first == again and len(heard) == len(set(heard)) == len(prepared.utterances)
    fresh = [inspect_audio(one.utterance.audio_path).data for one in prepared.utterances]
    assert [audio["bytes"] for audio in first] == fresh


def test_audio_that_changes_while_a_data_set_is_built_is_named(tmp_path):
    from helpers.crema_d_tree import made_corpus

    from hf_ambiser.data.corpus_rows import prepare

    root = made_corpus(tmp_path, speakers=1, per_class=1)
    prepared = prepare("crema_d", root)
    one = prepared.utterances[0]
    one.utterance.audio_path.write_bytes(b"another")
    with pytest.raises(ValueError, match=f"{one.utterance.id}: its audio changed while the data set was built"):
        list(prepared.rows([0]))


def test_the_store_gives_back_what_it_was_given_and_leaves_no_file(tmp_path):
    store = AudioStore(tmp_path)
    parts = [b"one", b"", b"three" * 1000]
    places = [store.add(part) for part in parts]
    assert store.get(places[2], len(parts[2])) == parts[2] and store.get(places[0], 3) == b"one"
    assert [store.get(at, len(part)) for at, part in zip(places, parts, strict=True)] == parts
    assert not any(tmp_path.iterdir())
