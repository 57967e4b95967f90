"""What is imported when: the package and its help wait for nothing, and yet the Auto classes know the models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.package_imports import ROOT
from transformers.models.auto import configuration_auto, feature_extraction_auto

import hf_ambiser
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.models import auto_classes, available_families, load_family
from hf_ambiser.models.configuration_blstm import BLSTMConfig


SLOW = ("torch", "numpy", "transformers", "datasets", "pyarrow", "scipy", "matplotlib", "huggingface_hub")
SECONDS = 1.0
STARTS = {
    "the package": "import hf_ambiser",
    "the help": """
from hf_ambiser.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert not end.code""",
}
TELL = f"\nimport sys\nprint(); print([name for name in {SLOW} if name in sys.modules])"
# One process for each order. Every look-up is the first one of a child of its own, so that none finds what another
# one has registered.
LOOK_UPS = """
import json, os, sys, traceback
{imports}
import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

torch.set_num_threads(1)
folder = sys.argv[1]
wave = np.sin(np.arange(8000) / 20).astype(np.float32)
look_ups = {{
    "AutoConfig": lambda: type(AutoConfig.from_pretrained(folder)).__module__,
    "AutoConfig.for_model": lambda: type(AutoConfig.for_model("ambiser_blstm")).__module__,
    "AutoModelForAudioClassification":
        lambda: type(AutoModelForAudioClassification.from_pretrained(folder)).__module__,
    "AutoFeatureExtractor": lambda: type(AutoFeatureExtractor.from_pretrained(folder)).__module__,
    "pipeline": lambda: {{x["label"]: x["score"] for x in pipeline("audio-classification", folder)(wave, top_k=None)}},
}}
early = [name for name in sys.modules if name.startswith("hf_ambiser.models.modeling_")]
for name, look_up in look_ups.items():
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            answer = look_up()
        except BaseException:
            answer = traceback.format_exc()
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    print(json.dumps([name, json.load(os.fdopen(read)), early]), flush=True)  # else the next child prints it, too
"""


def python(code: str, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("what", STARTS)
def test_it_imports_nothing_slow_and_takes_less_than_a_second(what):
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        assert python(STARTS[what] + TELL).splitlines()[-1] == "[]"
        taken.append(time.perf_counter() - begun)
        if taken[-1] < SECONDS:
            break
    assert min(taken) < SECONDS, taken


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A model whose feature extractor is one of our own."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("blstm")
    model = load_family("blstm")(BLSTMConfig(dense_hidden_size=8, lstm_hidden_size=4, num_labels=3))
    model.save_pretrained(folder)
    model.make_feature_extractor().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "imports", ["import hf_ambiser\nimport transformers", "import transformers.models.auto\nimport hf_ambiser"]
)
def test_the_auto_classes_know_the_models_whichever_is_imported_first(imports, saved):
    lines = [
        json.loads(line) for line in python(LOOK_UPS.format(imports=imports), saved).splitlines() if line[:1] == "["
    ]
    assert [early for _, _, early in lines] == [[]] * 5, "a model was imported before anything was looked up"
    answers = {name: answer for name, answer, _ in lines}
    scores = answers.pop("pipeline")
    models = "hf_ambiser.models."
    assert answers == {
        "AutoConfig": models + "configuration_blstm",
        "AutoConfig.for_model": models + "configuration_blstm",
        "AutoModelForAudioClassification": models + "modeling_blstm",
        "AutoFeatureExtractor": models + "feature_extraction_acoustic32",
    }
    assert isinstance(scores, dict), scores
    model = load_family("blstm").from_pretrained(saved).eval()
    wave = np.sin(np.arange(8000) / 20).astype(np.float32)
    batch = model.make_feature_extractor()([wave], sampling_rate=16000, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**batch).logits.softmax(-1)[0].tolist()
    assert [scores[name] for name in model.config.id2label.values()] == pytest.approx(expected, rel=1e-4)


class Watched(dict):
    """Counts how often transformers looks into it."""

    looks = 0

    def __contains__(self, key):
        self.looks += 1
        return super().__contains__(key)

    def values(self):
        self.looks += 1
        return super().values()


def test_the_private_attribute_of_transformers_is_what_auto_classes_takes_it_for(monkeypatch):
    """`_extra_content` is a dict, holds what `register` adds, and is where a look-up looks."""
    names = configuration_auto.CONFIG_MAPPING_NAMES
    places = {"configuration_auto": ({},), "feature_extraction_auto": (names, OrderedDict())}
    for module in (configuration_auto, feature_extraction_auto):
        where = module.__name__
        attribute = auto_classes._TABLES[where]
        assert isinstance(getattr(module, attribute)._extra_content, auto_classes._Appendix), "no appendix was made"
        table = type(getattr(module, attribute))(*places[where.split(".")[-1]])
        assert type(table._extra_content) is dict and not table._extra_content
        table._extra_content = Watched()
        table.register("ambiser_made", BLSTMConfig)
        assert table._extra_content == {"ambiser_made": BLSTMConfig}
        assert "ambiser_made" in table and table["ambiser_made"] is BLSTMConfig and table._extra_content.looks >= 2
        made = ModuleType(where)
        setattr(made, attribute, table)
        auto_classes._append_to(made)
        assert isinstance(table._extra_content, auto_classes._Appendix) and table["ambiser_made"] is BLSTMConfig
    # A feature extractor is looked for by its class's name, among the values.
    watched = Watched(feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING._extra_content)
    monkeypatch.setattr(feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING, "_extra_content", watched)
    assert feature_extraction_auto.feature_extractor_class_from_name("NobodysFeatureExtractor") is None
    assert watched.looks


def test_every_public_name_is_found():
    assert {getattr(hf_ambiser, name).__name__ for name in hf_ambiser.__all__} == set(hf_ambiser.__all__)
    assert set(hf_ambiser.__all__) <= set(dir(hf_ambiser))
    for trainer in map(load_method, available_methods()):
        assert getattr(hf_ambiser, trainer.__name__) is trainer
        assert getattr(hf_ambiser, trainer.arguments_class.__name__) is trainer.arguments_class
    for model in map(load_family, available_families()):
        assert getattr(hf_ambiser, model.__name__) is model
        assert getattr(hf_ambiser, model.config_class.__name__) is model.config_class
    with pytest.raises(AttributeError, match="has no attribute 'NobodysTrainer'"):
        hf_ambiser.NobodysTrainer  # noqa: B018
