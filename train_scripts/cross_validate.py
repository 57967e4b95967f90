"""Run a study: systems x folds x seeds, as a plan file says; each cell one ordinary run folder below --out.

python train_scripts/cross_validate.py --plan train_scripts/configs/crema_d/study.yaml --out runs/study --jobs 2

The same command again goes on where a study was stopped, however it was stopped: finished cells are never run again,
half-finished ones go on, failed ones are tried again. Any number of such commands, on one machine or on several that
share the folder, may work on one study at a time; `--cells i/n` takes a fixed part, for job arrays. `--dry-run` shows
what would be run, and how long it would take.

Exit status: 0, 1 if a cell failed, 2 if the plan cannot be run.
"""

import sys

from hf_ambiser.studies.cross_validate import main


if __name__ == "__main__":
    sys.exit(main())
