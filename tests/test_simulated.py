"""The simulated corpus: same bytes, honest votes, audible settings, and a scan that loses nothing silently."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import wave
from pathlib import Path

import numpy as np
import pytest

from hf_ambiser.data.corpora import simulated
from hf_ambiser.data.schema import CorpusScan, Listed, Rating, Utterance
from hf_ambiser.data.simulated import DirichletMixture, Raters, SimulationOptions, rerate, utterance_samples
from hf_ambiser.data.simulated.corpus import encode, utterance_id
from hf_ambiser.data.simulated.keys import VOICE_STREAM, generator, hash_names, keyed_uniform
from hf_ambiser.data.simulated.settings import EMOTIONS, PARAMETERS, draw_speaker, mix_settings, setting_table
from hf_ambiser.data.simulated.voice import SAMPLING_RATE, synthesize
from hf_ambiser.labels.policies import get_policy
from hf_ambiser.labels.votes import tally


CLASSES = ("anger", "happiness", "sadness", "neutral")
SMALL = {"n_utterances": 12, "n_speakers": 4, "n_raters": 6, "votes_per_utterance": 3, "seed": 7}


def digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("simulated")
    simulated.generate(root, **SMALL)
    return root


@pytest.fixture
def copy(corpus, tmp_path) -> Path:
    import shutil

    return Path(shutil.copytree(corpus, tmp_path / "copy"))


# Same seed, same bytes


def test_same_seed_same_bytes(corpus, tmp_path):
    simulated.generate(tmp_path / "again", **SMALL)
    assert digests(corpus) == digests(tmp_path / "again")
    simulated.generate(tmp_path / "other", **{**SMALL, "seed": 8})
    changed = {name for name, d in digests(tmp_path / "other").items() if d != digests(corpus)[name]}
    assert changed == set(digests(corpus))


def test_bytes_are_equal_in_another_process(corpus, tmp_path):
    import os
    import subprocess
    import sys

    code = f"from hf_ambiser.data.corpora import simulated; simulated.generate({str(tmp_path / 'p')!r}, **{SMALL!r})"
    repository = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": repository, "PYTHONHASHSEED": "123"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=repository)
    assert digests(tmp_path / "p") == digests(corpus)


def test_a_smaller_corpus_is_the_beginning_of_a_larger_one_and_grows_into_it(corpus, tmp_path):
    simulated.generate(tmp_path, **{**SMALL, "n_utterances": 5})
    small, large = digests(tmp_path), digests(corpus)
    assert {k: v for k, v in small.items() if k.startswith("audio/")} == {
        f"audio/{utterance_id(i)}.wav": large[f"audio/{utterance_id(i)}.wav"] for i in range(5)
    }
    for name in ("votes.csv", "truth.csv"):
        assert (corpus / name).read_text().startswith((tmp_path / name).read_text())
    simulated.generate(tmp_path, **SMALL)
    assert digests(tmp_path) == large


def test_order_of_synthesis_does_not_matter(corpus):
    options = SimulationOptions(**SMALL)
    for index in (9, 2, 5):
        data = encode(utterance_samples(options, index), "wav")
        assert data == (corpus / "audio" / f"{utterance_id(index)}.wav").read_bytes()


def test_deleted_and_half_written_files_come_back_as_they_were(corpus, copy):
    for index in (0, 3, 11):
        (copy / "audio" / f"{utterance_id(index)}.wav").unlink()
    (copy / "audio" / f"{utterance_id(4)}.wav").write_bytes(b"")
    # What a kill in the middle of a file leaves behind.
    (copy / "audio" / f"{utterance_id(3)}.wav.part").write_bytes(b"RIFF")
    (copy / "votes.csv").unlink()
    (copy / "truth.csv").unlink()
    untouched = copy / "audio" / f"{utterance_id(1)}.wav"
    before = untouched.stat().st_mtime_ns
    simulated.generate(copy, **SMALL)
    assert digests(copy) == digests(corpus)
    assert untouched.stat().st_mtime_ns == before


def test_a_killed_generation_goes_on(corpus, tmp_path):
    def stop(_: int) -> None:
        if len(list((tmp_path / "audio").glob("*.wav"))) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulated.generate(tmp_path, progress=stop, **SMALL)
    assert not (tmp_path / "votes.csv").exists()
    with pytest.raises(FileNotFoundError, match=r"votes\.csv"):
        simulated.scan(tmp_path)
    simulated.generate(tmp_path, **SMALL)
    assert digests(tmp_path) == digests(corpus)


def test_other_options_never_mix_in_one_folder(copy, tmp_path):
    with pytest.raises(ValueError, match="difficulty: 1.0 there, 0.5 asked for"):
        simulated.generate(copy, **SMALL, difficulty=0.5)
    with pytest.raises(ValueError, match="n_utterances: 12 there, 3 asked for"):
        simulated.generate(copy, **{**SMALL, "n_utterances": 3})
    (tmp_path / "audio").mkdir()
    with pytest.raises(ValueError, match=r"no config\.json"):
        simulated.generate(tmp_path, **SMALL)
    (copy / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json"):
        simulated.generate(copy, **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"votes_per_utterance": 13}, "votes_per_utterance: 13"),
        ({"n_speakers": 0}, "n_speakers: 0"),
        ({"classes": ("anger", "boredom")}, "boredom"),
        ({"audio_format": "mp3"}, "mp3"),
        ({"difficulty": float("nan")}, "difficulty"),
        ({"seed": -1}, "seed: -1"),
        ({"confusion": 1.5}, "confusion: 1.5"),
    ],
)
def test_options_that_cannot_be_are_named(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        simulated.generate(tmp_path, n_utterances=1, **options)
    assert not list(tmp_path.iterdir())


# Latent distributions


def test_distributions_are_exact_and_clear_as_well_as_ambiguous():
    mixture = DirichletMixture()
    drawn = [mixture.draw(4, 3, i) for i in range(2000)]
    p = np.array([row for row, _ in drawn])
    assert [sum(round(x * 1_000_000) for x in row) for row in p.tolist()] == [1_000_000] * 2000
    assert (p >= 0).all()
    top = p.max(axis=1)
    assert (top > 0.85).mean() > 0.2 and (top < 0.6).mean() > 0.25
    kinds = np.array([kind for _, kind in drawn])
    for kind in ("clear", "blend", "diffuse"):
        assert abs((kinds == kind).mean() - getattr(mixture, kind)) < 0.04
    assert np.abs(p.mean(axis=0) - 0.25).max() < 0.03
    with pytest.raises(ValueError, match="sum to 1"):
        DirichletMixture(clear=0.9)


# Voice


def f0_by_autocorrelation(samples: np.ndarray) -> float:
    """Median F0 in Hz over the louder half of 50 ms frames."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), 800)[::400]
    power = (frames**2).mean(axis=1)
    found = []
    for frame in frames[power > np.median(power)]:
        correlation = np.correlate(frame, frame, "full")[799:]
        lag = 40 + int(np.argmax(correlation[40:260]))  # 62 to 400 Hz
        found.append(SAMPLING_RATE / lag)
    return float(np.median(found))


def exact(p: list[float], index: int, speaker: int) -> np.ndarray:
    return synthesize(mix_settings(np.array(p), CLASSES), draw_speaker(0, speaker), generator(0, VOICE_STREAM, index))


@pytest.mark.parametrize("speaker", [0, 1])
def test_anger_and_happiness_are_higher_and_louder_than_sadness(speaker):
    f0 = {
        c: np.mean([f0_by_autocorrelation(exact(np.eye(4)[k], i, speaker)) for i in range(4)])
        for k, c in enumerate(CLASSES)
    }
    assert f0["anger"] > 1.2 * f0["sadness"] and f0["happiness"] > 1.2 * f0["sadness"]
    # The measured difference is the one that was set, within two semitones.
    for name in ("anger", "happiness"):
        asked = EMOTIONS[name].f0_level - EMOTIONS["sadness"].f0_level
        assert abs(12 * np.log2(f0[name] / f0["sadness"]) - asked) < 2.5
    level = [20 * np.log10(np.sqrt((exact(p, 1, speaker) ** 2).mean())) for p in np.eye(4)[[0, 2]]]
    assert level[0] - level[1] > 6


def test_audio_carries_the_distribution_not_only_its_argmax():
    table = dict(zip(CLASSES, setting_table(CLASSES), strict=True))
    p = [0.1, 0.5, 0.3, 0.1]
    mixed = mix_settings(np.array(p), CLASSES)
    for j, name in enumerate(PARAMETERS):
        assert getattr(mixed, name) == pytest.approx(sum(w * table[c][j] for w, c in zip(p, CLASSES, strict=True)))
    steps = [
        np.mean([f0_by_autocorrelation(exact([0, a, 1 - a, 0], i, 1)) for i in range(3)]) for a in (0.0, 0.5, 1.0)
    ]
    assert steps[0] < steps[1] < steps[2]


def test_clips_are_one_to_four_seconds_and_neither_clip_nor_fall_silent():
    options = SimulationOptions(classes=tuple(EMOTIONS), difficulty=3.0, n_speakers=20)
    for index in range(40):
        samples = utterance_samples(options, index)
        assert 1.0 <= len(samples) / SAMPLING_RATE <= 4.0
        assert 500 < np.abs(samples.astype(int)).max() < 32000
        assert samples.dtype == np.int16


def test_flac_holds_the_same_samples():
    import soundfile

    options = SimulationOptions(**SMALL)
    samples = utterance_samples(options, 0)
    decoded, rate = soundfile.read(io.BytesIO(encode(samples, "flac")), dtype="int16")
    assert rate == SAMPLING_RATE and np.array_equal(decoded, samples)
    with wave.open(io.BytesIO(encode(samples, "wav"))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLING_RATE, 1, 2)
        assert np.array_equal(np.frombuffer(file.readframes(len(samples)), "<i2"), samples)


def test_a_simple_classifier_beats_chance_on_new_speakers_and_is_not_perfect():
    options = SimulationOptions(n_speakers=8)
    features, truth, speaker = [], [], []
    for index in range(400):
        samples = utterance_samples(options, index) / 32768.0
        frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::256] * np.hanning(512)
        bands = np.array_split(np.abs(np.fft.rfft(frames))[:, 2:] ** 2, np.geomspace(3, 250, 30).astype(int), axis=1)
        log = np.log(np.stack([b.sum(axis=1) for b in bands if b.shape[1]], axis=1) + 1e-8)
        features.append(np.concatenate([log.mean(axis=0), log.std(axis=0)]))
        truth.append(int(np.argmax(options.mixture.draw(4, 0, index)[0])))
        speaker.append(index % 8)
    x, y, held_out = np.array(features), np.array(truth), np.array(speaker) >= 6
    x = (x - x[~held_out].mean(axis=0)) / x[~held_out].std(axis=0)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    train = x[~held_out]
    ridge = np.linalg.solve(train.T @ train + 10.0 * np.eye(x.shape[1]), train.T @ np.eye(4)[y[~held_out]])
    accuracy = ((x[held_out] @ ridge).argmax(axis=1) == y[held_out]).mean()
    assert 0.5 < accuracy < 0.9


# Raters


def test_votes_follow_p_times_confusion_written_out():
    pool = Raters.draw(CLASSES, 5, seed=2, confusion=0.3, reliability=0.8, spammers=0.4)
    p = np.array([0.5, 0.1, 0.1, 0.3])
    n = 20000
    ratings = pool.rate(np.tile(p, (n, 1)), [f"u{i}" for i in range(n)], 5, seed=1)
    for r in range(5):
        expected = [0.0] * 4
        for perceived in range(4):
            for reported in range(4):
                listening = pool.reliability[r] * pool.confusion[r, perceived, reported]
                not_listening = (1 - pool.reliability[r]) * pool.spam[r, reported]
                expected[reported] += p[perceived] * (listening + not_listening)
        observed = np.bincount(ratings.label[ratings.rater == r], minlength=4) / n
        # Five standard deviations of a share over 20000 draws.
        assert np.abs(observed - expected).max() < 5 * 0.5 / np.sqrt(n)
    pooled = np.bincount(ratings.label, minlength=4) / len(ratings.label)
    assert np.allclose(pooled, pool.expected(p[None])[0], atol=0.01)


def test_each_utterance_follows_its_own_distribution():
    pool = Raters(CLASSES, ("a",), np.eye(4)[None], np.ones(1), np.full((1, 4), 0.25), np.zeros(1))
    rows = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0.5, 0.5, 0]], dtype=float)
    which = np.arange(30000) % 3
    labels = pool.rate(rows[which], [str(i) for i in range(30000)], 1, seed=0).label
    assert set(labels[which == 0]) == {0} and set(labels[which == 1]) == {3}
    assert set(labels[which == 2]) == {1, 2} and abs((labels[which == 2] == 1).mean() - 0.5) < 0.025


def test_ratings_do_not_depend_on_other_utterances_their_order_or_the_pools_order():
    pool = Raters.draw(CLASSES, 8, seed=0, second_label=0.3)
    rng = np.random.default_rng(0)
    p, ids = rng.dirichlet(np.ones(4), size=50), [f"clip{i}" for i in range(50)]
    full = dict(zip(ids, pool.rate(p, ids, 3, seed=4).lists(), strict=True))
    some = rng.permutation(50)[:20]
    part = pool.rate(p[some], [ids[i] for i in some], 3, seed=4).lists()
    assert part == [full[ids[i]] for i in some]
    order = rng.permutation(8)
    turned = Raters(
        CLASSES,
        tuple(pool.names[i] for i in order),
        pool.confusion[order],
        pool.reliability[order],
        pool.spam[order],
        pool.second_label[order],
    )
    for name, answers in zip(ids, turned.rate(p, ids, 3, seed=4).lists(), strict=True):
        assert sorted(answers, key=lambda a: a.rater) == full[name]
    assert pool.rate(p, ids, 3, seed=5).lists() != list(full.values())


def test_different_raters_as_often_as_asked_and_all_of_them_alike():
    pool = Raters.draw(CLASSES, 9, seed=0)
    n = 3000
    votes = np.arange(n) % 5
    lists = pool.rate(np.full((n, 4), 0.25), [f"u{i}" for i in range(n)], votes, seed=0).lists()
    assert [len(answers) for answers in lists] == votes.tolist()
    assert all(len({a.rater for a in answers}) == len(answers) for answers in lists)
    counts = np.unique([a.rater for answers in lists for a in answers], return_counts=True)[1]
    assert len(counts) == 9 and np.abs(counts / counts.mean() - 1).max() < 0.15


def test_more_raters_leave_the_first_ones_as_they_were():
    few, many = (Raters.draw(CLASSES, n, seed=3) for n in (3, 10))
    assert np.array_equal(few.response, many.response[:3])


def test_confusions_are_class_dependent_and_follow_the_dials():
    pool = Raters.draw(CLASSES, 400, seed=0, confusion=0.2, reliability=0.9, spammers=0.25)
    mean = pool.confusion.mean(axis=0)
    assert mean[1, 3] > 2 * mean[1, 0] and mean[2, 3] > 2 * mean[2, 0]
    assert abs(1 - np.trace(mean) / 4 - 0.2) < 0.02
    assert abs((pool.reliability < 0.4).mean() - 0.25) < 0.07
    perfect = Raters.draw(CLASSES, 4, seed=0, confusion=0, reliability=1, spammers=0)
    assert np.array_equal(perfect.response, np.tile(np.eye(4), (4, 1, 1)))


def test_second_labels_differ_from_the_first_and_count_in_the_tally():
    pool = Raters.draw(CLASSES, 6, seed=0, second_label=0.5)
    n = 500
    ratings = pool.rate(np.full((n, 4), 0.25), [f"u{i}" for i in range(n)], 4, seed=0)
    assert 0.25 < (ratings.second >= 0).mean() < 0.5  # half of them try, a quarter of those repeats the first
    assert (ratings.second != ratings.label).all()
    policy = get_policy("simulated-4", multi_label="each")
    assert tally(policy, ratings.arrays()).votes.sum() == len(ratings.label) + (ratings.second >= 0).sum()
    by_lists = CorpusScan("x", [Utterance(str(i), "", "", "x", r) for i, r in enumerate(ratings.lists())], [], [], n)
    assert np.array_equal(tally(policy, by_lists.ratings()).votes, tally(policy, ratings.arrays()).votes)


def test_keyed_numbers_are_uniform_and_uncorrelated():
    keys = hash_names([str(i) for i in range(20000)])
    u = np.stack(
        [keyed_uniform(0, stream, keys, keys[:1]) for stream in range(3)] + [keyed_uniform(1, 0, keys, keys[:1])]
    )
    assert u.min() >= 0 and u.max() < 1
    assert np.abs(np.histogram(u[0], 10, (0, 1))[0] / 2000 - 1).max() < 0.12
    assert np.abs(np.corrcoef(u) - np.eye(4)).max() < 0.04
    assert np.abs(np.corrcoef(u[0, 1:], u[0, :-1])[0, 1]) < 0.04


def test_bad_ratings_requests_name_what_is_wrong():
    pool = Raters.draw(CLASSES, 3, seed=0)
    with pytest.raises(ValueError, match="first b"):
        pool.rate(np.array([[1, 0, 0, 0], [0.6, 0.6, 0, 0]]), ["a", "b"], 1, 0)
    with pytest.raises(ValueError, match="shape"):
        pool.rate(np.ones((1, 3)) / 3, ["a"], 1, 0)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.3"):
        pool.rate(np.full((1, 4), 0.25), ["a"], 4, 0)
    with pytest.raises(ValueError, match="named once"):
        pool.rate(np.full((2, 4), 0.25), ["a", "a"], 1, 0)
    with pytest.raises(ValueError, match="confusion: rows"):
        dataclasses.replace(pool, confusion=pool.confusion * 0.5)
    assert pool.rate(np.zeros((0, 4)), [], 2, 0).lists() == []


# Folder and scan


def test_scan_reads_back_what_was_generated(corpus):
    options = SimulationOptions(**SMALL)
    found = simulated.scan(corpus)
    assert (found.listed, found.notes, found.count_in) == ([], [], 12)
    assert [u.id for u in found.utterances] == [utterance_id(i) for i in range(12)]
    p = np.array([options.mixture.draw(4, 7, i)[0] for i in range(12)])
    expected = options.raters().rate(p, [u.id for u in found.utterances], 3, 7).lists()
    for index, u in enumerate(found.utterances):
        assert u.extra["true_distribution"] == dict(zip(CLASSES, p[index].tolist(), strict=True))
        assert u.ratings == expected[index]
        assert u.speaker == draw_speaker(7, index % 4).name
        assert u.audio_path is not None and u.audio_path.is_file()
    assert {(u.speaker, u.session) for u in found.utterances} == {
        ("spk001", "session01"),
        ("spk002", "session01"),
        ("spk003", "session02"),
        ("spk004", "session02"),
    }
    table = tally(get_policy(simulated.POLICY), found.ratings())
    assert table.votes.sum() == 36 and not table.excluded


def test_more_classes_and_second_labels_round_trip(tmp_path):
    classes = tuple(EMOTIONS)
    simulated.generate(tmp_path, n_utterances=6, n_speakers=2, classes=classes, second_label=0.9, audio_format="flac")
    found = simulated.scan(tmp_path)
    assert len(found.utterances) == 6 and found.notes == []
    assert tuple(found.utterances[0].extra["true_distribution"]) == classes
    assert max(len(r.labels) for u in found.utterances for r in u.ratings) == 2


def test_broken_pieces_are_listed_or_noted(copy):
    name = utterance_id
    (copy / "audio" / f"{name(0)}.wav").unlink()
    (copy / "audio" / "sim_999999.wav").write_bytes(b"x")
    (copy / "audio" / "notes.txt").write_text("x")
    lines = (copy / "votes.csv").read_text().splitlines()
    lines = [line for line in lines if not line.startswith((name(2), name(3)))]
    speaker = "spk003,session02"
    lines += [
        f"{name(2)},spk003",  # all that is left of utterance 2
        f"{name(3)},spk004,session02,rater001,sulking",
        f"{name(3)},spk004,session02,rater002,anger;sulking",
        f"{name(3)},spk004,session02,rater002,neutral",
        "gibberish",
        "",
        f"{name(6)},{speaker},rater099,anger,extra",
    ]
    (copy / "votes.csv").write_text("\n".join(lines) + "\n")
    truth = (copy / "truth.csv").read_text().splitlines()
    truth[5 + 1] = truth[5 + 1].rsplit(",", 1)[0] + ",0.9e9"
    (copy / "truth.csv").write_text("\n".join(truth) + "\n")

    found = simulated.scan(copy)
    reasons = {item.id: item.reason for item in found.listed}
    assert reasons == {
        name(0): "label_without_audio",
        name(2): "malformed_line",
        "gibberish": "malformed_line",
        "sim_999999": "audio_without_label",
    }
    assert found.count_in == len(found.utterances) + len(found.listed) == 14
    assert all(":" in item.source for item in found.listed if item.reason != "audio_without_label")
    third = next(u for u in found.utterances if u.id == name(3))
    assert third.ratings == [Rating("rater002", ("anger",))]
    text = "\n".join(found.notes)
    for piece in ("sulking", "second time", "notes.txt", "extra", f"{name(5)}: no true distribution", "0.9e9"):
        assert piece in text, piece
    fifth = next(u for u in found.utterances if u.id == name(5))
    assert "true_distribution" not in fifth.extra


def test_scan_without_a_corpus_or_with_another_header_says_so(copy, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        simulated.scan(tmp_path / "nowhere")
    (copy / "votes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="header"):
        simulated.scan(copy)


def test_a_corpus_without_its_truth_is_a_corpus_still(copy):
    (copy / "truth.csv").unlink()
    found = simulated.scan(copy)
    assert len(found.utterances) == 12 and any("truth.csv" in note for note in found.notes)


def test_command_line_hooks_generate_once(tmp_path):
    parser = argparse.ArgumentParser()
    simulated.add_arguments(parser)
    command = "--n-utterances 3 --n-speakers 2 --n-raters 4 --votes-per-utterance 2 --corpus-seed 5 --difficulty 0.5"
    args = parser.parse_args(command.split())
    simulated.prepare(tmp_path, args)
    first = digests(tmp_path)
    assert len(simulated.scan(tmp_path).utterances) == 3
    options = json.loads((tmp_path / "config.json").read_text())["options"]
    assert (options["seed"], options["difficulty"], options["n_raters"]) == (5, 0.5, 4)
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "audio").iterdir()}
    simulated.prepare(tmp_path, args)
    assert digests(tmp_path) == first
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "audio").iterdir()}


# Rating a real corpus again


def real_corpus() -> CorpusScan:
    def clip(name: str, *labels: str) -> Utterance:
        ratings = [Rating(f"E{i}", (label,)) for i, label in enumerate(labels)]
        return Utterance(name, "actor", "Ses01", "real", ratings, audio_bytes=b"RIFF", extra={"dialog": name[:3]})

    clips = [
        clip("a01", "Anger", "anger", "neutral"),
        clip("a02", "happiness", "excited", "excited"),
        clip("a03", "frustration", "frustration", "frustration"),
        clip("a04", "sadness", "sadness"),
    ]
    listed = [Listed("a05", "label_without_audio", "", "x:1")]
    return CorpusScan("real", clips, listed, ["a note"], 5)


def test_rerate_keeps_audio_and_ids_and_stores_the_source_distribution():
    policy = get_policy("iemocap-4")
    scan = real_corpus()
    before = [dataclasses.replace(u) for u in scan.utterances]
    new = rerate(scan, Raters.draw(policy.classes, 6, seed=0), policy, seed=1)
    assert [u.id for u in new.utterances] == ["a01", "a02", "a04"]
    assert [(i.id, i.reason) for i in new.listed] == [("a05", "label_without_audio"), ("a03", "no_votes")]
    assert new.count_in == len(new.utterances) + len(new.listed) == 5
    for u in new.utterances:
        assert (u.audio_bytes, u.speaker, u.session, u.corpus) == (b"RIFF", "actor", "Ses01", "real")
        assert u.extra["dialog"] == u.id[:3]
    assert [len(u.ratings) for u in new.utterances] == [3, 3, 2]
    assert new.utterances[0].extra["true_distribution"] == pytest.approx(
        {"anger": 2 / 3, "happiness": 0, "sadness": 0, "neutral": 1 / 3}
    )
    assert new.utterances[1].extra["true_distribution"]["happiness"] == 1
    assert scan.utterances == before and "true_distribution" not in scan.utterances[0].extra
    assert tally(policy, new.ratings()).votes.sum() == 8


def test_rerate_by_perfect_raters_gives_the_distribution_back():
    policy = get_policy("iemocap-4")
    perfect = Raters.draw(policy.classes, 3000, seed=0, confusion=0, reliability=1, spammers=0)
    wanted = {"a01": [0.2, 0.3, 0.5, 0.0], "a04": {"sadness": 1.0}, "b99": [1, 0, 0, 0]}
    new = rerate(real_corpus(), perfect, policy, distribution_of=wanted, votes_per_utterance=3000, seed=0)
    assert [u.id for u in new.utterances] == ["a01", "a04"] and len(new.listed) == 3
    assert any("1 ids of distribution_of are not in the scan, the first 'b99'" in note for note in new.notes)
    soft = tally(policy, new.ratings()).soft_label
    assert np.allclose(soft, [[0.2, 0.3, 0.5, 0], [0, 0, 1, 0]], atol=0.05)
    with pytest.raises(ValueError, match=r"a01.*sum to 1"):
        rerate(real_corpus(), perfect, policy, distribution_of=lambda u: [0.5, 0.2, 0.1, 0.1])
    with pytest.raises(ValueError, match="boredom"):
        rerate(real_corpus(), perfect, policy, distribution_of=lambda u: {"boredom": 1.0})
    with pytest.raises(ValueError, match="must be those of policy"):
        rerate(real_corpus(), Raters.draw(("anger", "neutral"), 2, seed=0), policy)


def test_rerate_says_when_there_are_too_few_raters():
    policy = get_policy("iemocap-4")
    new = rerate(real_corpus(), Raters.draw(policy.classes, 2, seed=0), policy)
    assert [len(u.ratings) for u in new.utterances] == [2, 2, 2]
    assert any("2 utterances had more ratings" in note for note in new.notes)
