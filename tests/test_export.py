"""Exported models: `hf-ambiser export`, and `predict` where torch cannot be imported."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.bad_recordings import bad_recordings, check
from helpers.made_data import tiny_config, tiny_model
from helpers.made_model import RATE, noise, saved
from helpers.package_imports import ROOT
from helpers.tiny_encoders import ENCODERS, batch, clips
from transformers import Wav2Vec2FeatureExtractor

from hf_ambiser import export_model, open_model, predict
from hf_ambiser.cli import main
from hf_ambiser.inference import export
from hf_ambiser.inference.export_graph import Graph, _of_segments, _scaled
from hf_ambiser.inference.export_precision import store_in
from hf_ambiser.inference.model_digest import model_digest
from hf_ambiser.inference.onnx_model import ABOUT, MODEL, TORCH_MODEL, padded
from hf_ambiser.models import (
    FusionConfig,
    FusionForAudioClassification,
    LogMelConfig,
    PrototypeConfig,
    PrototypeForAudioClassification,
    available_families,
    load_family,
)
from hf_ambiser.models.frame_classifier import FrameClassifier


torch.set_num_threads(1)
CLASSES = {0: "anger", 1: "neutral", 2: "sadness"}
DECISION = {"temperature": 1.7, "threshold": 0.3318, "balance": {"tau": 2.0, "shares": [0.5, 0.3, 0.2]}}
LENGTHS = (15013, 9001, 1777)
# Where torch, transformers and datasets cannot be imported: the command, and then what the card says.
ELSEWHERE = """
import sys
for name in ("torch", "transformers", "datasets", "torchaudio"):
    sys.modules[name] = None
from hf_ambiser.cli import main
assert main(["predict", "some.wav", "long.wav", "--model", sys.argv[1], "--format", "jsonl", "--no-progress",
             "--window", "1", "--hop", "0.3"]) == 0
assert main(["predict", "some.wav", "--model", sys.argv[1], "--no-progress", "--device", "cuda"]) == 2
exec(open(sys.argv[2]).read())
"""


def made() -> PrototypeForAudioClassification:
    """A model with everything that a head may have, and weights that are worth storing in fewer bits."""
    torch.manual_seed(0)
    encoder = LogMelConfig(hidden_size=64, conv_channels=(4, 8), conv_strides=((2, 2), (2, 4)), n_mels=20)
    return PrototypeForAudioClassification(
        PrototypeConfig(
            encoder, id2label=CLASSES, projection_size=80, recurrent_size=40, pooling="attention_std",
            classifier_hidden_size=64, frames_averaged=3, standardize_frames=True, decision=DECISION,
        )
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("saved") / "model", made())


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "onnx"
    (folder / "README.md").write_text("The card.\n")
    assert main(["export", str(folder), "--out", str(out)]) == 0
    return out


def difference(mine, theirs, lengths=LENGTHS) -> float:
    waves = [wave.numpy() * 0.3 for wave in clips(lengths)]
    a, b = mine.outputs_of(waves), theirs.outputs_of(waves)
    fields = [name for name in ("logits", "embedding", "prototype_similarity") if getattr(b, name, None) is not None]
    return max(np.abs(getattr(a, name) - getattr(b, name).numpy()).max() for name in fields)


@pytest.mark.parametrize("lengths", [(15013,), LENGTHS, (401, 1), (8007,) * 7])
def test_any_batch_of_any_lengths_has_the_answers_of_pytorch(exported, folder, lengths):
    assert difference(open_model(exported), open_model(folder, "cpu"), lengths) < 1e-4


def test_the_folder_holds_what_an_answer_needs_and_nothing_about_this_machine(exported, folder):
    names = {"MODEL_CARD.md", "README.md", ABOUT, "config.json", MODEL, "preprocessor_config.json"}
    assert {path.name for path in exported.iterdir()} == names
    about, config = (json.loads((exported / name).read_text()) for name in (ABOUT, "config.json"))
    assert about["classes"] == list(CLASSES.values()) and about["sampling_rate"] == RATE
    assert about["outputs"] == ["logits", "utterance_embedding", "prototype_similarity"]
    assert 0 < about["largest_difference"] < 1e-4
    assert config["decision"] == DECISION and not {"auto_map", "custom_pipelines"} & set(config)
    assert (exported / "MODEL_CARD.md").read_text() == "The card.\n"
    for path in exported.iterdir():
        content = path.read_bytes()
        assert not any(str(place).encode() in content for place in (ROOT, folder)), path


def test_it_answers_where_torch_cannot_be_imported_by_the_command_and_as_its_card_says(exported, folder, tmp_path):
    soundfile.write(tmp_path / "some.wav", noise(0.8), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "long.wav", noise(2.5, 1), RATE, subtype="FLOAT")
    (code,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    here = {"export.json": exported / ABOUT, "config.json": exported / "config.json", MODEL: exported / MODEL}
    for name, path in here.items():
        shutil.copy(path, tmp_path / name)
    (tmp_path / "card.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(exported / MODEL), "card.py"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "device 'cuda' is not one that onnxruntime has here" in done.stderr
    *lines, card, answer_of_card = done.stdout.splitlines()
    expected = predict([tmp_path / "some.wav", tmp_path / "long.wav"], folder, window=1, hop=0.3, progress=False)
    for line, answer in zip(lines, expected, strict=True):
        said = json.loads(line)
        assert (said["status"], said["emotion"]) == (answer.status, answer.emotion)
        assert said["probabilities"] == pytest.approx(answer.probabilities, abs=1e-4)
        assert said["similarities"] == pytest.approx(answer.similarities, abs=1e-4)
        assert len(said["windows"]) == len(answer.windows)
        for mine, theirs in zip(said["windows"], answer.windows, strict=True):
            assert (mine["start"], mine["status"]) == (theirs.start, theirs.status)
            assert mine["probabilities"] == pytest.approx(theirs.probabilities, abs=1e-4)
    assert eval(card) == pytest.approx(expected[0].probabilities, abs=2e-4)
    assert answer_of_card == (expected[0].emotion or "abstains")
    # The stored threshold acts and lets some pass, and so does the balance.
    windows = [window for answer in expected for window in answer.windows]
    assert {"answered", "abstains"} <= {window.status for window in windows}
    assert any(one.emotion not in (None, max(one.probabilities, key=one.probabilities.get)) for one in windows)


def test_bad_recordings_are_the_same_rows_as_from_pytorch(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "no_ffmpeg"))
    answers = predict(bad_recordings(tmp_path / "bad"), exported, threshold=0, progress=False)
    check({Path(one.recording).name: (one.status, one.reason) for one in answers})


@pytest.mark.parametrize(("precision", "worst"), [("float16", 2e-2), ("int8", 0.3)])
def test_fewer_bits_make_a_smaller_file_and_nearly_the_same_answers(exported, folder, tmp_path, precision, worst):
    shutil.copytree(exported, tmp_path / "less")
    store_in(precision, tmp_path / "less" / MODEL)
    assert (tmp_path / "less" / MODEL).stat().st_size < 0.75 * (exported / MODEL).stat().st_size
    assert 0 < difference(open_model(tmp_path / "less"), open_model(folder, "cpu")) < worst


def test_a_program_of_torch_needs_neither_transformers_nor_the_package(tmp_path):
    opened = open_model(saved(tmp_path / "model", made()), "cpu")  # with an LSTM
    out = export_model(opened, tmp_path / "program", "torch")
    program = torch.export.load(out / TORCH_MODEL).module()
    for lengths in (LENGTHS, (8007,), (1601,) * 5):
        waves = [wave.numpy() * 0.3 for wave in clips(lengths)]
        found = program(*map(torch.from_numpy, padded(waves, 1600)))
        torch.testing.assert_close(found[0], opened.outputs_of(waves).logits, atol=1e-4, rtol=0)
    assert "torch.export.load" in (out / "README.md").read_text()
    with pytest.raises(ValueError, match="was exported for torch.export.load .* export it with --format onnx"):
        open_model(out)


def test_an_exported_model_has_a_digest_of_its_own(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "copy")
    assert model_digest(open_model(exported)) == model_digest(open_model(tmp_path / "copy"))
    about = json.loads((tmp_path / "copy" / ABOUT).read_text()) | {"classes": ["a", "b", "c"]}
    (tmp_path / "copy" / ABOUT).write_text(json.dumps(about))
    assert model_digest(open_model(exported)) != model_digest(open_model(tmp_path / "copy"))


# ---- what is refused ----------------------------------------------------------------------------------------------


def opened(model, extractor=None):
    return open_model(model.eval(), extractor=extractor or model.make_feature_extractor())


REFUSED = {
    "format": (lambda: made(), {"format": "coreml"}, "format is 'coreml'; allowed: onnx, torch"),
    "precision": (lambda: made(), {"precision": "int4"}, "precision is 'int4'; allowed: float32, float16, int8"),
    "torch": (lambda: made(), {"format": "torch", "precision": "int8"}, "format torch has float32 only"),
    "sew-d": (
        lambda: PrototypeForAudioClassification(PrototypeConfig(ENCODERS["sew-d"], num_labels=3)),
        {},
        "has an encoder of type sew-d and cannot be exported: transformers computes its positions",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_before_work_begins(case, tmp_path, monkeypatch):
    make, options, says = REFUSED[case]
    monkeypatch.setattr(export, "_write_graph", None)
    with pytest.raises(ValueError, match=says):
        export_model(opened(make()), tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model_to_export_or_no_place_to_write_is_refused(exported, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_write_graph", None)
    with pytest.raises(ValueError, match="is an exported one; give the model that it was made from"):
        export_model(exported, tmp_path / "out")
    with pytest.raises(ValueError, match="a Wav2Vec2FeatureExtractor that does more to waveforms"):
        export_model(opened(made(), Wav2Vec2FeatureExtractor(padding_value=0.5)), tmp_path / "out")
    with pytest.raises(ValueError, match="is there already and is no empty folder"):
        export_model(folder, folder)
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'needs onnx, onnxscript, onnxruntime: pip install "hf_ambiser\[onnx\]"'):
        export_model(folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_version_of_torch_that_fixes_the_steps_of_an_lstm_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_write_graph", None)
    monkeypatch.setitem(sys.modules, "torch.export._patches", None)
    with pytest.raises(ValueError, match=r"has an LSTM, and torch.export of this .* fixes the number of its steps"):
        export_model(folder, tmp_path / "out", "torch")


def test_nothing_is_left_of_an_export_that_failed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_write_graph", lambda *_: None)
    monkeypatch.setattr(export, "_difference", lambda *_: float("nan"))
    with pytest.raises(ValueError, match="the exported graph differs from the model by nan; allowed: 1e-04"):
        export_model(folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_spoilt_and_missing_files_of_an_exported_model_are_one_line(exported, tmp_path):
    spoilt = tmp_path / "spoilt"
    shutil.copytree(exported, spoilt)
    (spoilt / MODEL).write_bytes((exported / MODEL).read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"model.onnx is no model that onnxruntime can run .* Export the model again"):
        open_model(spoilt)
    (spoilt / MODEL).unlink()
    with pytest.raises(ValueError, match=r"model.onnx does not exist. Export the model again"):
        open_model(spoilt)
    shutil.copy(exported / MODEL, tmp_path / "alone.onnx")
    with pytest.raises(ValueError, match=r"export.json does not lie beside it"):
        open_model(tmp_path / "alone.onnx")
    (tmp_path / "bare").mkdir()
    shutil.copy(exported / MODEL, tmp_path / "bare")
    with pytest.raises(ValueError, match=r"bare/export.json does not exist. Export the model again"):
        open_model(tmp_path / "bare")
    (spoilt / ABOUT).write_text('{"format": "onnx"}')
    with pytest.raises(ValueError, match="lacks 'input'"):
        open_model(spoilt)


def test_a_window_that_the_graph_does_not_take_is_one_line(exported, tmp_path):
    short = tmp_path / "short"
    shutil.copytree(exported, short)
    about = json.loads((short / ABOUT).read_text()) | {"longest": 16000}
    (short / ABOUT).write_text(json.dumps(about))
    # Whatever the recordings are, so that a long one among short ones costs no answers.
    with pytest.raises(ValueError, match=r"window is 1.5 s, and model .* takes at most 1 s at once. Give a shorter"):
        predict(noise(0.5), short, sampling_rate=RATE, window=1.5, progress=False)
    with pytest.raises(ValueError, match=r"window is 1.5 s, and model .* takes at most 1 s at once"):
        open_model(short).probabilities([noise(1.5)])
    (answer,) = predict(noise(1.5), short, sampling_rate=RATE, window=1.0, progress=False)
    assert answer.has_answer


# ---- the graph, without a compiler --------------------------------------------------------------------------------


def test_waveforms_are_scaled_as_the_feature_extractor_does():
    waves = [wave.numpy() for wave in clips((4001, 900, 2))]
    given = Wav2Vec2FeatureExtractor(return_attention_mask=True)(
        waves, sampling_rate=16000, padding=True, return_tensors="pt"
    )
    plain = batch([torch.from_numpy(wave) for wave in waves])
    scaled = _scaled(plain["input_values"], plain["attention_mask"])
    torch.testing.assert_close(scaled, given["input_values"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("segment", [None, 0.5])
@pytest.mark.parametrize("variant", ["multi_fusion", "spatial", "temporal"])
@torch.no_grad()
def test_the_fusion_model_answers_the_same_in_as_many_segments_for_each(segment, variant):
    torch.manual_seed(0)
    config = FusionConfig(
        ENCODERS["log-mel"], num_labels=3, segment_seconds=segment, minimum_seconds=0.4, variant=variant
    )
    model = FusionForAudioClassification(config).eval()
    for lengths in ((19001, 8000, 8001, 3), (700,)):
        inputs = batch([wave * 0.3 for wave in clips(lengths)])
        logits, embedding = _of_segments(model, inputs["input_values"], inputs["attention_mask"].sum(1))
        expected = model(**inputs)
        torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(embedding, expected.embedding, atol=1e-5, rtol=1e-5)


def test_a_graph_knows_its_bounds():
    bounds = {name: Graph(tiny_model(tiny_config(encoder=name)), False, True) for name in ("log-mel", "whisper")}
    assert {name: graph.longest for name, graph in bounds.items()} == {"log-mel": 9_600_000, "whisper": 16000}
    assert all(graph.shortest >= 1600 for graph in bounds.values())


# ---- all of it ----------------------------------------------------------------------------------------------------

KINDS = [name for name in ENCODERS if name != "sew-d"]
HEADS = [name for name in available_families() if issubclass(load_family(name), FrameClassifier)]
FAMILIES = {
    "blstm log-mel": lambda: tiny_model(tiny_config(family="blstm"), family="blstm"),
    "blstm acoustic32": lambda: load_family("blstm")(load_family("blstm").config_class(num_labels=3)),
    "blstm whisper": lambda: tiny_model(tiny_config(family="blstm", encoder="whisper"), family="blstm"),
    "fusion log-mel": lambda: tiny_model(tiny_config(family="fusion"), family="fusion"),
    "fusion wav2vec2": lambda: tiny_model(tiny_config(family="fusion", encoder="wav2vec2"), family="fusion"),
    "fusion segments": lambda: FusionForAudioClassification(
        FusionConfig(ENCODERS["wav2vec2 layer norm"], num_labels=3, segment_seconds=0.5, minimum_seconds=0.4)
    ),
    **{name: lambda name=name: tiny_model(tiny_config(family=name), family=name) for name in HEADS},
    **{
        f"{name} whisper": lambda name=name: tiny_model(tiny_config(family=name, encoder="whisper"), family=name)
        for name in HEADS
    },
    "fusion spatial": lambda: FusionForAudioClassification(
        FusionConfig(ENCODERS["log-mel"], num_labels=3, segment_seconds=0.5, minimum_seconds=0.4, variant="spatial")
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, *FAMILIES])
def test_every_family_and_every_encoder_can_be_exported(kind, tmp_path):
    torch.manual_seed(0)
    if kind in FAMILIES:
        model = FAMILIES[kind]()
    else:
        layers = "weighted_sum" if kind != "log-mel" else "last"
        model = PrototypeForAudioClassification(PrototypeConfig(ENCODERS[kind], num_labels=3, layers=layers))
    theirs = opened(model)
    mine = open_model(export_model(theirs, tmp_path / "out"))
    for lengths in ((15013,), (14011, 9001, 5000, 401), (8007, 12345)):
        assert difference(mine, theirs, lengths) < 1e-4


@pytest.mark.slow
@pytest.mark.skipif("AMBISER_ENCODERS" not in os.environ, reason="needs the encoder whisper-tiny.en")
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_the_real_whisper_can_be_exported(precision, tmp_path):
    torch.manual_seed(0)
    model = PrototypeForAudioClassification.from_encoder(
        Path(os.environ["AMBISER_ENCODERS"]) / "whisper-tiny.en", num_labels=3, layers="weighted_sum"
    )
    theirs = opened(model)
    mine = open_model(export_model(theirs, tmp_path / "out", precision=precision))
    worst = {"float32": 1e-3, "float16": 0.05, "int8": 0.5}[precision]
    scale = float(theirs.outputs_of([noise(2.0)]).embedding.abs().max())
    assert difference(mine, theirs, (48013, 16007)) < worst * max(1.0, scale)
