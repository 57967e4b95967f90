"""Build the data set of CREMA-D: `hf-ambiser build crema_d`.

python dataset_scripts/crema_d.py --root RELEASE --out FOLDER
"""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.data.build_cli import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(main("crema_d"))
