"""Run a study, systems x folds x seeds, as a plan says: `hf-ambiser study`.

python train_scripts/cross_validate.py --plan crema_d/study --jobs 2
"""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.studies.study_cli import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(main())
