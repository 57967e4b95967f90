"""Audio in: any kind, rate, number of channels and length becomes blocks of mono samples, or a reason."""

from __future__ import annotations

import io
import os
import stat
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.made_sound import RATE, problem, read, tone

from hf_ambiser.inference import ffmpeg
from hf_ambiser.inference.inputs import recordings_of
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording
from hf_ambiser.inference.resampling import HIGHEST, LOWEST, Resampler
from hf_ambiser.inference.samples import as_mono, channels_last


def encoded(samples: np.ndarray, rate: int = RATE, **kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **{"format": "WAV", "subtype": "FLOAT", **kind})
    return buffer.getvalue()


@pytest.fixture
def no_ffmpeg(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        (".wav", "PCM_U8", 0.01),
        (".wav", "PCM_16", 1e-4),
        (".wav", "PCM_24", 1e-6),
        (".wav", "FLOAT", 0),
        (".flac", "PCM_16", 1e-4),
        (".ogg", "VORBIS", 0.05),
        (".mp3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_kinds_of_libsndfile(suffix, subtype, tolerance, tmp_path, no_ffmpeg):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, tone(), RATE, subtype=subtype)
    found = read(Recording("a", path))
    assert found.dtype == np.float32
    # MP3 may have some silence of its own at the end.
    assert len(found) >= RATE and np.abs(found[:RATE] - tone())[200:-200].max() <= tolerance


@pytest.mark.parametrize("source", ["path", "bytes", "file", "pipe"])
def test_a_path_bytes_a_file_object_and_a_pipe_are_the_same_recording(source, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(), RATE)
    if source == "pipe":
        # What cannot go back: standard input.
        receive, send = os.pipe()
        os.write(send, path.read_bytes())
        os.close(send)
        content: object = os.fdopen(receive, "rb")
        assert not content.seekable()
    else:
        content = {"path": path, "bytes": path.read_bytes(), "file": path.open("rb")}[source]
    (recording,) = recordings_of(content)
    np.testing.assert_array_equal(read(recording), soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 22051, 44099, 44100, 48000, 192000])
def test_any_rate_becomes_the_models_and_the_tone_stays(rate):
    begun = time.process_time()
    found = read(Recording("a", tone(2.0, rate), rate))
    assert time.process_time() - begun < 2.0
    assert abs(len(found) - 2 * RATE) <= 2
    np.testing.assert_allclose(found[800:-800], tone(2.0)[800 : len(found) - 800], atol=2e-3)


@pytest.mark.parametrize("rate", [1, LOWEST - 1, HIGHEST + 1, 2**31 - 1])
def test_a_rate_that_no_recording_has_is_refused_by_its_value(rate):
    found = problem(Recording("a", tone(), rate))
    assert found.status == "invalid" and f"sampling rate is {rate} Hz" in found.reason


@pytest.mark.parametrize("seed", range(5))
def test_resampling_does_not_depend_on_the_blocks(seed):
    random = np.random.default_rng(seed)
    samples = random.normal(size=30000).astype(np.float32) * 0.1
    whole = Resampler(44100, RATE)
    expected = np.concatenate([whole.feed(samples), whole.finish()])
    cuts = np.sort(random.integers(0, len(samples), size=12))
    pieces = Resampler(44100, RATE)
    found = np.concatenate([*map(pieces.feed, np.split(samples, cuts)), pieces.finish()])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_channels_are_averaged_also_eight_of_them(tmp_path):
    channels = np.stack([tone(pitch=100 * (i + 1)) for i in range(8)], axis=1)
    path = tmp_path / "eight.wav"
    soundfile.write(path, channels, RATE, subtype="FLOAT")
    np.testing.assert_allclose(read(Recording("a", path)), channels.mean(1), atol=1e-6)
    np.testing.assert_allclose(read(Recording("a", channels, RATE)), channels.mean(1), atol=1e-6)
    stereo = channels[:, :2]
    for form in (stereo, stereo.T):
        np.testing.assert_allclose(read(Recording("a", form, RATE)), stereo.mean(1), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("int8", lambda x: np.round(x * 2**7)),
        ("uint8", lambda x: np.round(x * 2**7 + 2**7)),
        ("int16", lambda x: np.round(x * 2**15)),
        ("int32", lambda x: np.round(x.astype(np.float64) * 2**31)),
        ("float64", lambda x: x),
        ("float16", lambda x: x),
    ],
)
def test_pcm_of_every_width_and_floats_are_on_one_scale(kind, make):
    found = as_mono(make(tone()).astype(kind))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tone(), atol={"int8": 0.005, "uint8": 0.005}.get(kind, 5e-4))


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.array([0.1, np.nan, np.inf]), "2 of 3 samples are NaN or infinite"),
        (tone() * 32768, "full scale is 1. Divide 16-bit integers by 32768"),
        (np.arange(100), "of type int64; allowed: floating point in [-1, 1], or PCM"),
        (np.ones(100, dtype=bool), "of type bool"),
        (np.ones(100, dtype=complex), "of type complex128"),
        (np.array(["a"]), "of type str"),
    ],
)
def test_samples_that_no_recording_has_are_refused_by_name(samples, words):
    found = problem(Recording("a", samples, RATE))
    assert found.status == "invalid" and words in found.reason


@pytest.mark.parametrize("shape", [(), (2, 2), (0, 2), (2, 3, 4)])
def test_an_array_whose_channels_nobody_can_tell_is_refused(shape):
    with pytest.raises(NoAudio, match="allowed: \\(samples,\\), \\(samples, channels\\)"):
        channels_last(np.zeros(shape))


@pytest.mark.parametrize(("shape", "words"), [((3, 4000), "3 recordings or 3 channels"), ((40, 33), "at most 32")])
def test_a_stack_of_utterances_is_not_taken_for_the_channels_of_one(shape, words):
    """Their average would get an answer, and nobody would see that it is wrong."""
    found = problem(Recording("a", np.zeros(shape, np.float32), RATE))
    assert found.status == "invalid" and words in found.reason


def test_a_float_file_with_nan_and_one_on_the_scale_of_integers(tmp_path):
    spoilt = tone()
    spoilt[5000] = np.nan
    assert "1 of 16000 samples are NaN" in problem(Recording("a", encoded(spoilt))).reason
    assert "full scale is 1" in problem(Recording("a", encoded(tone() * 20000))).reason


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.write_bytes(b""), "the file is empty (0 bytes)"),
        (lambda path: path.write_text("To be or not to be, that is the question.\n" * 9), "Format not recognised"),
        (os.mkfifo, "it is neither a file nor a folder"),
        (lambda path: path.symlink_to(path), "there is no such file"),
    ],
)
def test_what_is_no_recording_is_said_in_words(make, words, tmp_path, no_ffmpeg):
    path = tmp_path / "a.wav"
    make(path)
    found = problem(Recording("a", path))
    assert found.status == "unreadable" and words in found.reason
    assert str(tmp_path) not in found.reason and " at 0x" not in found.reason


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), RATE)
    plain = Path.open

    def closed(self, *args, **kwargs):
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", closed)  # root may read everything
    assert problem(Recording("a", path)).reason == "it cannot be read (Permission denied)"


def test_a_flac_that_is_cut_short_is_said_to_be_so(tmp_path, no_ffmpeg):
    whole = encoded(np.random.default_rng(0).normal(size=80000) * 0.1, format="FLAC", subtype="PCM_16")
    found = problem(Recording("a", whole[: len(whole) // 2]))
    assert found.status == "unreadable" and "it cannot be decoded after" in found.reason


@pytest.mark.parametrize("total", [0, 2**36 - 1])
def test_a_flac_without_its_length_or_with_a_wrong_one_is_read_to_its_end(total, no_ffmpeg):
    """0 is what a program writes into a pipe; the number of samples has 36 bits, from byte 21 on."""
    whole = bytearray(encoded(tone(2.0), format="FLAC", subtype="PCM_16"))
    stream = int.from_bytes(whole[18:26], "big")
    whole[18:26] = (stream >> 36 << 36 | total).to_bytes(8, "big")
    np.testing.assert_allclose(read(Recording("a", bytes(whole))), tone(2.0), atol=1e-4)


@pytest.mark.parametrize("kind", [("WAV", "GSM610"), ("WAV", "IMA_ADPCM"), ("AU", "G721_32"), ("WAV", "ULAW")])
def test_codecs_of_telephones(kind, no_ffmpeg):
    found = read(Recording("a", encoded(tone(), format=kind[0], subtype=kind[1])))
    assert len(found) >= RATE and np.corrcoef(found[:RATE], tone())[0, 1] > 0.9


def test_raw_samples_say_no_rate(tmp_path, no_ffmpeg):
    path = tmp_path / "a.raw"
    path.write_bytes(tone().tobytes())
    assert "raw samples, which do not say their rate" in problem(Recording("a", path)).reason


def test_without_ffmpeg_one_line_says_what_is_missing(no_ffmpeg):
    found = problem(Recording("a", b"\0\0\0\x20ftypM4A " + bytes(100)))
    assert "libsndfile cannot read it" in found.reason and "ffmpeg, which reads more (m4a, webm ...)" in found.reason
    assert "\n" not in found.reason


# ---- ffmpeg: a program that stands in its place, and the real one where it is ---------------------------------------

STAND_IN = """#!{python}
import json, os, sys, time
with open({log!r}, "w") as log:
    json.dump([sys.argv[1:], sys.stdin.read() if not os.isatty(0) else "terminal"], log)
source = sys.argv[sys.argv.index("-i") + 1].removeprefix("file:")
how = open(source, "rb").read().split()[1]
if how == b"silent":
    sys.exit("Stream map '' matches no streams.\\nError opening output files: Invalid argument\\n")
if how == b"fails":
    sys.exit(f"file:{{source}}: Invalid data found when processing input\\n")
os.write(1, open({sound!r}, "rb").read())
if how == b"hangs":
    time.sleep(60)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program named ffmpeg, which notes its arguments; what it does is the second word of the file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    sound, log = tmp_path / "sound", tmp_path / "log"
    sound.write_bytes(tone().tobytes() + b"\0\0")
    program = folder / "ffmpeg"
    program.write_text(STAND_IN.format(python=sys.executable, log=str(log), sound=str(sound)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return log


@pytest.mark.parametrize("source", ["path", "bytes"])
def test_ffmpeg_reads_what_libsndfile_cannot(source, stand_in, tmp_path):
    path = tmp_path / "-a b;c.m4a"
    path.write_bytes(b"made works")
    found = read(Recording("a", path if source == "path" else path.read_bytes()))
    np.testing.assert_array_equal(found, tone())
    words = stand_in.read_text()
    for needed in ('"-nostdin"', '"-protocol_whitelist", "file,pipe"', '"-ar", "16000"', '"-f", "f32le"', '"file:/'):
        assert needed in words
    assert words.endswith('""]')  # it gets nothing from our standard input


def test_what_ffmpeg_cannot_read_either(stand_in):
    found = problem(Recording("a", b"made fails"))
    assert found.status == "unreadable"
    assert found.reason == (
        "libsndfile cannot read it (Format not recognised); ffmpeg cannot decode it"
        " (Invalid data found when processing input)"
    )


def test_a_film_without_sound_is_said_to_be_one(stand_in):
    assert problem(Recording("a", b"made silent")).reason.endswith("ffmpeg finds no sound in it")


def test_ffmpeg_that_hangs_is_stopped(stand_in, monkeypatch):
    monkeypatch.setattr(ffmpeg, "PATIENCE", 1.5)
    begun = time.monotonic()
    assert "ffmpeg gave no sample for 1.5 s" in problem(Recording("a", b"made hangs")).reason
    assert time.monotonic() - begun < 30


def test_a_reader_who_stops_early_leaves_no_process(stand_in):
    blocks = Recording("a", b"made hangs").blocks(RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ffmpeg, "_BLOCK", 4000)
        assert len(next(blocks)) == 1000
        begun = time.monotonic()
        blocks.close()
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("suffix", [".m4a", ".webm", ".mka"])
def test_the_real_ffmpeg(suffix, tmp_path):
    import subprocess

    wav, path = tmp_path / "a.wav", tmp_path / f"a{suffix}"
    soundfile.write(wav, np.stack([tone(2.0, 44100)] * 2, 1), 44100)
    subprocess.run([ffmpeg.program(), "-nostdin", "-loglevel", "error", "-i", str(wav), str(path)], check=True)
    for content in (path, path.read_bytes()):
        found = read(Recording("a", content))
        assert abs(len(found) - 2 * RATE) < 0.1 * RATE
        assert abs(np.abs(np.fft.rfft(found[:RATE])).argmax() - 220) <= 1


def test_a_playlist_leads_to_no_other_file(tmp_path):
    soundfile.write(tmp_path / "secret.wav", tone(), RATE)
    playlist = tmp_path / "a.m4a"
    playlist.write_text(f"#EXTM3U\n#EXTINF:2,\nfile:{tmp_path / 'secret.wav'}\n#EXT-X-ENDLIST\n")
    assert "ffmpeg cannot decode it" in problem(Recording("a", playlist)).reason
