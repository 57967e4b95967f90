"""Put a trained model into this folder as half-precision weights, with the code that loads it without the package.

python model_cards/ship.py runs/shipped model_cards/crema_d_whisper_tiny

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


def ship(run: Path, folder: Path) -> None:
    """Write `run`'s model as float16 into `folder`, in place of the one that is there."""
    model = PrototypeForAudioClassification.from_pretrained(run / "model").to(torch.float16)
    for old in folder.glob("*"):
        if old.name != "README.md" and old.is_file():
            old.unlink()
    model.save_pretrained(folder)
    AutoFeatureExtractor.from_pretrained(run / "model", trust_remote_code=False).save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"dtype": "float32"}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ship(Path(sys.argv[1]), Path(sys.argv[2]))
