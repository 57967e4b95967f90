"""Annotate a corpus with a model: `hf-ambiser annotate`, for `accelerate launch` and `torchrun`.

accelerate launch train_scripts/annotate.py SOURCE --model M --out DIR
"""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.cli import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(main(["annotate", *sys.argv[1:]]))
