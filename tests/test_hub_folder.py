"""A saved folder works where hf_ambiser cannot be imported, and the sources keep to what makes that possible."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_encoders import TINY_WHISPER
from transformers import AutoModel, AutoModelForAudioClassification, Wav2Vec2Config, WhisperConfig

import hf_ambiser.models as hub_folder
from hf_ambiser.models import (
    LogMelConfig,
    LogMelModel,
    PrototypeConfig,
    PrototypeForAudioClassification,
    default_feature_extractor,
    register,
)


FOLDER = Path(hub_folder.__file__).parent
COPIED = {
    "bfloat16_layers.py",
    "bidirectional_lstm.py",
    "configuration_logmel.py",
    "configuration_prototype.py",
    "configuration_waveform.py",
    "emotion_pipeline.py",
    "encoder_adapter.py",
    "encoder_logmel.py",
    "encoder_sew_d.py",
    "encoder_unverified.py",
    "encoder_wav2vec2.py",
    "encoder_wav2vec2_bert.py",
    "encoder_wavlm.py",
    "encoder_whisper.py",
    "encoders.py",
    "feature_extractor.py",
    "field_types.py",
    "kaldi_log_mel.py",
    "layer_mix.py",
    "modeling_logmel.py",
    "modeling_prototype.py",
    "valid_batch_norm.py",
    "valid_frames.py",
    "waveform_check.py",
    "waveform_classifier.py",
    "whisper_log_mel.py",
}

# Runs where the package is blocked. Compares what the folders answer with what this process wrote beside them.
ELSEWHERE = """
import sys
from pathlib import Path
sys.modules["hf_ambiser"] = None
import numpy as np, torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline
root = Path(sys.argv[1])
wave = np.load(root / "wave.npy")
for name in ("log-mel", "wav2vec2", "whisper"):
    folder = root / name
    expected = np.load(root / f"{name}.npz")
    fe = AutoFeatureExtractor.from_pretrained(folder)
    inputs = fe([wave, wave[:5000]], sampling_rate=16000, padding=True, return_tensors="pt")
    for auto in (AutoModel, AutoModelForAudioClassification):
        model = auto.from_pretrained(folder, trust_remote_code=True)
        assert type(model).__name__ == "PrototypeForAudioClassification", type(model)
        assert "hf_ambiser" not in type(model).__module__, type(model)
        with torch.no_grad():
            out = model(**inputs)
        np.testing.assert_allclose(out.logits.numpy(), expected["logits"], atol=1e-6)
        np.testing.assert_allclose(out.prototype_similarity.numpy(), expected["similarity"], atol=1e-6)
    classify = pipeline("audio-classification", model=str(folder), trust_remote_code=True, device="cpu")
    answer = classify(wave, top_k=None)
    scores = {item["label"]: item["score"] for item in answer}
    probabilities = torch.tensor(expected["logits"][0]).softmax(-1).tolist()
    np.testing.assert_allclose([scores[k] for k in ("anger", "neutral", "sadness")], probabilities, atol=1e-5)
    model.save_pretrained(root / "again" / name)
encoder = AutoModel.from_pretrained(root / "encoder", trust_remote_code=True)
with torch.no_grad():
    hidden = encoder(torch.from_numpy(wave)[None]).last_hidden_state
np.testing.assert_allclose(hidden.numpy(), np.load(root / "encoder.npy"), atol=1e-6)
assert type(encoder).__name__ == "LogMelModel"
print("all equal")
"""


def encoders() -> dict[str, object]:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    small = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    return {
        "log-mel": LogMelConfig(hidden_size=16, conv_channels=(4,), conv_strides=((2, 4),)),
        "wav2vec2": Wav2Vec2Config(**sizes, **small),
        "whisper": WhisperConfig(**TINY_WHISPER, pad_to_30_seconds=True),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Three whole models and an encoder, saved with what they answer."""
    register()
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("hub")
    wave = (0.1 * np.random.default_rng(0).standard_normal(12000)).astype(np.float32)
    np.save(root / "wave.npy", wave)
    for name, encoder_config in encoders().items():
        names = {0: "anger", 1: "neutral", 2: "sadness"}
        config = PrototypeConfig(encoder_config, id2label=names, label2id={v: k for k, v in names.items()})
        model = PrototypeForAudioClassification(config).eval()
        extractor = default_feature_extractor(config.encoder_config)
        model.save_pretrained(root / name)
        extractor.save_pretrained(root / name)
        inputs = extractor([wave, wave[:5000]], sampling_rate=16000, padding=True, return_tensors="pt")
        with torch.no_grad():
            out = model(**inputs)
        np.savez(root / f"{name}.npz", logits=out.logits.numpy(), similarity=out.prototype_similarity.numpy())
    encoder = LogMelModel(encoders()["log-mel"]).eval()
    encoder.save_pretrained(root / "encoder")
    with torch.no_grad():
        np.save(root / "encoder.npy", encoder(torch.from_numpy(wave)[None]).last_hidden_state.numpy())
    return root


def test_loads_without_the_package_by_both_auto_classes_and_in_a_pipeline(saved, tmp_path):
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", ELSEWHERE, str(saved)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert run.returncode == 0, run.stderr[-4000:]
    assert "all equal" in run.stdout
    # Saved again by a process that only had the folder: here the package's own class reads it.
    for name in encoders():
        assert COPIED <= {path.name for path in (saved / "again" / name).iterdir()}
        again = AutoModelForAudioClassification.from_pretrained(saved / "again" / name)
        first = PrototypeForAudioClassification.from_pretrained(saved / name)
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())


def test_saved_folder_has_exactly_the_code_it_needs(saved):
    for name in encoders():
        assert {path.name for path in (saved / name).glob("*.py")} == COPIED
        config = json.loads((saved / name / "config.json").read_text())
        assert config["auto_map"] == {
            "AutoConfig": "configuration_prototype.PrototypeConfig",
            "AutoModel": "modeling_prototype.PrototypeForAudioClassification",
            "AutoModelForAudioClassification": "modeling_prototype.PrototypeForAudioClassification",
        }
        assert "auto_map" not in config["encoder_config"]
        (pipeline,) = config["custom_pipelines"].values()
        assert pipeline["impl"] == "emotion_pipeline.EmotionPipeline"
    assert {path.name for path in (saved / "encoder").glob("*.py")} == {
        "configuration_logmel.py",
        "field_types.py",
        "modeling_logmel.py",
        "valid_batch_norm.py",
        "valid_frames.py",
    }


@pytest.mark.parametrize("trust", [False, True])
def test_with_the_package_its_own_classes_load(saved, trust):
    for auto in (AutoModel, AutoModelForAudioClassification):
        assert (
            type(auto.from_pretrained(saved / "log-mel", trust_remote_code=trust)) is PrototypeForAudioClassification
        )
    assert type(AutoModel.from_pretrained(saved / "encoder", trust_remote_code=trust)) is LogMelModel


def allowed_import(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        roots = {alias.name.split(".")[0] for alias in node.names}
        return roots <= {"torch", "transformers"} | set(sys.stdlib_module_names)
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return node.level == 1 and node.module is not None and "." not in node.module
        return (node.module or "").split(".")[0] in {"torch", "transformers"} | set(sys.stdlib_module_names)
    return True


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_sources_import_only_torch_transformers_and_siblings(path):
    tree = ast.parse(path.read_text())
    bad = [ast.unparse(node) for node in ast.walk(tree) if not allowed_import(node)]
    assert not bad, f"{path.name}: {bad}"
    # transformers finds siblings by a regular expression over the whole text, docstrings included.
    imports = {ast.unparse(n).split(" import")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level}
    lines = {
        line.strip().split(" import")[0] for line in path.read_text().splitlines() if line.strip().startswith("from .")
    }
    assert lines == imports


@pytest.mark.parametrize(
    "source", ["from . import a", "from ..labels import A", "from .b.c import A", "import hf_ambiser"]
)
def test_import_rule_has_teeth(source):
    assert not all(allowed_import(node) for node in ast.walk(ast.parse(source)))
