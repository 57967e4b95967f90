"""Decoding by the program ffmpeg, where it is installed: what libsndfile cannot read, such as m4a and webm."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hf_ambiser.inference.no_audio import NoAudio


# Seconds without a sample after which ffmpeg is stopped.
PATIENCE = 60.0
_BLOCK = 2**18  # bytes
# Containers of sound, without playlists and lists of files: these would let one file name others to be read.
_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,loas,matroska,mov,mp3,mpeg,mpegts,ogg,rm,tta,voc,w64,wav,wv"
)


def program() -> str | None:
    """The program ffmpeg: that of the machine, else that of the package imageio-ffmpeg; None if there is neither."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # a package without a program for this kind of machine
        return None


def ffmpeg_blocks(path: Path, rate: int) -> Iterator[np.ndarray]:
    """Yield a file's first audio stream as mono blocks `(T,)` float32 at `rate` Hz; ffmpeg mixes the channels.

    ffmpeg gets no shell, no terminal and no address: it may read files and write into its pipe.

    Args:
        path: The file.
        rate: Sampling rate in Hz.

    Raises:
        NoAudio: If ffmpeg cannot decode the file, or gives no sample for `PATIENCE` seconds.
    """
    found = program()
    if found is None:
        raise NoAudio("unreadable", "ffmpeg is not installed")
    command = [
        *(found, "-nostdin", "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file,pipe"),
        *("-format_whitelist", _FORMATS, "-i", f"file:{path}", "-map", "0:a:0", "-vn", "-sn", "-dn"),
        *("-ac", "1", "-ar", str(rate), "-f", "f32le", "pipe:1"),
    ]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        try:
            yield from _blocks_of(process)
            status = process.wait(PATIENCE)
        finally:
            # Also when the reader stops early.
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if status:
            said.seek(0)
            words = said.read(2000).decode("utf-8", "replace").replace(f"file:{path}: ", "").split("\n")
            if any("matches no streams" in line for line in words):  # a film without sound
                raise NoAudio("unreadable", "ffmpeg finds no sound in it")
            why = next((line.strip() for line in reversed(words) if line.strip()), f"exit status {status}")
            raise NoAudio("unreadable", f"ffmpeg cannot decode it ({why})")


def _blocks_of(process: subprocess.Popen[bytes]) -> Iterator[np.ndarray]:
    """Yield what a process writes; it is killed if it writes nothing for too long."""
    assert process.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    while True:
        timer = threading.Timer(PATIENCE, stop)
        timer.daemon = True
        timer.start()
        try:
            data = process.stdout.read(_BLOCK)
        finally:
            timer.cancel()
        if late.is_set():
            raise NoAudio("unreadable", f"ffmpeg gave no sample for {PATIENCE:g} s")
        # Only the last block can be shorter; half a sample at its end is none.
        if data := data[: len(data) // 4 * 4]:
            yield np.frombuffer(data, dtype="<f4")
        if len(data) < _BLOCK:
            return
