"""Run as a process in which `hf_ambiser` cannot be imported: loads saved folders and asks them about the same clips.

    python suite_hub.py ROOT

ROOT/waves.npz holds the clips. Each ROOT/<case> has `model` and perhaps `adapter`, and what they are to answer in
`model.npz` and `adapter.npz`. Writes ROOT/elsewhere.json: case -> "" or what went wrong.
"""

from __future__ import annotations

import sys


sys.modules["hf_ambiser"] = None  # type: ignore[assignment]

import json  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from peft import PeftModel  # noqa: E402
from transformers import (  # noqa: E402
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    pipeline,
)


def compare(model: Any, inputs: Any, expected: Any) -> None:
    with torch.no_grad():
        out = model.eval()(**inputs)
    np.testing.assert_allclose(out.logits.softmax(-1).numpy(), expected["probabilities"], rtol=1e-5, atol=1e-7)
    for name, value in out.items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def compare_pipeline(classify: Any, waves: list[np.ndarray], expected: Any) -> None:
    for answer, probabilities in zip(classify(waves, top_k=None), expected["probabilities"], strict=True):
        scores = {item["label"]: item["score"] for item in answer}
        np.testing.assert_allclose([scores[name] for name in expected["classes"]], probabilities, rtol=1e-4, atol=1e-6)


def check(folder: Path, waves: list[np.ndarray]) -> None:
    model_folder = folder / "model"
    extractor = AutoFeatureExtractor.from_pretrained(model_folder)
    inputs = extractor(waves, sampling_rate=16000, padding=True, return_tensors="pt")
    expected = np.load(folder / "model.npz")
    for auto in (AutoModel, AutoModelForAudioClassification):
        model = auto.from_pretrained(model_folder, trust_remote_code=True)
        assert "hf_ambiser" not in type(model).__module__, type(model)
        compare(model, inputs, expected)
    classify = pipeline("audio-classification", model=str(model_folder), trust_remote_code=True, device="cpu")
    compare_pipeline(classify, waves, expected)
    if (folder / "adapter").is_dir():
        expected = np.load(folder / "adapter.npz")
        model = PeftModel.from_pretrained(model, folder / "adapter")
        compare(model, inputs, expected)
        classify = pipeline(
            "audio-classification", model=model.merge_and_unload(), feature_extractor=extractor, device="cpu"
        )
        compare_pipeline(classify, waves, expected)


def main(root: Path) -> None:
    torch.set_num_threads(1)
    waves = list(np.load(root / "waves.npz").values())
    report = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        try:
            check(folder, waves)
            report[folder.name] = ""
        except Exception:
            report[folder.name] = traceback.format_exc()
    (root / "elsewhere.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
