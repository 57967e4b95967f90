"""One run from arguments to run folder: what is written, going on, refusals, adapters, freezing."""

import json
import logging
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
import yaml
from datasets import disable_progress_bars
from helpers.made_run import TINY, built, fields, stopped_in_the_second_epoch

from hf_ambiser import train, write_report
from hf_ambiser.data.build import build
from hf_ambiser.data.corpora import simulated
from hf_ambiser.data.loading import load_split
from hf_ambiser.models import PrototypeForAudioClassification
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.predictions import read_predictions
from hf_ambiser.run_folder.trajectory import read_trajectory, trajectory_epochs
from hf_ambiser.runs import run as module
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.build_model import build_model
from hf_ambiser.runs.environment import describe_environment
from hf_ambiser.runs.run import run
from hf_ambiser.runs.scoring import load_for_scoring, predict_logits
from hf_ambiser.training.model_arguments import ModelArguments
from hf_ambiser.training.validation import softmax


torch.set_num_threads(1)
disable_progress_bars()
EVALUATE = Path(__file__).parent.parent / "train_scripts" / "evaluate.py"
BASELINE = {"method": "hard_vote", "warmup_epochs": ..., "num_train_epochs": 1}
CLASSES = ["anger", "happiness", "sadness", "neutral"]


def go(dataset: Path, out: Path, /, **changes) -> dict:
    return run(RunArguments.from_mapping(fields(dataset, out, **changes)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory) -> Path:
    """IPR, trained without interruption."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    go(dataset, out)
    return out


def test_a_run_folder_holds_what_its_page_says_and_results_come_last(whole, dataset):
    for name in ("arguments.yaml", "data.json", "environment.json", "reference.parquet", "model/config.json"):
        assert (whole / name).is_file(), name
    files = [path for path in whole.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".part"]
    # The card is made from the results, and made again where a kill came between.
    card = [whole / "model" / "README.md", *(whole / "model" / "figures").iterdir()]
    assert not (whole / "model" / "training_args.bin").exists() and all(path in files for path in card)
    # The process lets go of the folder after that.
    (attempt,) = RunFolder(whole).attempts.iterdir()
    last = max(path.stat().st_mtime_ns for path in files if path not in [*card, attempt])
    assert last == (whole / "results.json").stat().st_mtime_ns
    assert trajectory_epochs(whole) == [1, 2, 3]
    results = json.loads((whole / "results.json").read_text())
    assert results["method"] == "ipr" and results["data"] == json.loads((whole / "data.json").read_text())
    assert set(results["scores"]) == {"d3", "test_clear"}
    info = json.loads((dataset / "build_report.json").read_text())
    data = results["data"]
    assert (data["split_fingerprint"], data["protocol"]) == (info["configs"]["ipr-strict"]["fingerprint"], "strict")
    assert data["policy_fingerprint"] == info["policy_fingerprint"] and data["classes"] == CLASSES
    for split, scores in results["scores"].items():
        predicted = read_predictions(whole / "predictions" / f"{split}.parquet")
        assert predicted["id"].tolist() == load_split(dataset, "ipr-strict", split)["id"]
        labelled = predicted["consensus"] >= 0
        right = predicted["probabilities"].argmax(axis=1)[labelled] == predicted["consensus"][labelled]
        assert scores["all"]["wa"] == pytest.approx(right.mean()) and scores["all"]["n"] == len(labelled)
        # Embeddings of the clips they stand beside: the saved head makes the same answer of them.
        head = transformers.AutoModelForAudioClassification.from_pretrained(whole / "model").eval().head
        logits = head(torch.from_numpy(predicted["embedding"]))[0].detach().numpy()
        np.testing.assert_allclose(softmax(logits), predicted["probabilities"], atol=1e-5)


def test_the_trainer_was_not_shown_the_labels_of_d2(whole, dataset):
    assert json.loads((whole / "data.json").read_text())["revealed_splits"] == []
    hidden = set(load_split(dataset, "ipr-strict", "d2")["id"])
    table = read_trajectory(whole, 3)
    mine = np.isin(table["id"], list(hidden))
    assert mine.sum() == len(hidden) and not table["observed"][mine].any() and table["observed"][~mine].any()


def test_a_run_that_is_tested_on_what_it_has_learnt_from_says_so_everywhere(whole, dataset, tmp_path, caplog):
    both = {"train_splits": ["d1", "test_clear"], "test_splits": ["d3", "test_clear"], "num_train_epochs": 1}
    with caplog.at_level(logging.WARNING):
        results = go(dataset, tmp_path / "run", method="hard_vote", warmup_epochs=..., **both)
    n = len(load_split(dataset, "ipr-strict", "test_clear"))
    learnt = results["learnt_from"]
    assert learnt["test_clear"] == n and learnt.keys().isdisjoint({"d3"})
    assert f"{n} of the {n} utterances of the test split 'test_clear' are in the training set" in caplog.text
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "**The model was trained on utterances that it is tested on here.**" in card
    assert f"The model was trained on {n} of these utterances." in card
    (entry,) = yaml.safe_load(card.split("---")[1])["model-index"]
    splits = {result["dataset"]["split"] for result in entry["results"]}
    assert "d3" in splits and not any("test_clear" in split for split in splits)
    text = write_report(tmp_path / "run", html=False, progress=False)
    assert f"**{n} answers are on utterances that the answering run was trained on" in text
    assert "learnt_from" not in json.loads((whole / "results.json").read_text())
    assert "trained on utterances" not in (whole / "model" / "README.md").read_text()


def test_a_finished_run_is_only_read(whole, dataset, monkeypatch):
    monkeypatch.setattr(module, "prepare", lambda *_: pytest.fail("trained again"))
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert go(dataset, whole) == json.loads((whole / "results.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_other_arguments_in_the_same_folder_are_refused_by_name(whole, dataset, capsys):
    with pytest.raises(ValueError, match=r"other arguments \(learning_rate, seed differ\)") as error:
        go(dataset, whole, learning_rate=2e-3, seed=4)
    assert str(whole) in str(error.value)
    path = whole.parent / "other.yaml"
    path.write_text(yaml.safe_dump(fields(dataset, whole)))
    assert train.main(["--config", str(path), "--warmup_epochs", "2"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "(warmup_epochs differ)" in said


def test_the_training_command_prints_each_split_on_a_line(whole, dataset, capsys):
    path = whole.parent / "same.yaml"
    path.write_text(yaml.safe_dump(fields(dataset, whole)))
    assert train.main(["--config", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["d3", "test_clear", "run folder"] and "WA %" in said[0]


def test_a_run_that_was_stopped_goes_on_and_is_the_same_run(whole, dataset, tmp_path):
    out = tmp_path / "stopped"
    stopped_in_the_second_epoch(lambda: go(dataset, out))
    assert not (out / "results.json").exists() and trajectory_epochs(out) == [1]
    results = go(dataset, out)
    same_run(out, whole)
    assert results["scores"] == json.loads((whole / "results.json").read_text())["scores"]
    # Stopped again, after training: the results and the last checkpoint are gone, then the results only.
    last = max(out.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(last)
    for _ in range(2):
        (out / "results.json").unlink()
        shutil.rmtree(out / "model")
        go(dataset, out)
        same_run(out, whole)


def same_run(out: Path, whole: Path) -> None:
    for name in ("model/model.safetensors", "model/config.json", "predictions/d3.parquet", "data.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    for epoch in trajectory_epochs(whole):
        a, b = read_trajectory(out, epoch), read_trajectory(whole, epoch)
        assert all(np.array_equal(a[name], b[name]) for name in b), epoch


def test_whose_labels_were_revealed_is_named(dataset, tmp_path):
    revealed = {"train_splits": ["d1", "d2"], "reveal_splits": ["d2"]}
    results = go(dataset, tmp_path / "supervised", **BASELINE, **revealed)
    assert results["data"]["revealed_splits"] == ["d2"] and results["data"]["ambiguous_splits"] == []
    d2 = load_split(dataset, "ipr-strict", "d2")
    table = read_trajectory(tmp_path / "supervised", 1)
    assert set(d2["id"]) <= set(table["id"])
    shown = dict(zip(table["id"], table["observed"], strict=True))
    assert all(shown[i].argmax() == c for i, c in zip(d2["id"], d2["reference_label"], strict=True) if c >= 0)


def test_a_baseline_needs_no_ambiguous_split(dataset, tmp_path):
    results = go(dataset, tmp_path / "plain", **BASELINE, ambiguous_splits=["not_there"], validation_split=None)
    assert results["data"]["ambiguous_splits"] == []
    reference = pq.read_table(tmp_path / "plain" / "reference.parquet")["id"].to_pylist()
    assert reference == load_split(dataset, "ipr-strict", "d1")["id"]


def test_a_data_set_without_a_validation_split_trains_without_evaluation_unless_one_is_asked_for(
    dataset, tmp_path, caplog
):
    simulated.generate(tmp_path / "corpus", n_utterances=60, n_speakers=10, seed=0)
    build(
        "simulated", tmp_path / "corpus", tmp_path / "dataset", configs=("ipr-paper",), seed=0, d1_quota="per_class",
        min_per_class=1, validation_share=0, progress=False,
    )  # fmt: skip
    small = {**BASELINE, "dataset_config": "ipr-paper", "test_splits": ["d3"]}
    with caplog.at_level("WARNING"):
        results = go(tmp_path / "dataset", tmp_path / "run", **small)
    assert "has no split 'validation', so nothing is evaluated" in caplog.text
    assert not [entry for entry in results["log"] if "eval_loss" in entry] and results["scores"]["d3"]["all"]["n"] > 0
    with pytest.raises(ValueError, match="no split 'validation'"):
        go(tmp_path / "dataset", tmp_path / "asked", **small, validation_split="validation")
    best = {"load_best_model_at_end": True, "metric_for_best_model": "ua"}
    with pytest.raises(ValueError, match="load_best_model_at_end=True needs validation utterances"):
        go(tmp_path / "dataset", tmp_path / "best", **small, **best)
    with pytest.raises(ValueError, match="load_best_model_at_end=True needs validation utterances"):
        go(dataset, tmp_path / "none", **BASELINE, validation_split=None, **best)


def test_each_training_utterance_stands_once_in_the_reference(dataset, tmp_path):
    out = tmp_path / "supervised"
    go(dataset, out, **BASELINE, train_splits=["d1", "d2"], reveal_splits=["d2"])
    ids = pq.read_table(out / "reference.parquet")["id"].to_pylist()
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": ""}, "needs `dataset`"),
        ({"ambiguous_splits": []}, "needs `ambiguous_splits`"),
        ({"train_splits": []}, "needs `train_splits`"),
        ({"train_splits": ["d9"]}, "no split 'd9'"),
        ({"test_splits": ["test"]}, "no split 'test'"),
    ],
)
def test_what_a_run_cannot_do_without_is_said_before_anything_is_written(dataset, tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        go(dataset, tmp_path / "x", **changes)
    assert not (tmp_path / "x" / "arguments.yaml").exists()


def evaluate(capsys, monkeypatch, *argv: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, argv)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EVALUATE), run_name="__main__")
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


def test_the_saved_model_is_the_one_that_was_scored(whole, dataset, tmp_path, capsys, monkeypatch):
    words = ["--model", whole / "model", "--dataset", dataset, "--split", "d3", "--batch-size", 3]
    words += ["--out", tmp_path / "scores.json", "--predictions", tmp_path / "d3.parquet"]
    code, out, _ = evaluate(capsys, monkeypatch, *words)
    assert code == 0 and "protocol strict" in out and "rater ceiling" in out
    ours, theirs = read_predictions(tmp_path / "d3.parquet"), read_predictions(whole / "predictions" / "d3.parquet")
    np.testing.assert_allclose(ours["probabilities"], theirs["probabilities"], atol=1e-6)
    assert ours["id"].tolist() == theirs["id"].tolist()
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (
        scores["all"]["class_counts"]
        == json.loads((whole / "results.json").read_text())["scores"]["d3"]["all"]["class_counts"]
    )


def test_a_model_with_other_classes_is_refused(whole, dataset, tmp_path, capsys, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(whole / "model", other)
    config = json.loads((other / "config.json").read_text())
    names = CLASSES[::-1]
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    (other / "config.json").write_text(json.dumps(config))
    code, _, err = evaluate(capsys, monkeypatch, "--model", other, "--dataset", dataset, "--split", "d3")
    assert code == 2 and "evaluate.py: " in err.splitlines()[-1] and str(names) in err and str(CLASSES) in err
    code, _, err = evaluate(capsys, monkeypatch, "--model", whole / "model", "--dataset", dataset, "--split", "d7")
    assert code == 2 and "no split 'd7'" in err


def test_an_adapter_is_scored_as_it_was_in_its_run(dataset, tmp_path):
    out = tmp_path / "lora"
    results = go(dataset, out, lora={"r": 2, "lora_alpha": 16}, learning_rate=1e-2, num_train_epochs=2)
    assert (out / "base_model" / "model.safetensors").is_file() and not list(out.glob("*.part"))
    config = json.loads((out / "model" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(out / "base_model")
    model, extractor, data, _ = load_for_scoring(str(out / "model"), dataset, "ipr-strict", "d3")
    ours = softmax(predict_logits(model, extractor, data, batch_size=16))
    theirs = read_predictions(out / "predictions" / "d3.parquet")["probabilities"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    base, *_ = load_for_scoring(str(out / "base_model"), dataset, "ipr-strict", "d3")
    assert np.abs(softmax(predict_logits(base, extractor, data)) - theirs).max() > 1e-3
    assert results["parameters"] > sum(p.numel() for p in base.parameters())


def test_a_run_that_is_too_short_takes_no_folder(dataset, tmp_path):
    """Otherwise the same command with more steps would be one of another run, in a folder that is taken."""
    given = {"method": "self_training", "warmup_epochs": 2, "num_train_epochs": 9}
    with pytest.raises(ValueError, match=r"the first 2 epochs of \w+ prepare it, and the run has 1"):
        go(dataset, tmp_path / "run", **given, max_steps=1)
    assert not (tmp_path / "run" / "arguments.yaml").exists()
    trainer, _ = module.prepare(RunArguments.from_mapping(fields(dataset, tmp_path / "run", **given)))
    go(dataset, tmp_path / "run", **given, max_steps=2 * len(trainer.get_train_dataloader()) + 1)


def test_a_run_that_cut_utterances_is_scored_on_cut_ones(dataset, tmp_path, capsys, monkeypatch):
    """By its folder and by its model's; a copy of the model does not know where the run cut."""
    results = go(dataset, tmp_path / "run", **BASELINE, max_seconds=0.3)
    n = results["scores"]["d3"]["all"]["n"]
    assert results["scored_clips_cut_at_max_seconds"]["d3"] == n
    copy = shutil.copytree(tmp_path / "run" / "model", tmp_path / "copy")
    for model, said in ((tmp_path / "run", True), (tmp_path / "run" / "model", True), (copy, False)):
        words = ("--model", model, "--dataset", dataset, "--split", "d3", "--out", tmp_path / "scores.json")
        code, out, _ = evaluate(capsys, monkeypatch, *words)
        assert code == 0 and (f"{n} of {n} utterances are cut as the run cut them (max_seconds)" in out) == said
        found = json.loads((tmp_path / "scores.json").read_text())["all"]["js"]
        assert (found == pytest.approx(results["scores"]["d3"]["all"]["js"], abs=1e-6)) == said


def test_a_base_model_written_in_part_is_written_again(tmp_path, monkeypatch):
    arguments, base = ModelArguments(encoder_fields=TINY, lora={"r": 2}), tmp_path / "base_model"
    real = PrototypeForAudioClassification.save_pretrained

    def killed(self, folder, **kwargs):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(PrototypeForAudioClassification, "save_pretrained", killed)
    with pytest.raises(KeyboardInterrupt):
        build_model(arguments, "prototype", CLASSES, base)
    monkeypatch.setattr(PrototypeForAudioClassification, "save_pretrained", real)
    model, _ = build_model(arguments, "prototype", CLASSES, base)
    kept = PrototypeForAudioClassification.from_pretrained(base)
    mine = dict(model.get_base_model().named_parameters())
    assert all(
        torch.equal(value, mine[name if name in mine else name.replace(".weight", ".base_layer.weight")])
        for name, value in kept.encoder.named_parameters(prefix="encoder")
        if not name.endswith("bias")
    )


@pytest.mark.parametrize("what", ["model_fields", "encoder_fields"])
def test_a_field_that_no_configuration_has_is_refused(tmp_path, what):
    with pytest.raises(ValueError, match=rf"{what} has \['hiden_size'\].*hidden_size.*allowed: fields of \w+Config"):
        build_model(ModelArguments(**{what: {"hiden_size": 8}}), "prototype", CLASSES, tmp_path)


@pytest.mark.parametrize("freeze", ["none", "feature_encoder", "encoder"])
def test_what_is_frozen_does_not_change_and_the_rest_does(tmp_path, freeze):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    small = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, apply_spec_augment=False, initializer_range=0.3,
    )  # fmt: skip
    Wav2Vec2Model(small).save_pretrained(tmp_path / "encoder")
    arguments = ModelArguments(encoder=str(tmp_path / "encoder"), freeze=freeze)
    model, extractor = build_model(arguments, "prototype", CLASSES, tmp_path / "base")
    assert extractor.return_attention_mask is True
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    waves = [np.random.default_rng(i).normal(size=8000).astype(np.float32) for i in range(4)]
    batch = extractor(waves, sampling_rate=16000, return_tensors="pt", padding=True)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=10.0)
    model(**batch, labels=torch.arange(4)).loss.backward()
    optimizer.step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    convolutions = {name for name in before if name.startswith("encoder.feature_extractor.")}
    encoder = {name for name in before if name.startswith("encoder.")}
    frozen = {"none": set(), "feature_encoder": convolutions, "encoder": encoder}[freeze]
    assert convolutions < encoder < set(before)
    assert not changed & frozen
    # Layers that see no gradient by construction (the mask's embedding) may stay; every kind of layer moves.
    free = {name for name in before if name not in frozen and "masked_spec_embed" not in name}
    assert {name for name in free if name.endswith("weight")} - changed == set()


def test_the_environment_names_versions_and_commit():
    told = describe_environment()
    assert told["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert told["python"] == ".".join(map(str, sys.version_info[:3])) and told["threads"] == torch.get_num_threads()
    folder = Path(module.__file__).parent
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True).stdout.strip()
    assert told["commit"] == (head or None) and isinstance(told["dirty"], bool)


def test_a_run_does_not_go_on_with_other_data(dataset, whole, tmp_path):
    begun = shutil.copytree(whole, tmp_path / "begun")
    (begun / "results.json").unlink()
    data = json.loads((begun / "data.json").read_text())
    (begun / "data.json").write_text(json.dumps({**data, "content": "000000000000"}))
    (begun / "arguments.yaml").unlink()  # names the folder it was copied from
    with pytest.raises(ValueError, match=r"other data \(content differ\)"):
        go(dataset, begun)


def test_results_say_which_system_seed_split_and_fold_they_are_of_and_no_place(whole, tmp_path):
    results = json.loads((whole / "results.json").read_text())
    assert (results["system"], results["method"], results["seed"]) == ("ipr", "ipr", 42)
    data = results["data"]
    assert (data["dataset_config"], data["split_family"], data["fold"]) == ("ipr-strict", "ipr-strict", None)
    assert str(whole.parent) not in (whole / "results.json").read_text()


def test_the_best_checkpoint_is_named_without_its_place(dataset, tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "ua", "num_train_epochs": 2}
    results = go(dataset, tmp_path / "best", **BASELINE | best, system="mine")
    assert (tmp_path / "best" / results["best_checkpoint"]).is_dir() and results["system"] == "mine"
    assert str(tmp_path) not in (tmp_path / "best" / "results.json").read_text()


def test_a_run_folder_and_its_data_may_be_moved(dataset, whole, tmp_path):
    moved, data = shutil.copytree(whole, tmp_path / "moved"), shutil.copytree(dataset, tmp_path / "data")
    assert go(data, moved) == json.loads((whole / "results.json").read_text())


def test_a_finished_run_is_not_taken_for_one_on_other_data(dataset, whole, tmp_path):
    other = shutil.copytree(dataset, tmp_path / "other")
    report = json.loads((other / "build_report.json").read_text())
    (other / "build_report.json").write_text(json.dumps({**report, "content": "000000000000"}))
    with pytest.raises(ValueError, match=r"other data \(content differ\)"):
        go(other, whole)
