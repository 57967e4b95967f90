"""A recording of any kind as blocks of mono samples at the model's rate; it is never in memory as a whole."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from hf_ambiser.data.sound_file import BLOCK, NotWhole, SoundFile, length_of_source, words
from hf_ambiser.inference import ffmpeg
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.resampling import Resampler
from hf_ambiser.inference.samples import as_mono, channels_last


@dataclass(frozen=True)
class Recording:
    """One recording, not opened yet.

    Args:
        name: What it is called in answers.
        content: A file's path; encoded bytes; a binary file object, read from its beginning; an array `(T,)`,
            `(T, channels)` or, of one or two channels, `(channels, T)`; or why there is no audio.
        sampling_rate: Of an array, in Hz.
    """

    name: str
    content: Path | bytes | IO[bytes] | np.ndarray | NoAudio
    sampling_rate: int | None = None

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """Yield the recording's samples as mono blocks `(T,)` float32 at `rate` Hz.

        Raises:
            NoAudio: If it cannot be read, or holds what is no audio; also after some blocks.
        """
        if isinstance(self.content, NoAudio):
            raise self.content
        if isinstance(self.content, np.ndarray):
            assert self.sampling_rate is not None
            yield from _resampled(_slices(channels_last(self.content)), self.sampling_rate, rate)
            return
        try:
            with _opened(self.content) as source:
                yield from _decoded(source, rate)
        except OSError as error:
            raise NoAudio("unreadable", f"it cannot be read ({error.strerror or type(error).__name__})") from error


def _slices(array: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(array), BLOCK):
        yield array[start : start + BLOCK]


def _resampled(blocks: Iterator[np.ndarray], rate: int, wanted: int) -> Iterator[np.ndarray]:
    resampler = Resampler(rate, wanted)
    for block in blocks:
        yield resampler.feed(as_mono(block))
    yield resampler.finish()


@contextmanager
def _opened(content: Path | bytes | IO[bytes]) -> Iterator[Path | IO[bytes]]:
    """Yield a path, or a binary file that can be read from anywhere.

    A stream that cannot go back (standard input) is copied to the disk first.
    """
    if isinstance(content, Path):
        if not content.exists():
            raise NoAudio("unreadable", "there is no such file")
        if not content.is_file():
            raise NoAudio("unreadable", "it is neither a file nor a folder")
        if content.stat().st_size == 0:
            raise NoAudio("unreadable", "the file is empty (0 bytes)")
        with content.open("rb"):  # libsndfile does not say why it may not
            pass
        yield content
    elif isinstance(content, bytes):
        if not content:
            raise NoAudio("unreadable", "it is empty (0 bytes)")
        yield io.BytesIO(content)
    elif content.seekable():
        if content.seek(0, os.SEEK_END) == 0:
            raise NoAudio("unreadable", "it is empty (0 bytes)")
        content.seek(0)
        yield content
    else:
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(content, copy)
            if copy.tell() == 0:
                raise NoAudio("unreadable", "it is empty (0 bytes)")
            copy.seek(0)
            yield copy


def _decoded(source: Path | IO[bytes], rate: int) -> Iterator[np.ndarray]:
    """Yield blocks by libsndfile, or by ffmpeg what libsndfile does not know; neither is asked for half a file."""
    length = length_of_source(source)
    if length.missing:
        raise NoAudio("unreadable", length.missing)
    try:
        file = SoundFile(source, length)
    except (RuntimeError, TypeError, ValueError, MemoryError) as error:
        why = _words(error)
    else:
        with file:
            yield from _resampled(_of_libsndfile(file), file.rate, rate)
        return
    if ffmpeg.program() is None:
        raise NoAudio(
            "unreadable",
            f"libsndfile cannot read it ({why}), and ffmpeg, which reads more (m4a, webm ...), is not installed"
            " (`pip install imageio-ffmpeg` brings one)",
        )
    try:
        with _on_disk(source) as path:
            for block in ffmpeg.ffmpeg_blocks(path, rate):
                yield as_mono(block)
    except NoAudio as error:
        raise NoAudio(error.status, f"libsndfile cannot read it ({why}); {error.reason}") from None


def _of_libsndfile(file: SoundFile) -> Iterator[np.ndarray]:
    """Yield blocks `(T, channels)`."""
    try:
        yield from file.blocks()
    except NotWhole as error:
        raise NoAudio("unreadable", str(error)) from None
    except (RuntimeError, MemoryError) as error:
        raise NoAudio(
            "unreadable", f"it cannot be decoded after {file.read / file.rate:.1f} s ({_words(error)})"
        ) from error


@contextmanager
def _on_disk(source: Path | IO[bytes]) -> Iterator[Path]:
    """Yield the path of a file: ffmpeg must be able to go back in it, for m4a has its index at the end."""
    if isinstance(source, Path):
        yield source.absolute()
        return
    with tempfile.NamedTemporaryFile(prefix="hf_ambiser_") as copy:
        source.seek(0)
        shutil.copyfileobj(source, copy)
        copy.flush()
        yield Path(copy.name)


def _words(error: Exception) -> str:
    """What libsndfile says."""
    if isinstance(error, TypeError):  # of soundfile, for a file named `.raw`
        return "it has the ending of raw samples, which do not say their rate"
    return words(error)
