"""Train and score one run: `hf-ambiser train`, for `accelerate launch`.

accelerate launch train_scripts/train.py --config crema_d/ipr [--field value ...]
"""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.train import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(main())
