"""A built and pushed data set holds the samples of its audio bit for bit, and nothing that stood beside them."""

from __future__ import annotations

import io
import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from helpers.crema_d_tree import encode, made_corpus, tone
from helpers.planted_audio import CHUNKS, SECRET, WORDS, chunk, flac, ogg, samples_of, tagged, wav

from hf_ambiser.cli import main
from hf_ambiser.data.audio import CheckedAudio, inspect_audio
from hf_ambiser.data.build import build
from hf_ambiser.data.push import dataset_publication
from hf_ambiser.hub.audio_metadata import beside_samples, samples_only
from hf_ambiser.hub.leaks import find_leaks


OPTIONS = {"configs": ("ipr-strict",), "min_per_class": 1, "d1_quota": "per_class", "progress": False}
PLANTED = {"wav": wav, "flac": flac, "ogg": ogg}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Three recordings in every ten are replaced by planted ones, one of each kind."""
    root = made_corpus(tmp_path_factory.mktemp("corpus"))
    for number, path in enumerate(sorted(root.rglob("*.wav"))):
        kind = ("wav", "flac", "ogg", *[""] * 7)[number % 10]
        if kind:
            path.unlink()
            path.with_suffix(f".{kind}").write_bytes(PLANTED[kind](seed=number))
    return root


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory) -> Path:
    return build("crema_d", corpus, tmp_path_factory.mktemp("built") / "out", **OPTIONS).out


@pytest.fixture(scope="module")
def kept(corpus, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("kept") / "out"
    return build("crema_d", corpus, out, keep_audio_metadata=True, **OPTIONS).out


def audio_in(folder: Path) -> dict[str, bytes]:
    tables = [pq.read_table(path, columns=["id", "audio"]).to_pylist() for path in folder.rglob("*.parquet")]
    return {row["id"]: row["audio"]["bytes"] for rows in tables for row in rows}


def sources(corpus: Path) -> dict[str, Path]:
    return {path.stem: path for path in (corpus / "AudioWAV").iterdir()}


def holds_secret(data: bytes) -> bool:
    found = b"secret-cave" in data or b"annika" in data or "secret-cave".encode("utf-16-le") in data
    return found or "annika".encode("utf-16-le") in data


def test_nothing_beside_the_samples_is_in_a_build_and_every_sample_is(corpus, built):
    stored, given = audio_in(built), sources(corpus)
    assert sum(holds_secret(given[name].read_bytes()) for name in stored) > 30
    for name, data in stored.items():
        original = given[name].read_bytes()
        assert not holds_secret(data) and beside_samples(data) == []
        assert np.array_equal(samples_of(data), samples_of(original))
        if not holds_secret(original):
            assert data == original
    report = json.loads((built / "build_report.json").read_text())
    assert any("stored without what their audio files held" in note for note in report["notes"])
    assert "audio_metadata_kept" not in report


def test_what_is_pushed_holds_nothing_of_it(built, capsys):
    files = dataset_publication(built).files
    assert not any(holds_secret(v if isinstance(v, bytes) else v.read_bytes()) for v in files.values())
    assert main(["push", str(built), "me/x", "--dry-run"]) == 0
    assert "found no secret" in capsys.readouterr().out


def test_the_same_corpus_gives_the_same_bytes_again(corpus, built, tmp_path):
    again = build("crema_d", corpus, tmp_path / "out", **OPTIONS).out
    assert {p.name: p.read_bytes() for p in again.rglob("*.parquet")} == {
        p.name: p.read_bytes() for p in built.rglob("*.parquet")
    }


def test_kept_originals_are_searched_before_a_push(corpus, kept, capsys):
    stored, given = audio_in(kept), sources(corpus)
    assert all(data == given[name].read_bytes() for name, data in stored.items())
    assert json.loads((kept / "build_report.json").read_text())["audio_metadata_kept"] is True
    assert main(["push", str(kept), "me/x", "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "nothing was published" in line and "audio.bytes" in line


def test_a_build_from_before_is_refused_with_the_cure(kept, tmp_path, capsys):
    """Data sets that earlier versions built hold the originals and do not say so."""
    old = tmp_path / "old"
    shutil.copytree(kept, old)
    report = json.loads((old / "build_report.json").read_text())
    del report["audio_metadata_kept"]
    (old / "build_report.json").write_text(json.dumps(report))
    assert main(["push", str(old), "me/x", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "beside its samples" in said or "cannot be searched" in said
    assert "build the data set again" in said


@pytest.mark.parametrize("name", CHUNKS)
def test_every_chunk_of_wav_is_searched_for_paths_and_mail_addresses(name):
    leaks = [leak.what for leak in find_leaks("d.parquet", parquet(wav(chunks=(name,), behind=False)))]
    assert any(what.startswith("the local path '/home/annika") for what in leaks), leaks
    assert "an e-mail address" in leaks or name == b"cue "
    assert find_leaks("d.parquet", parquet(wav(b"take 3, room 12", chunks=(name,), behind=False))) == []


def parquet(audio: bytes) -> bytes:
    import pyarrow as pa

    pq.write_table(pa.table({"audio": [{"bytes": audio, "path": "a.wav"}]}), sink := io.BytesIO())
    return sink.getvalue()


@pytest.mark.parametrize(
    "behind",
    [
        b"\x89PNG\r\n\x1a\n....zTXtComment\0\0packed",
        b"PK\x03\x04zip",
        b"\x1f\x8b\x08gzip",
        b"xx\x80\x04\x95\x05\0\0\0\0\0\0\0\x8c\x01a\x94.",
    ],
)
@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_archives_and_pickles_behind_the_end_are_refused(behind, form):
    (leak,) = find_leaks("d.parquet", parquet(encode(tone(), form=form) + behind))
    assert "a pickle or an archive" in leak.what
    assert find_leaks("d.parquet", parquet(encode(tone(), form=form))) == []


def test_bytes_that_are_no_audio_are_not_pushed_as_audio():
    content = parquet(b"\xff\x00\x12 no audio at all")
    assert "no audio" in find_leaks("d.parquet", content, bare_audio=True)[0].what


FORMS = [
    ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
    ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16"),
    ("FLAC", "PCM_S8"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("CAF", "PCM_16"), ("W64", "PCM_24"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "subtype"), FORMS, ids=lambda text: text)
def test_samples_of_every_kind_are_kept_bit_for_bit_without_a_comment(form, subtype):
    original = encode(tone(), form=form, subtype=subtype)
    bare = samples_only(original)
    assert np.array_equal(samples_of(bare), samples_of(original))
    assert beside_samples(bare) == [] and samples_only(bare) == bare
    try:
        planted = tagged(form, subtype)
    except (soundfile.LibsndfileError, ValueError):  # this kind cannot have a comment
        return
    bare = samples_only(planted)
    assert np.array_equal(samples_of(bare), samples_of(planted)) and not holds_secret(bare)


def test_plain_wav_and_flac_keep_their_bytes():
    for form in ("WAV", "FLAC"):
        plain = encode(tone(), form=form)
        assert samples_only(plain) == plain
        audio = inspect_audio(plain)
        assert isinstance(audio, CheckedAudio) and audio.data == plain and not audio.stripped


@pytest.mark.parametrize("make", PLANTED.values(), ids=PLANTED)
def test_every_part_is_named(make):
    if make is ogg:
        with pytest.raises(ValueError, match="of the kind OGG"):
            beside_samples(make())
        return
    parts = beside_samples(make())
    names = {name for name, _ in parts}
    assert "bytes behind the end" in names
    if make is wav:
        assert {f"chunk {name.decode()}" for name in CHUNKS} <= names
    else:
        assert {"bytes before the start", "block 1", "block 2", "block 3", "block 4", "block 6"} <= names
    told = b"".join(part for _, part in parts).replace(b"\0", b"")
    n = make().replace(b"\0", b"").count(WORDS)
    assert told.count(WORDS) == n >= 5


def test_words_hidden_in_the_description_of_the_samples_are_left_out():
    plain = encode(tone())
    long = chunk(b"fmt ", plain[20:36] + struct.pack("<H", len(WORDS)) + WORDS)
    body = b"WAVE" + long + plain[36:]
    hidden = b"RIFF" + struct.pack("<I", len(body)) + body
    assert np.array_equal(samples_of(hidden), samples_of(plain))
    assert not holds_secret(samples_only(hidden)) and holds_secret(b"".join(p for _, p in beside_samples(hidden)))


@pytest.mark.parametrize(
    ("form", "subtype"), [("WAVEX", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("WAV", "G721_32")]
)
def test_a_longer_description_ends_where_its_kind_says(form, subtype):
    plain = encode(tone(), form=form, subtype=subtype)
    assert beside_samples(samples_only(plain)) == []
    size = struct.unpack("<I", plain[16:20])[0]
    body = b"WAVE" + chunk(b"fmt ", plain[20 : 20 + size] + b"annika @ x") + plain[20 + size :]
    hidden = b"RIFF" + struct.pack("<I", len(body)) + body
    assert b"annika" not in samples_only(hidden) and np.array_equal(samples_of(hidden), samples_of(plain))


def test_the_option_is_of_the_command_line_too(corpus, tmp_path, capsys):
    out = str(tmp_path / "out")
    words = ["--root", str(corpus), "--out", out, "--configs", "ipr-strict", "--min-per-class", "1", "--no-progress"]
    words += ["--d1-quota", "per_class", "--keep-audio-metadata"]
    assert main(["build", "crema_d", *words]) == 0
    assert any(holds_secret(data) for data in audio_in(tmp_path / "out").values())
    assert re.search(r"\d+ in = \d+ kept", capsys.readouterr().out) and SECRET in WORDS.decode()
