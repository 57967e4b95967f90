"""Make the picture of the page: recordings, joined with a pause between them, are uploaded in a real browser.

`python docs/figures/app_page.py RECORDING ...` writes `app.png` beside this file. The shipped model answers. It
needs what the tests of the page need (`tests/helpers/served_page.py`): the extra `dev`, and Chromium.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile


HERE = Path(__file__).parent
WIDTH = 900  # pixels
PAUSE = 0.5  # seconds
COLOURS = 128  # a picture of few colours is a small file


def joined(recordings: list[Path], out: Path) -> Path:
    """Write recordings of one sampling rate behind each other as one WAV file."""
    parts, rate = [], 0
    for path in recordings:
        samples, rate = soundfile.read(path, dtype="int16")
        parts += [samples, np.zeros(round(PAUSE * rate), np.int16)]
    soundfile.write(out, np.concatenate(parts[:-1]), rate)
    return out


def picture(recordings: list[Path], out: Path) -> None:
    """Serve the page, upload, wait for the answer, and write what the browser shows."""
    sys.path.insert(0, str(HERE.parent.parent / "tests"))
    from helpers.served_page import Chromium, served
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder, served() as page:
        recording = joined(recordings, Path(folder, "recording.wav"))
        chromium = Chromium(recording)
        try:
            tab = chromium.open(page.local_url, WIDTH)
            tab.locator("#recording input[type=file]").set_input_files(str(recording))
            tab.locator("#timeline img").wait_for()
            tab.locator("#recording").get_by_label("Play", exact=True).wait_for()
            shot = tab.screenshot(full_page=True)
        finally:
            chromium.close()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS).save(out, optimize=True)


def main() -> None:
    """Read the command line, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="+", help="recordings of one sampling rate")
    parser.add_argument("--out", type=Path, default=HERE / "app.png", help="(default: %(default)s)")
    args = parser.parse_args()
    picture(args.recordings, args.out)


if __name__ == "__main__":
    main()
