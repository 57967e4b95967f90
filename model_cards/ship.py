"""Put a trained model into this folder as half-precision weights, with the code that loads it without the package.

python model_cards/ship.py runs/shipped/model model_cards/crema_d_whisper_tiny
python model_cards/ship.py FOLDER FOLDER    # the same folder twice: renews the code beside the weights

`README.md` of the folder is written by hand and stays. The statistics and prototypes that the model keeps in float32
stay float32. The configuration says float32, so that `from_pretrained` computes in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoFeatureExtractor


ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent))  # a fresh clone needs no install

from hf_ambiser.models import PrototypeForAudioClassification  # noqa: E402


def ship(source: Path, folder: Path) -> None:
    """Write the model of one folder as float16 into another, or renew the code beside it where both are the same."""
    model = PrototypeForAudioClassification.from_pretrained(source).to(torch.float16)
    extractor = AutoFeatureExtractor.from_pretrained(source, trust_remote_code=False)
    for old in folder.glob("*"):
        if old.name != "README.md" and old.is_file():
            old.unlink()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"dtype": "float32"}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ship(Path(sys.argv[1]), Path(sys.argv[2]))
