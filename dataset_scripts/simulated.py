"""Build the data set of the simulated corpus: `hf-ambiser build simulated`.

python dataset_scripts/simulated.py --root RELEASE --out FOLDER
"""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.data.build_cli import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(main("simulated"))
