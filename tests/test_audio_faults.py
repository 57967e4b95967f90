"""No file ends a build: every container with every fault, and what `hypothesis` makes of them."""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from helpers.made_files import KINDS, encoded, faults, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_ambiser.data.audio import AudioProblem, CheckedAudio, decode, inspect_audio
from hf_ambiser.data.build import build
from hf_ambiser.data.schema import REASONS, CorpusScan, Rating, Utterance
from hf_ambiser.data.sound_file import BLOCK
from hf_ambiser.inference.no_audio import STATUSES, NoAudio
from hf_ambiser.inference.recordings import Recording
from hf_ambiser.inference.tar_source import TarSource


CLASSES = ("anger", "happiness", "neutral", "sadness")


def corpus_of(files: list[Path]) -> SimpleNamespace:
    """A corpus in which every file is an utterance, and raters agree about each of them."""
    utterances = [
        Utterance(
            f"u{i:03d}", f"s{i % 6}", "", "made", [Rating(f"r{r}", (CLASSES[i // 6 % 4],)) for r in range(5)], file
        )
        for i, file in enumerate(files)
    ]
    words = ("NAME", "LICENSE", "TERMS", "SPEECH", "HOMEPAGE", "CITATION")
    return SimpleNamespace(
        **dict.fromkeys(words, "made"), POLICY="crema-d-4", GROUP="speaker", LANGUAGE=None, REDISTRIBUTABLE=False,
        scan=lambda root: CorpusScan("made", utterances, [], [], len(utterances)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> list[Path]:
    """Good files of every kind, the same with every fault, and what is no file: 200 at least."""
    folder = tmp_path_factory.mktemp("audio")
    files = []
    for ending, form, subtype in KINDS:
        whole = encoded(sound(), 16000, form, subtype)
        for what, data in [("whole", whole), *faults(whole, form)]:
            files.append(folder / f"{form}-{subtype}-{what.replace(' ', '_')}.{ending}")
            files[-1].write_bytes(data)
    samples = sound()
    for what, wrong in {
        "nan": np.where(np.arange(8000)[:, None] == 5, np.nan, samples),
        "1e20": np.float32(1e20) * samples,
        "of 16 bits": 32768 * samples,
        "quiet of 16 bits": np.rint(60 * samples),
        "silence": 0 * samples,
        "none": samples[:0],
        "short": samples[:1000],
        "hot": 4 * samples,
    }.items():
        files.append(folder / f"{what.replace(' ', '_')}.wav")
        soundfile.write(files[-1], wrong, 16000, subtype="FLOAT")
    for rate in (1, 999, 22051, 44099, 44100, 2**31 - 1):
        files.append(folder / f"rate_{rate}.wav")
        files[-1].write_bytes(encoded(sound(rate=16000, channels=2), rate))
    for name, make in {"pipe": os.mkfifo, "folder": Path.mkdir, "link": lambda path: path.symlink_to(path)}.items():
        files.append(folder / f"{name}.wav")
        make(files[-1])
    files.append(folder / "nothing.wav")
    files += [folder / f"good_{i}.wav" for i in range(24)]
    for i in range(24):
        files[-1 - i].write_bytes(encoded(sound(seed=i), form="FLAC"))
    return files


def test_a_build_reads_200_files_of_every_kind_with_every_fault(made, tmp_path):
    assert len(made) >= 200
    report = build(corpus_of(made), tmp_path, tmp_path / "out", configs=["kfold3-strict-0"], progress=False)
    counts = report.content["counts"]
    assert counts["in"] == len(made) == counts["kept"] + counts["listed"] and counts["kept"] >= 24 + len(KINDS)
    text = (report.out / "listed.csv").read_text()
    assert len(text.splitlines()) == counts["listed"] + 1
    for reason in ("unreadable", "empty", "invalid", "silent", "too_short"):
        assert counts["listed_by_reason"].get(f"{reason}_audio"), reason
    assert " at 0x" not in text and str(made[0].parent) not in text
    said = {line.split(",")[0]: line for line in text.splitlines()}
    of_file = {path.stem: said.get(f"u{i:03d}", "") for i, path in enumerate(made)}
    for whole in (f"{form}-{subtype}-whole" for _, form, subtype in KINDS):
        assert of_file[whole] == "", whole
    for name, words in {
        "1e20": "full scale is 1", "of_16_bits": "full scale is 1", "quiet_of_16_bits": "whole numbers up to",
        "pipe": "no regular file", "folder": "no regular file", "nothing": "No such file",
        "rate_1": "its sampling rate is 1 Hz", "rate_999": "its sampling rate is 999 Hz",
    }.items():  # fmt: skip
        assert words in of_file[name], (name, of_file[name])
    assert report.content["audio_conversions"] == {
        "averaged to mono": 3, "resampled": 1, "resampled by libsoxr": 2
    }  # fmt: skip
    assert any("whether one of them was cut short cannot be known" in note for note in report.content["notes"])


def test_predict_and_annotate_read_the_same_files_and_agree(made, monkeypatch, tmp_path):
    """Both read by `Recording`. What has no answer is a reason; what only one of them can use is named here."""
    monkeypatch.setenv("PATH", str(tmp_path))  # no ffmpeg
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    for path in made:
        try:
            samples = np.concatenate([*Recording(path.name, path).blocks(16000), np.zeros(0, np.float32)])
            reason = "" if len(samples) else "no sample"
        except NoAudio as problem:
            assert problem.status in STATUSES and problem.reason
            reason = problem.reason
            assert " at 0x" not in reason and str(path.parent) not in reason
        found = inspect_audio(path)
        # A recording that is silent or too short is an answer of its own kind, by windows.
        if isinstance(found, CheckedAudio) or found.reason not in ("silent_audio", "too_short_audio"):
            assert bool(reason) == isinstance(found, AudioProblem), (path.name, reason, found)


def check(data: bytes) -> None:
    """A result is a whole recording or a listed row with a stable reason."""
    found = inspect_audio(data)
    if isinstance(found, AudioProblem):
        assert found.reason in REASONS and found.detail and len(found.detail) < 200
        assert not re.search(r"0x[0-9a-f]{6}|/tmp|<_io", found.detail), found
        assert inspect_audio(data) == found
    else:
        samples = decode(found.data)
        assert len(samples) == round(found.duration * 16000) and np.isfinite(samples).all()
        assert found.samples is not None and len(found.samples) == len(samples)
    try:
        for block in Recording("a", data).blocks(16000):
            assert block.ndim == 1 and len(block) <= 8 * BLOCK + 1000
    except NoAudio as problem:
        assert problem.status in STATUSES and not re.search(r"0x[0-9a-f]{6}|/tmp", problem.reason)


MONO = ("GSM610", "G721_32")
WHOLE = [
    encoded(sound(0.2, channels=1 if subtype in MONO else 1 + i % 2), 16000, form, subtype)
    for i, (_, form, subtype) in enumerate(KINDS)
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A whole file of some kind, of which bytes are changed (most in its head), taken out, put in or cut off."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, min(len(data), 80)) | st.integers(0, len(data)))
        how = draw(st.sampled_from(["set", "size", "out", "in", "cut"]))
        if how == "set":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "size":
            numbers = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 2]
            data[at : at + 4] = draw(st.sampled_from(numbers)).to_bytes(4, draw(st.sampled_from(["little", "big"])))
        elif how == "out":
            del data[at : at + draw(st.integers(1, 300))]
        elif how == "in":
            data[at:at] = draw(st.binary(max_size=20))
        else:
            del data[at:]
    return bytes(data)


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


# A traceback of a callback of soundfile is printed, and ends nothing; nobody should see it either.
SILENT = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


@SILENT
@settings(max_examples=200, derandomize=True, **QUIET)
@given(mutated())
def test_a_mutated_file_is_a_whole_recording_or_a_listed_row(without_ffmpeg, data):
    check(data)


@pytest.mark.slow
@SILENT
@settings(max_examples=10_000, **QUIET)
@given(mutated())
def test_ten_thousand_mutated_files(without_ffmpeg, data):
    check(data)


@pytest.fixture(scope="module")
def without_ffmpeg(tmp_path_factory):
    """Without the program ffmpeg, which would be started for each file that libsndfile does not know."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
        patch.setitem(sys.modules, "imageio_ffmpeg", None)
        yield


def test_a_lying_header_takes_no_memory(made):
    """Ten million million samples are promised in some of these files; their readers make room for blocks alone."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in made:
        if "promises" in path.name:
            inspect_audio(path.read_bytes())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    "wrong", [MemoryError, OSError(5, "Input/output error", "/home/me/a.wav"), ValueError("at 0x1")]
)
def test_what_goes_wrong_elsewhere_is_a_listed_row(wrong, monkeypatch):
    def fails(*_args, **_kwargs):
        raise wrong

    monkeypatch.setattr("hf_ambiser.data.audio.samples_only", fails)
    found = inspect_audio(encoded(sound()))
    assert isinstance(found, AudioProblem) and found.reason == "unreadable_audio"
    assert "/home" not in found.detail and (wrong is not MemoryError or "more memory than there is" in found.detail)


def test_an_utterance_is_not_longer_than_its_limit(monkeypatch):
    monkeypatch.setattr("hf_ambiser.data.audio.LONGEST", 7999)
    monkeypatch.setattr("hf_ambiser.data.sound_file.BLOCK", 1000)
    assert inspect_audio(encoded(sound())).reason == "too_long_audio"
    assert inspect_audio(encoded(sound(0.4))).duration == pytest.approx(0.4)
    monkeypatch.setattr("hf_ambiser.data.audio.LONGEST", 20000)
    assert inspect_audio(encoded(sound(0.9, 4000), 4000)).duration == pytest.approx(0.9)
    assert inspect_audio(encoded(sound(1.3, 4000), 4000)).reason == "too_long_audio"  # 20,800 samples at 16 kHz


def test_a_file_is_not_larger_than_its_limit(monkeypatch, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(sound()))
    monkeypatch.setattr("hf_ambiser.data.audio.LARGEST", path.stat().st_size - 1)
    assert "bytes; allowed: at most" in inspect_audio(path).detail


def test_blocks_are_the_whole_file_whatever_their_size(monkeypatch):
    data = encoded(sound(0.5, 44100, channels=3), 44100)
    whole = inspect_audio(data)
    monkeypatch.setattr("hf_ambiser.data.sound_file.BLOCK", 700)
    assert inspect_audio(data).data == whole.data
    np.testing.assert_array_equal(inspect_audio(data).samples, whole.samples)


def test_samples_above_full_scale_that_a_conversion_cuts_off_are_counted():
    hot = (4 * sound(channels=2)).clip(-2, 2)
    found = inspect_audio(encoded(hot, subtype="FLOAT"))
    assert (
        found.conversions == ("averaged to mono", "cut off at full scale") and "times full scale to 1" in found.detail
    )
    kept = inspect_audio(encoded(hot[:, :1], subtype="FLOAT"))  # nothing is converted, so nothing is cut off
    assert kept.conversions == () and np.abs(decode(kept.data)).max() > 1


def test_an_old_data_set_with_samples_that_no_recording_has_is_named(tmp_path):
    stream = io.BytesIO()
    soundfile.write(stream, np.float32(1e20) * sound(), 16000, format="WAV", subtype="FLOAT")
    with pytest.raises(ValueError, match="NaN, infinite or above 2147483648"):
        decode(stream.getvalue())


def test_a_tar_header_that_lies_takes_no_memory(tmp_path):
    member = tarfile.TarInfo("a.wav")
    member.size = 2**42
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(700))
    first = next(TarSource(tmp_path, ["a.tar"]).recordings(0, 1))
    assert isinstance(first.content, NoAudio)
    assert first.content.reason == f"its archive ends after 700 of its {2**42} bytes"
