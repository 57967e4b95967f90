"""Train and score one run.

accelerate launch train_scripts/train.py --config train_scripts/configs/crema_d/ipr.yaml [--field value ...]

The run folder is `--output_dir`; a run that was stopped goes on when the same command is given again.
"""

import sys

from hf_ambiser.train import main


if __name__ == "__main__":
    sys.exit(main())
