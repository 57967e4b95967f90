"""An audio file that was cut short is no whole recording, whoever reads it; the rule depends on the container."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from helpers.made_files import KINDS, NAMES, encoded, flac_that_promises, mp3_that_promises, sound
from helpers.made_sound import RATE, problem, read, tone

from hf_ambiser.data.audio import AudioProblem, CheckedAudio, decode, inspect_audio
from hf_ambiser.data.cut_short import Length, length_of, missing_samples
from hf_ambiser.data.cut_short.ogg import _checksum
from hf_ambiser.inference.ffmpeg import program
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording


def made(kind: str, subtype: str = "PCM_16", seconds: float = 0.5) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds), RATE, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("AIFF", "PCM_16")]
)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.98])
def test_what_is_missing_is_said_at_both_doors(kind, subtype, share, tmp_path):
    whole = made(kind, subtype)
    path = tmp_path / "a.wav"
    path.write_bytes(whole[: int(len(whole) * share)])
    for content in (path, path.read_bytes()):
        assert "cut short: its header promises" in problem(Recording("a", content)).reason
        found = inspect_audio(content)
        assert isinstance(found, AudioProblem) and found.reason == "unreadable_audio" and "cut short" in found.detail


def both_doors(data: bytes) -> list[str]:
    """What the build and `predict` say of a file; "" of one that is read."""
    found, said = inspect_audio(data), ""
    try:
        read(Recording("a", data))
    except NoAudio as problem:
        said = problem.reason
    return [found.detail if isinstance(found, AudioProblem) else "", said]


@pytest.mark.parametrize(("ending", "form", "subtype"), KINDS, ids=NAMES)
def test_a_whole_file_of_every_kind_is_read_and_a_cut_one_is_not(ending, form, subtype, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # no ffmpeg
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    whole = encoded(sound(), 16000, form, subtype)
    assert both_doors(whole) == ["", ""]
    for share in (0.3, 0.6, 0.98):
        said = both_doors(whole[: int(len(whole) * share)])
        assert all(said), (share, said)
        # Both doors have one rule; only what libsndfile itself refuses they say in their own words.
        assert said[0] == said[1] or "libsndfile" in said[0]
        assert form == "FLAC" or any(word in said[0] for word in ("cut short", "missing or damaged")), said


def test_an_ogg_page_that_is_lost_or_damaged_is_missed():
    whole = encoded(sound(2.0), 16000, "OGG", "VORBIS")
    starts = [at for at in range(len(whole)) if whole[at : at + 4] == b"OggS"]
    lost = whole[: starts[3]] + whole[starts[4] :]
    bad = bytearray(whole)
    bad[starts[3] + 100] ^= 1
    for data in (lost, bytes(bad)):
        assert both_doors(data) == [f"1 of its {len(starts)} pages are missing or damaged"] * 2
    assert both_doors(whole[: starts[-1]])[0].startswith(f"it was cut short: none of its {len(starts) - 1} pages")
    assert both_doors(whole + whole)[0].startswith("it holds 2 streams of sound")
    assert both_doors(whole + b"what stands behind the end") == ["", ""]


def test_the_checksum_of_an_ogg_page_against_a_slow_transcription():
    """RFC 3533, section 6: polynomial 0x04c11db7, from 0, highest bit first, not inverted."""

    def slow(page: bytes) -> int:
        crc = 0
        for byte in page:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
        return crc

    for seed in range(5):
        page = np.random.default_rng(seed).bytes(seed * 37)
        assert int.from_bytes(_checksum(page), "little") == slow(page)


def test_an_mp3_whose_header_does_not_fit_its_frames():
    whole = encoded(sound(), 16000, "MP3", "MPEG_LAYER_III")
    at = max(whole.find(b"Xing"), whole.find(b"Info"))
    frames = int.from_bytes(whole[at + 8 : at + 12], "big")
    assert "cut short: its header promises 4294967295 frames" in both_doors(mp3_that_promises(whole, 2**32 - 1))[0]
    for promised in (frames // 2, frames - 2):  # libsndfile would stop there
        assert "not all of it would be read" in both_doors(mp3_that_promises(whole, promised))[0]
    for promised in (frames - 1, frames + 1):  # some writers count the header in, or begin at zero
        assert both_doors(mp3_that_promises(whole, promised)) == ["", ""]
    assert "not all of it would be read" in both_doors(whole + whole)[0]
    assert both_doors(whole + b"TAG" + bytes(125)) == ["", ""]


def test_an_mp3_without_a_header_is_not_known_to_be_whole():
    whole = encoded(sound(), 16000, "MP3", "MPEG_LAYER_III")
    at = max(whole.find(b"Xing"), whole.find(b"Info"))
    second = whole.index(whole[:2], at)  # all frames have the same first two bytes
    constant = mp3_of_one_bit_rate(whole[second:])
    assert not length_of(io.BytesIO(constant)).known and both_doors(constant) == ["", ""]
    found = inspect_audio(constant)
    assert isinstance(found, CheckedAudio) and not found.length_known
    assert "the last of its" in both_doors(constant[:-5])[0]
    # Frames of several bit rates: libsndfile reckons the length from the first ones, and stops early.
    said = both_doors(whole[second:])
    assert said[0] == said[1] and (said[0] == "" or "it promises" in said[0])


def mp3_of_one_bit_rate(data: bytes) -> bytes:
    """Repeat the first frame, so that all have one length."""
    end = data.index(data[:2], 4)
    return data[:end] * 20


@pytest.mark.parametrize("samples", [1, 4000, 7999, 8001, 2**35])
def test_a_flac_that_promises_other_than_it_has(samples):
    said = both_doors(flac_that_promises(encoded(sound(), 16000, "FLAC"), samples))
    assert said[0] == said[1] and f"it promises {samples} samples" in said[0]


@pytest.mark.parametrize("samples", [0, 2**36 - 1])
def test_a_flac_of_unknown_length_is_stored_with_its_length(samples):
    whole = encoded(sound(), 16000, "FLAC")
    found = inspect_audio(flac_that_promises(whole, samples))
    assert isinstance(found, CheckedAudio) and found.data == whole
    assert found.length_written and not found.length_known and not found.stripped
    np.testing.assert_array_equal(decode(found.data), decode(whole))


def box(name: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + name + body


def element(name: bytes, body: bytes, size: bytes | None = None) -> bytes:
    return name + (size or (1 << 14 | len(body)).to_bytes(2, "big")) + body


HEAD = element(b"\x1a\x45\xdf\xa3", b"webm")
BLOCKS = element(b"\xa3", bytes(50)) + element(b"\xa3", bytes(60))
OPEN = b"\x01" + b"\xff" * 7  # a size that is unknown
SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (box(b"ftyp", b"M4A ") + box(b"mdat", bytes(500)) + box(b"moov", bytes(99)), True),
        (box(b"ftyp", b"M4A ") + box(b"moov", bytes(99)) + box(b"moof", bytes(20)) + box(b"mdat", bytes(500)), False),
        (HEAD + element(SEGMENT, element(CLUSTER, BLOCKS)), True),
        (HEAD + element(SEGMENT, element(CLUSTER, BLOCKS, OPEN), OPEN), False),  # as a browser records
    ],
)
def test_films_say_how_long_their_parts_are(data, known):
    assert length_of(io.BytesIO(data)) == Length(known=known)
    if data[4:8] == b"ftyp" or known:
        assert missing_samples(io.BytesIO(data + b"TAG of another program, put behind the end")) == ""
    assert "cut short: its last" in missing_samples(io.BytesIO(data[:-30]))


@pytest.mark.parametrize("ending", ["m4a", "webm", "mka"])
def test_ffmpeg_is_not_asked_for_half_a_file(ending, tmp_path):
    wav, path = tmp_path / "a.wav", tmp_path / f"a.{ending}"
    soundfile.write(wav, sound(2.0), 16000)
    subprocess.run([program(), "-nostdin", "-loglevel", "error", "-i", str(wav), str(path)], check=True)
    whole = path.read_bytes()
    assert missing_samples(io.BytesIO(whole)) == ""
    for share in (0.5, 0.97):
        assert "cut short" in problem(Recording("a", whole[: int(len(whole) * share)])).reason


@pytest.mark.parametrize("seed", range(20))
def test_no_bytes_at_all_make_the_rules_fail(seed):
    """Heads of every kind before noise: a rule ends, and says nothing that is no `Length`."""
    random = np.random.default_rng(seed)
    heads = [b"OggS", b"fLaC", b"RIFF\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF", b"caff\0\1\0\0", b".snd", b"ID3\4\0\0"]
    heads += [b"\x1a\x45\xdf\xa3", b"\0\0\0\x08ftyp", b"\xff\xfb\x90\x64", b"RF64\xff\xff\xff\xffWAVEds64"]
    for head in heads:
        data = head + random.bytes(int(random.integers(0, 400)))
        file = io.BytesIO(data)
        file.seek(3)
        assert isinstance(length_of(file), Length) and file.tell() == 3


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "FLAC", "OGG"])
def test_whole_files_and_other_kinds_miss_nothing(kind):
    data = made(kind, "VORBIS" if kind == "OGG" else "PCM_16")
    file = io.BytesIO(data + b"more behind the end")
    file.seek(5)
    assert missing_samples(file) == "" and file.tell() == 5
    assert isinstance(inspect_audio(data), CheckedAudio)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0])
def test_a_size_that_a_pipe_leaves_promises_nothing(size):
    data = bytearray(made("WAV"))
    data[40:44] = size.to_bytes(4, "little")
    assert missing_samples(io.BytesIO(bytes(data))) == ""


def test_samples_after_other_chunks_are_found():
    data = made("WAV")
    odd = b"LIST" + (3).to_bytes(4, "little") + b"abc\0"
    behind = data[:12] + odd + data[12:]
    assert missing_samples(io.BytesIO(behind)) == ""
    assert missing_samples(io.BytesIO(behind[:-64])) == ""
    assert missing_samples(io.BytesIO(behind[:-65])).endswith("16000 bytes of samples, and 15935 are there")
    np.testing.assert_array_equal(read(Recording("a", behind)), read(Recording("a", data)))


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff"])
def test_half_a_header_promises_nothing(data):
    assert missing_samples(io.BytesIO(data)) == ""
