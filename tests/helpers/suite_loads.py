"""Saved models and adapters: what they are to answer, and whether they do when loaded again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModel, AutoModelForAudioClassification, pipeline

from helpers import made_data
from helpers.suite_methods import HELPERS, environment, make_trainer, settings
from hf_ambiser.training.trainer import AmbiSERTrainer


LEARNING = {"optim": "adamw_torch", "learning_rate": 5e-3}


def waves() -> list[np.ndarray]:
    """Three clips of different lengths."""
    clips = made_data.evaluation_set()
    return sorted((clips[i][0].waveform for i in range(3)), key=len)


def answers(model: Any, extractor: Any, clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What a model says of clips: probabilities `(N, K)`, and all else that its family gives, by name."""
    inputs = extractor(clips, sampling_rate=16000, padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model.eval()(**inputs)
    return {
        "probabilities": out.logits.softmax(-1).numpy(),
        **{name: value.numpy() for name, value in out.items()},
        "classes": np.array(made_data.CLASSES),
    }


def save(trainer: AmbiSERTrainer, folder: Path, name: str = "model") -> None:
    """As a run does at its end, with what the model says beside it."""
    trainer.save_model(str(folder / name))
    np.savez(folder / f"{name}.npz", **answers(trainer.model, trainer.processing_class, waves()))


def train_adapter(case: str, folder: Path) -> AmbiSERTrainer:
    """Train a LoRA adapter on a wav2vec 2.0-like encoder; saves the model it is for, and the adapter."""
    chosen = settings(case, "loads", **LEARNING)
    plain = make_trainer(case, folder / "run", encoder="wav2vec2", **chosen)
    save(plain, folder)
    trainer = make_trainer(case, folder / "run", encoder="wav2vec2", lora=True, **chosen)
    trainer.train()
    save(trainer, folder, "adapter")
    return trainer


def assert_same(got: dict[str, np.ndarray], expected: Any) -> None:
    """Same answers up to rounding."""
    assert set(got) == set(expected)
    np.testing.assert_allclose(got["probabilities"], expected["probabilities"], rtol=1e-5, atol=1e-7)
    for name in set(got) - {"classes"}:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def check_loads(folder: Path, trainer: AmbiSERTrainer) -> None:
    """A saved model answers as it did, loaded by its own class, by both Auto classes and in a pipeline."""
    expected, clips, extractor = np.load(folder / "model.npz"), waves(), trainer.processing_class
    assert np.ptp(expected["probabilities"], axis=0).max() > 1e-3, "the model says the same about every clip"
    for auto in (type(trainer.bare_model()), AutoModel, AutoModelForAudioClassification):
        assert_same(answers(auto.from_pretrained(folder / "model"), extractor, clips), expected)
    classify = pipeline("audio-classification", model=str(folder / "model"), device="cpu")
    for answer, probabilities in zip(classify(clips, top_k=None), expected["probabilities"], strict=True):
        scores = {item["label"]: item["score"] for item in answer}
        np.testing.assert_allclose([scores[name] for name in made_data.CLASSES], probabilities, rtol=1e-4, atol=1e-6)


def check_adapter(folder: Path, trainer: AmbiSERTrainer) -> None:
    """The base model with the saved adapter answers as the trained model did, prototypes included."""
    expected, base = np.load(folder / "adapter.npz"), np.load(folder / "model.npz")
    assert np.abs(expected["probabilities"] - base["probabilities"]).max() > 1e-3, "the adapter does nothing"
    model = type(trainer.bare_model()).from_pretrained(folder / "model")
    adapted = PeftModel.from_pretrained(model, folder / "adapter")
    assert_same(answers(adapted, trainer.processing_class, waves()), expected)


def load_elsewhere(root: Path) -> dict[str, str]:
    """`suite_hub.py` over all folders of a root: case -> "" or what went wrong."""
    np.savez(root / "waves.npz", *waves())
    variables = environment(HF_MODULES_CACHE=str(root.with_name("modules")))
    del variables["PYTHONPATH"]
    command = [sys.executable, str(HELPERS / "suite_hub.py"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=root, timeout=540)
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads((root / "elsewhere.json").read_text())
