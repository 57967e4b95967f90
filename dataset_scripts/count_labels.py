"""Count a built data set's consensus labels by speaker: `hf-ambiser count-labels`.

python dataset_scripts/count_labels.py data/crema_d
"""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.data.label_counts_cli import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(main())
