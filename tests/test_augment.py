"""Augmentation: the same clip for the same key, and each operation does what it says."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest

from hf_ambiser.training.augment import (
    KINDS,
    OPERATIONS,
    AugmentConfig,
    Augmenter,
    echo_delays,
    keyed_generator,
)
from hf_ambiser.training.augment_ops import (
    add_noise,
    apply_gain,
    change_speed,
    change_tempo,
    mean_power,
    noise_pool,
    reverberate,
    samples_at_speed,
    shift_pitch,
    take_noise,
)


RATE = 16000


def noise_clip(length=RATE, seed=0, level=0.1):
    return (np.random.default_rng(seed).standard_normal(length) * level).astype(np.float32)


def tone(hertz, length=2 * RATE):
    return np.sin(2 * np.pi * hertz * np.arange(length) / RATE).astype(np.float32)


def peak_hertz(waveform):
    """Frequency of the largest FFT peak, zero-padded eight-fold."""
    n = 8 * len(waveform)
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), n))
    return spectrum.argmax() * RATE / n


def decibel(ratio):
    return 10 * np.log10(ratio)


# ---- keys


@pytest.mark.parametrize("kind", KINDS)
def test_same_key_same_bits_whatever_came_before(kind):
    clip = noise_clip()
    first = Augmenter({"kind": kind})
    expected = [first(clip, 1, 2, key) for key in range(12)]
    np.random.seed(99)  # noqa: NPY002
    other = pickle.loads(pickle.dumps(Augmenter({"kind": kind})))
    for key in reversed(range(12)):
        other(noise_clip(500), 7, 7, "in between")
        assert other(clip, 1, 2, key).tobytes() == expected[key].tobytes()


def test_same_bits_in_another_process():
    code = (
        "import sys, numpy as np; from hf_ambiser.training.augment import Augmenter; a = Augmenter();"
        "x = np.linspace(-1, 1, 9000, dtype=np.float32);"
        "sys.stdout.buffer.write(b''.join(a(x, 3, 4, f'id-{i}').tobytes() for i in range(8)))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    clip, augmenter = np.linspace(-1, 1, 9000, dtype=np.float32), Augmenter()
    assert other == b"".join(augmenter(clip, 3, 4, f"id-{i}").tobytes() for i in range(8))


@pytest.mark.parametrize("kind", KINDS)
def test_seed_epoch_and_key_each_matter(kind):
    augmenter, clip = Augmenter({"kind": kind}), noise_clip()
    variants = [(0, 0, 3), (1, 0, 3), (0, 1, 3), (0, 0, 4), (0, 0, "3"), (0, 0, "a")]
    assert len({augmenter(clip, *v).tobytes() for v in variants}) == len(variants)
    assert augmenter(clip, 0, 0, np.int64(3)).tobytes() == augmenter(clip, np.int32(0), 0, 3).tobytes()


def test_global_random_state_is_left_alone():
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    Augmenter()(noise_clip(), 0, 0, 0)
    assert np.random.random() == expected  # noqa: NPY002


# ---- the mixture


def applied(plan):
    drawn = {
        "pitch": plan.semitones,
        "reverberation": plan.t60_s,
        "noise": plan.snr_db,
        "gain": plan.gain_db,
        "speed": plan.speed,
        "tempo": plan.tempo,
    }
    return {name for name, value in drawn.items() if value is not None}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_kind_is_always_and_only_that(kind):
    augmenter = Augmenter({"kind": kind, f"{kind}_probability": 0.0})
    assert all(applied(augmenter.draw(0, 0, i)) == {kind} for i in range(50))


def test_mixture_has_each_with_its_probability_and_at_least_one():
    p = {"noise": 0.9, "gain": 0.2, "reverberation": 0.5, "pitch": 0.0, "speed": 0.3, "tempo": 0.1}
    augmenter = Augmenter({f"{name}_probability": value for name, value in p.items()})
    plans = [applied(augmenter.draw(0, 0, i)) for i in range(4000)]
    assert all(plans)
    empty = np.prod([1 - value for value in p.values()])
    for name, value in p.items():
        expected = value + empty * value / sum(p.values())
        assert np.mean([name in plan for plan in plans]) == pytest.approx(expected, abs=0.03)


def test_draws_stay_in_their_ranges_and_fill_them():
    config = AugmentConfig()
    named = {"snr_db": "noise", "gain_db": "gain", "t60_s": "reverberation", "semitones": "pitch"}
    named |= {"speed": "speed", "tempo": "tempo"}
    for field, name in named.items():
        values = [getattr(Augmenter({"kind": name}).draw(0, 0, i), field) for i in range(500)]
        low, high = getattr(config, field)
        assert low <= min(values) and max(values) <= high
        assert max(values) - min(values) > 0.95 * (high - low)


def test_changing_one_probability_leaves_the_other_draws():
    a, b = Augmenter().draw(0, 0, "x"), Augmenter({"gain_probability": 1.0}).draw(0, 0, "x")
    assert b.gain_db is not None
    assert (a.semitones, a.t60_s, a.snr_db, a.colour) == (b.semitones, b.t60_s, b.snr_db, b.colour)


# ---- shapes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 2, 3, 7, 160, 399, 5000, 40_001, 20 * RATE])
def test_type_and_input_are_kept_and_the_length_is_as_said(kind, length):
    augmenter, clip = Augmenter({"kind": kind}), noise_clip(length)
    before = clip.copy()
    for key in range(4):
        out = augmenter(clip, 0, 0, key)
        assert out.dtype == np.float32 and np.isfinite(out).all()
        assert len(out) == augmenter.samples(length, 0, 0, key)
        assert len(out) == length or kind in ("speed", "tempo")
        assert not np.shares_memory(out, clip)
    assert np.array_equal(clip, before)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_stays_silent(kind):
    for key in range(4):
        assert not Augmenter({"kind": kind})(np.zeros(3000, np.float32), 0, 0, key).any()


def test_other_floats_and_strides():
    clip = noise_clip(2000)
    wide = np.stack([clip, clip], axis=1).astype(np.float64)
    assert np.array_equal(Augmenter()(wide[:, 0], 0, 0, 0), Augmenter()(clip, 0, 0, 0))


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros((2, 5), np.float32), "mix channels"),
        (np.zeros(0, np.float32), "at least one"),
        (np.zeros(5, np.int16), "32768"),
        (np.array([0, np.nan], np.float32), "finite"),
        (np.array([0, -np.inf], np.float32), "finite"),
    ],
)
def test_bad_clips_are_named(clip, message):
    with pytest.raises(ValueError, match=message):
        Augmenter()(clip, 0, 0, 0)


# ---- noise


@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
def test_drawn_snr_is_achieved(colour):
    augmenter, clip = Augmenter({"kind": "noise", "noise_colours": [colour], "snr_db": [-5, 40]}), tone(300)
    for key in range(10):
        plan = augmenter.draw(0, 0, key)
        added = augmenter(clip, 0, 0, key).astype(float) - clip
        assert decibel(mean_power(clip) / mean_power(added)) == pytest.approx(plan.snr_db, abs=0.02)


@pytest.mark.parametrize(("colour", "slope"), [("white", 0), ("pink", -1), ("brown", -2)])
def test_noise_has_its_colour(colour, slope):
    pool = noise_pool(colour, 0, RATE).astype(float)
    frequency = np.fft.rfftfreq(len(pool), 1 / RATE)
    power = np.abs(np.fft.rfft(pool)) ** 2
    octaves = [(100 * 2**i, power[(frequency >= 100 * 2**i) & (frequency < 200 * 2**i)].mean()) for i in range(6)]
    hertz, level = np.log(np.array(octaves)).T
    assert np.polyfit(hertz, level, 1)[0] == pytest.approx(slope, abs=0.1)
    assert mean_power(pool) == pytest.approx(1, rel=1e-4)


def test_pool_goes_round_and_depends_on_the_seed():
    pool = np.arange(10, dtype=np.float32)
    assert take_noise(pool, 8, 15).tolist() == [float((8 + i) % 10) for i in range(15)]
    assert not np.array_equal(noise_pool("white", 0, RATE), noise_pool("white", 1, RATE))


def test_noise_on_silence_has_no_ratio():
    assert not add_noise(np.zeros(9, np.float32), np.ones(9, np.float32), 10.0).any()


# ---- gain


@pytest.mark.parametrize("gain_db", [-20.0, 0.0, 6.0])
def test_gain_is_exact(gain_db):
    clip = noise_clip(100)
    assert np.array_equal(apply_gain(clip, gain_db), clip * np.float32(10 ** (gain_db / 20)))
    plan = (augmenter := Augmenter({"kind": "gain"})).draw(0, 0, 1)
    power = mean_power(augmenter(clip, 0, 0, 1)) / mean_power(clip)
    assert decibel(power) == pytest.approx(plan.gain_db, abs=1e-4)


# ---- reverberation


def test_room_response_is_the_product_of_its_taps():
    delays, signs, t60, wet = [5, 11, 40], [1.0, -1.0, 1.0], 100.0, 0.3
    clip = noise_clip(200)
    response = np.zeros(60)
    for chosen in np.ndindex(2, 2, 2):
        delay = sum(d for d, c in zip(delays, chosen, strict=True) if c)
        sign = np.prod([s for s, c in zip(signs, chosen, strict=True) if c])
        response[delay] += sign * 10 ** (-3 * delay / t60) * (wet if delay else 1)
    expected = np.convolve(clip.astype(float), response)[: len(clip)]
    expected *= np.sqrt(np.mean(clip.astype(float) ** 2) / np.mean(expected**2))
    assert reverberate(clip, delays, signs, t60, wet) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("t60_s", [0.15, 0.5])
def test_reverberation_decays_by_sixty_decibel_in_t60(t60_s):
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1
    uniform = np.random.default_rng(3).random((2, 9))
    t60 = t60_s * RATE
    out = reverberate(impulse, echo_delays(t60, uniform[0]), np.sign(uniform[1] - 0.5), t60, 1.0).astype(float)
    time = np.flatnonzero(out)
    assert len(time) > 400
    edges = np.linspace(0.05 * t60, 0.85 * t60, 9)
    level = [decibel(np.mean(out[time[(time >= a) & (time < b)]] ** 2)) for a, b in itertools.pairwise(edges)]
    slope = np.polyfit((edges[1:] + edges[:-1]) / 2, level, 1)[0]
    assert slope * t60 == pytest.approx(-60, abs=6)


def test_reverberation_keeps_power_and_rings_on():
    clip = np.concatenate([noise_clip(4000), np.zeros(8000, np.float32)])
    out = Augmenter({"kind": "reverberation"})(clip, 0, 0, 0)
    assert mean_power(out) == pytest.approx(mean_power(clip), rel=1e-3)
    assert mean_power(out[4000:5000]) > 10 * mean_power(out[-1000:])


# ---- pitch


@pytest.mark.parametrize("semitones", [-12, -4, -2, -0.5, 0.5, 1, 2, 5, 12])
@pytest.mark.parametrize("hertz", [220.0, 1234.5])
def test_pitch_moves_a_tone_by_the_semitones_asked(semitones, hertz):
    out = shift_pitch(tone(hertz), semitones, RATE)
    ratio = 2 ** (semitones / 12)
    # A jump of the reading position resets the phase, so the peak is on a grid of as many hertz as there are jumps a
    # second: one each time the drift of |ratio - 1| has added up to 64 ms, or after 0.5 s, less the 16 ms fade.
    jumps = 1 / (min(0.064 / abs(ratio - 1), 0.5) - 0.016)
    assert peak_hertz(out) == pytest.approx(hertz * ratio, abs=jumps / 2 + 0.25)
    assert abs(peak_hertz(out) - hertz) > 0.8 * abs(hertz * ratio - hertz)
    assert len(out) == 2 * RATE


@pytest.mark.parametrize("semitones", [-3.0, 3.0])
def test_pitch_keeps_time(semitones):
    """A burst stays where it is, to within the drift allowed; no part of the clip falls silent."""
    clip = np.zeros(2 * RATE, np.float32)
    clip[RATE : RATE + 1600] = tone(500, 1600)
    out = shift_pitch(clip, semitones, RATE).astype(float)
    centre = (out**2 @ np.arange(len(out))) / (out**2).sum()
    assert centre == pytest.approx(RATE + 800, abs=0.064 * RATE)
    steady = shift_pitch(noise_clip(40_000), semitones, RATE)
    blocks = np.square(steady.reshape(40, 1000)).mean(axis=1)
    assert blocks.min() > 0.2 * blocks.mean()


def test_no_shift_is_no_change():
    clip = noise_clip(5000)
    assert np.array_equal(shift_pitch(clip, 0.0, RATE), clip)
    with pytest.raises(ValueError, match="semitones"):
        shift_pitch(clip, 13.0, RATE)


# ---- speed and tempo


@pytest.mark.parametrize("speed", [0.5, 0.87, 1.0, 1.2, 2.0])
def test_speed_moves_a_tone_and_the_length_together(speed):
    out = change_speed(tone(440.0), speed)
    assert len(out) == samples_at_speed(2 * RATE, speed) == round(2 * RATE / speed)
    assert peak_hertz(out) == pytest.approx(440.0 * speed, abs=0.5)


def test_speed_reads_between_samples():
    """Against a literal reading: output j is the input at speed * j, on the line between its neighbours."""
    clip, speed = noise_clip(50), 0.83
    slow = []
    for j in range(samples_at_speed(50, speed)):
        at = min(j * speed, 49)
        left = min(int(at), 48)
        slow.append(clip[left] + (clip[left + 1] - clip[left]) * (at - left))
    np.testing.assert_allclose(change_speed(clip, speed), slow, atol=1e-6)
    assert np.array_equal(change_speed(clip, 1.0), clip)


@pytest.mark.parametrize("tempo", [0.5, 0.87, 1.2, 2.0])
@pytest.mark.parametrize("hertz", [220.0, 1234.5])
def test_tempo_changes_the_length_and_not_the_pitch(tempo, hertz):
    out = change_tempo(tone(hertz), tempo, RATE)
    assert len(out) == samples_at_speed(2 * RATE, tempo) == round(2 * RATE / tempo)
    # As with pitch, the peak is on a grid of as many hertz as there are jumps a second.
    jumps = 1 / (min(0.064 / abs(1 / tempo - 1), 0.5) - 0.016)
    assert peak_hertz(out) == pytest.approx(hertz, abs=jumps / 2 + 0.5)
    blocks = np.square(change_tempo(noise_clip(40_000), tempo, RATE)[:19_000].reshape(19, 1000)).mean(axis=1)
    assert blocks.min() > 0.2 * blocks.mean(), "no part falls silent"


@pytest.mark.parametrize("tempo", [0.8, 1.25])
def test_tempo_moves_a_burst_in_proportion(tempo):
    clip = np.zeros(2 * RATE, np.float32)
    clip[RATE : RATE + 1600] = tone(500, 1600)
    out = change_tempo(clip, tempo, RATE).astype(float)
    centre = (out**2 @ np.arange(len(out))) / (out**2).sum()
    assert centre == pytest.approx((RATE + 800) / tempo, abs=0.064 * RATE)


@pytest.mark.parametrize("change", [change_speed, change_tempo])
@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_factor_that_is_none_is_refused(change, factor):
    with pytest.raises(ValueError, match="(speed|tempo) is .*; allowed is above 0"):
        change(noise_clip(10), factor)
    assert np.array_equal(change(noise_clip(10), 1.0), noise_clip(10))


def test_the_mixture_draws_what_it_drew_before_there_were_speed_and_tempo():
    """A run that is begun again hears the same copies: these draw last, and are off unless they are asked for."""
    plan = Augmenter().draw(3, 4, "u7")
    assert plan.speed is None and plan.tempo is None
    u = keyed_generator(3, 4, "u7").random(30)
    chosen = {
        name for name, chance in zip(("pitch", "reverberation", "noise", "gain"), u[:4], strict=True) if chance < 0.5
    }
    assert applied(plan) == chosen and chosen
    assert np.array_equal(plan.echoes, u[12:].reshape(2, 9)) and plan.offset == u[10]


# ---- configuration


def test_config_round_trip():
    config = AugmentConfig.from_dict({"snr_db": [5, 15], "noise_colours": ["pink"], "kind": "noise"})
    assert config.snr_db == (5, 15) and AugmentConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"snr": [1, 2]}, "no field"),
        ({"kind": "echo"}, "kind"),
        ({"pitch_probability": 1.5}, "pitch_probability"),
        ({"gain_db": [3, -3]}, "gain_db"),
        ({"speed": [0.1, 1.0]}, "speed"),
        ({"noise_colours": ["blue"]}, "noise_colours"),
        ({f"{name}_probability": 0.0 for name in OPERATIONS}, "at least one"),
    ],
)
def test_bad_configs_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Augmenter(values)
