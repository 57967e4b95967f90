"""Measure what a model costs at inference: `hf-ambiser benchmark`.

python train_scripts/benchmark.py runs/crema_d/ipr/0
"""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.benchmark.benchmark_cli import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(main())
