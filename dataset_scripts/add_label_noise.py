"""Make a data set with a known share of wrong labels from one that is built: `hf-ambiser add-label-noise`.

python dataset_scripts/add_label_noise.py --dataset FOLDER --share 0.2 --out OTHER_FOLDER
"""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.data.label_noise_cli import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(main())
