"""Measure how long a large table of ratings takes to read and count, and the memory that it needs.

The audio is 10,000 empty files, which a preview does not open.
"""

import random
import resource
import sys
import tempfile
import time
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hf_ambiser import preview_ratings  # noqa: E402
from hf_ambiser.files.command_parser import CommandParser


LABELS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
UTTERANCES, RATERS = 10_000, 1_000


def main() -> None:
    """Make a table, preview it, and print seconds and megabytes."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="ratings in the table (default: %(default)s)")
    rows = parser.parse_args().rows
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        table, audio = Path(folder, "ratings.csv"), Path(folder, "audio")
        audio.mkdir()
        for i in range(UTTERANCES):
            (audio / f"utterance_{i:05d}.wav").touch()
        with table.open("w", encoding="utf-8") as file:
            file.write("utterance,rater,label,speaker\n")
            for i in range(rows):
                u, rater = i % UTTERANCES, (i // UTTERANCES * 7 + i) % RATERS
                file.write(f"utterance_{u:05d}.wav,rater {rater},{draw.choice(LABELS)},s{u % 100}\n")
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        text = preview_ratings(table, audio)
        seconds = time.process_time() - begun
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(text)
    print(f"{rows} rows: {seconds:.1f} s of one core, {used:.0f} MiB more than before")


if __name__ == "__main__":
    main()
