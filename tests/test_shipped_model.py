"""The model that the repository ships: `model_cards/crema_d_whisper_tiny`."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import ModelCard
from transformers import AutoFeatureExtractor

import hf_ambiser.models
from hf_ambiser import predict
from hf_ambiser.models import PrototypeForAudioClassification


FOLDER = Path(__file__).resolve().parents[1] / "model_cards" / "crema_d_whisper_tiny"
CLASSES = ["anger", "disgust", "fear", "happiness", "neutral", "sadness"]
LETTERS = {"A": "anger", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness"}

# Runs where the package is blocked.
ELSEWHERE = """
import json
import sys
sys.modules["hf_ambiser"] = None
import numpy as np
from transformers import pipeline
classify = pipeline("audio-classification", model=sys.argv[1], trust_remote_code=True)
answers = classify({"raw": np.load(sys.argv[2]), "sampling_rate": 16000}, top_k=None)
assert "hf_ambiser" not in type(classify.model).__module__
print(*(f"{one['label']}={one['score']:.6f}" for one in sorted(answers, key=lambda one: one["label"])))
listen = pipeline(model=sys.argv[1], trust_remote_code=True)
assert "hf_ambiser" not in type(listen).__module__
print(json.dumps(listen(np.load(sys.argv[2]), window=1.0, hop=0.5, threshold=0.3)))
"""


def answers_of(waveforms: list[np.ndarray]) -> np.ndarray:
    """Probabilities (N, K), with the package's own code."""
    model = PrototypeForAudioClassification.from_pretrained(FOLDER).eval()
    extractor = AutoFeatureExtractor.from_pretrained(FOLDER, trust_remote_code=False)
    inputs = extractor(waveforms, sampling_rate=16000, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits.softmax(-1).numpy()


def test_it_is_small_half_precision_on_disk_and_computes_in_float32():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")) <= 20e6
    model = PrototypeForAudioClassification.from_pretrained(FOLDER)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert list(model.config.id2label.values()) == CLASSES


def test_the_code_beside_it_is_the_packages():
    """After a change that is meant: `python model_cards/ship.py FOLDER FOLDER`, with this folder twice."""
    code = sorted(FOLDER.glob("*.py"))
    assert "modeling_prototype.py" in [path.name for path in code]
    for path in code:
        assert path.read_bytes() == (Path(hf_ambiser.models.__file__).parent / path.name).read_bytes(), path.name


def test_it_answers_the_same_where_the_package_is_not_installed(tmp_path):
    wave = np.random.default_rng(0).normal(size=40000).astype(np.float32) * 0.05
    np.save(tmp_path / "wave.npy", wave)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    command = [sys.executable, "-c", ELSEWHERE, str(FOLDER), str(tmp_path / "wave.npy")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    there = dict(part.split("=") for part in first.split())
    assert list(there) == CLASSES
    np.testing.assert_allclose([float(there[name]) for name in CLASSES], answers_of([wave])[0], atol=1e-5)
    # The pipeline of the checkpoint has the answer of `predict`, with its timeline.
    (answer,) = predict(wave, FOLDER, sampling_rate=16000, window=1.0, hop=0.5, threshold=0.3, progress=False)
    heard = json.loads(second)
    assert len(heard["windows"]) == len(answer.windows) == 4
    for mine, theirs in zip([heard, *heard["windows"]], [answer, *answer.windows], strict=True):
        assert (mine["status"], mine["emotion"]) == (theirs.status, theirs.emotion)
        assert mine["ambiguity"] == pytest.approx(theirs.ambiguity, abs=1e-5)
        assert mine["probabilities"] == pytest.approx(theirs.probabilities, abs=1e-5)
        assert mine["similarities"] == pytest.approx(theirs.similarities, abs=1e-5)


@pytest.mark.skipif("CREMA_D_ROOT" not in os.environ, reason="needs the recordings of CREMA-D")
def test_it_has_learnt_what_raters_hear():
    root = Path(os.environ["CREMA_D_ROOT"])
    (table,) = root.rglob("tabulatedVotes.csv")
    with table.open(newline="", encoding="utf-8") as file:
        # Rows whose number begins with 1 are answers to the voice alone, 2 to the face, 3 to both.
        votes = {row["fileName"]: row for row in csv.DictReader(file) if row[""].startswith("1")}
    files = sorted(path for path in root.glob("audio/*") if path.stem in votes)[::60]
    counts = np.array([[float(votes[path.stem][letter]) for letter in LETTERS] for path in files])
    heard = counts / counts.sum(1, keepdims=True)
    answers = answers_of([soundfile.read(path, dtype="float32")[0] for path in files])
    clear = heard.max(1) >= 0.7
    assert clear.sum() >= 20
    assert (answers.argmax(1) == heard.argmax(1))[clear].mean() >= 0.7
    assert np.abs(answers - heard).mean() < np.abs(answers.mean(0) - heard).mean()


def test_it_answers_rare_classes_more_often_if_asked():
    waves = [np.random.default_rng(n).normal(size=16000 + 4000 * n).astype(np.float32) * 0.05 for n in range(6)]
    stored = json.loads((FOLDER / "config.json").read_text())["decision"]["balance"]
    assert stored["tau"] == 0 and sum(stored["shares"]) == pytest.approx(1, abs=1e-6)
    assert CLASSES[int(np.argmax(stored["shares"]))] == "neutral"
    plain = predict(waves, FOLDER, sampling_rate=16000, progress=False)
    asked = predict(waves, FOLDER, sampling_rate=16000, progress=False, balance=1)
    for one, other in zip(plain, asked, strict=True):
        assert one.probabilities == other.probabilities
        assert one.emotion == max(CLASSES, key=lambda name: one.probabilities[name])
        beside = {name: one.probabilities[name] / m for name, m in zip(CLASSES, stored["shares"], strict=True)}
        assert other.emotion == max(CLASSES, key=lambda name: beside[name])
    assert [one.emotion for one in plain] != [one.emotion for one in asked]


def test_its_card_says_where_it_comes_from_and_on_whom_it_was_tested():
    card = ModelCard.load(FOLDER / "README.md")
    assert card.data.to_dict()["pipeline_tag"] == "audio-classification"
    text = card.text
    for needed in ("Open Database License", "MIT", "raters", "held-out speakers", "from_pretrained"):
        assert needed in text, f"{FOLDER / 'README.md'} does not say {needed!r}"
