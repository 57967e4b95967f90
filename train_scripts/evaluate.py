"""Score a model on a split of a built data set: `hf-ambiser evaluate`.

python train_scripts/evaluate.py --model runs/crema_d/ipr/0/model --dataset data/crema_d --split d3
"""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.runs.evaluate_cli import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(main())
