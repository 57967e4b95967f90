"""A WAV or AIFF file that was cut short is no whole recording, whoever reads it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from helpers.made_sound import RATE, problem, read, tone

from hf_ambiser.data.audio import AudioProblem, CheckedAudio, inspect_audio
from hf_ambiser.data.cut_short import missing_samples
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
