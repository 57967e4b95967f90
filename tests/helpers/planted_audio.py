"""Audio files with a secret in every part that is no sample: WAV, FLAC, and kinds that are stored in another way."""

from __future__ import annotations

import io
import pickle
import struct
import zlib

import numpy as np
import soundfile

from helpers.crema_d_tree import encode, tone


# No part of it occurs by chance; it is a path, and the mail address and the token stand beside it.
SECRET = "/home/annika/secret-cave"
WORDS = f"{SECRET} annika@example.org".encode()
CHUNKS = (b"bext", b"iXML", b"id3 ", b"_PMX", b"LIST", b"cue ", b"labl", b"afsp", b"JUNK")


def samples_of(data: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(data), dtype="float64", always_2d=True)[0]


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def wav(words: bytes = WORDS, seed: int = 0, chunks: tuple[bytes, ...] = CHUNKS, behind: bool = True) -> bytes:
    """A WAV file whose every other chunk, before and behind the samples, holds the words, as do bytes behind it."""
    plain = encode(tone(0.3, seed=seed))
    fmt, data = plain[12:36], plain[36:]
    bodies = {
        b"bext": words.ljust(602, b"\0"),
        b"iXML": b"<BWFXML><PROJECT>" + words + b"</PROJECT></BWFXML>",
        b"id3 ": b"ID3\x03\0\0\0\0\0\x50TIT2" + words.decode().encode("utf-16"),
        b"_PMX": b"<x:xmpmeta>" + words + b"</x:xmpmeta>",
        b"LIST": b"INFOISFT" + struct.pack("<I", len(words)) + words,
        b"cue ": struct.pack("<I", 1) + words[:24],
        b"JUNK": pickle.dumps({"who": words.decode()}) if behind else words,
    }
    made = [chunk(name, bodies.get(name, words)) for name in chunks]
    half = len(made) // 2
    body = b"WAVE" + b"".join(made[:half]) + fmt + data + b"".join(made[half:])
    return b"RIFF" + struct.pack("<I", len(body)) + body + (b"PK\x03\x04" + words if behind else b"")


def _block(kind: int, body: bytes, last: bool = False) -> bytes:
    return bytes([kind | 128 * last]) + len(body).to_bytes(3, "big") + body


def flac(words: bytes = WORDS, seed: int = 0) -> bytes:
    """A FLAC file with comments, a picture, an application block, padding that is text, bytes before and behind."""
    plain = encode(tone(0.3, seed=seed), form="FLAC")
    vendor = int.from_bytes(plain[46:50], "little")
    frames = plain[4 + 4 + 34 + 4 + 8 + vendor :]
    comments = struct.pack("<I", len(words)) + words + struct.pack("<II", 1, len(words) + 8) + b"COMMENT=" + words
    picture = struct.pack(">II", 3, 9) + b"image/png" + struct.pack(">I", len(words)) + words + bytes(20)
    blocks = [
        (4, comments),
        (6, picture),
        (2, b"riff" + words),
        (1, words.ljust(200, b"\0")),
        (3, bytes(10) + words[:8]),
    ]
    head = b"".join(_block(kind, body, number == len(blocks) - 1) for number, (kind, body) in enumerate(blocks))
    before = b"ID3\x04\0\0" + bytes([0, 0, len(words) >> 7, len(words) & 127]) + words
    return before + b"fLaC" + plain[4:42].replace(plain[4:5], b"\0", 1) + head + frames + words + zlib.compress(words)


def tagged(form: str, subtype: str, words: bytes = WORDS, seed: int = 0) -> bytes:
    """A file that soundfile writes with a comment."""
    with soundfile.SoundFile(sink := io.BytesIO(), "w", 16000, 1, format=form, subtype=subtype) as file:
        file.comment = words.decode()
        file.write(tone(0.3, seed=seed))
    return sink.getvalue()


def ogg(words: bytes = WORDS, seed: int = 0) -> bytes:
    return tagged("OGG", "VORBIS", words, seed)
