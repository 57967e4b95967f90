"""Runs that begin with the weights of a trained model: which one, its architecture, its classes, what it has heard."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import yaml
from datasets import disable_progress_bars
from helpers.made_data import CLASSES, _wav2vec2, tiny_config, tiny_model
from helpers.made_run import built, fields, stopped_in_the_second_epoch
from transformers import AutoConfig, AutoModelForAudioClassification, Wav2Vec2ForSequenceClassification

import hf_ambiser
from hf_ambiser import write_report
from hf_ambiser.cards.facts import read_facts
from hf_ambiser.cards.sections import method as section
from hf_ambiser.data.loading import load_split
from hf_ambiser.files.digest import file_digest
from hf_ambiser.models import available_families
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.begun_model import copy_weights, heard_by, place_of_begin, trained_model, with_classes
from hf_ambiser.runs.build_model import build_model
from hf_ambiser.runs.calibrate import calibrate_run
from hf_ambiser.runs.run import prepare, run
from hf_ambiser.training.model_arguments import ModelArguments
from hf_ambiser.training.twin import make_twin


torch.set_num_threads(1)
disable_progress_bars()
pytestmark = pytest.mark.usefixtures("blank_figures")
PLAIN: dict[str, Any] = {"method": "hard_vote", "warmup_epochs": ..., "num_train_epochs": 1}
# What a run leaves to the trained model.
OF_THE_MODEL: dict[str, Any] = {**PLAIN, "encoder_fields": ..., "model_fields": ...}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def first(dataset, tmp_path_factory) -> Path:
    """A finished run, in the place of a cell of a study."""
    out = tmp_path_factory.mktemp("study") / "first" / "fold-0" / "seed-0"
    run(RunArguments.from_mapping(fields(dataset, out, **PLAIN)))
    return out


def begun(dataset: Path, out: Path, source: object, **changes: Any) -> dict[str, torch.Tensor]:
    """The weights with which a run begins."""
    given = fields(dataset, out, **{**OF_THE_MODEL, **changes}, pretrained=str(source))
    trainer, _ = prepare(RunArguments.from_mapping(given))
    return trainer.bare_model().state_dict()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForAudioClassification.from_pretrained(folder).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_begins_with_the_weights_of_a_run_a_model_or_a_system(dataset, first, tmp_path):
    wanted = weights(first / "model")
    sibling = first.parents[2] / "second" / "fold-0" / "seed-0"
    for out, source in ((tmp_path / "a", first), (tmp_path / "b", first / "model"), (sibling, "first")):
        assert same(begun(dataset, out, source), wanted), source
    # Fields that say the same architecture change nothing, for any method.
    kept = {name: fields(dataset, first)[name] for name in ("encoder_fields", "model_fields")}
    assert same(begun(dataset, sibling, "first", method="label_smoothing", **kept), wanted)


def test_without_model_fields_the_architecture_is_that_of_the_trained_model(dataset, tmp_path):
    config = tiny_config(family="blstm")
    config.id2label = dict(enumerate(["anger", "happiness", "sadness", "neutral"]))
    tiny_model(config, family="blstm").save_pretrained(tmp_path / "blstm")
    trainer, _ = prepare(
        RunArguments.from_mapping(
            fields(dataset, tmp_path / "run", **OF_THE_MODEL, pretrained=str(tmp_path / "blstm"))
        )
    )
    assert trainer.bare_model().config.model_type == "ambiser_blstm"


@pytest.mark.parametrize(
    ("source", "changes", "said"),
    [
        ("nowhere", {}, r"pretrained='nowhere': there is no model in .*run that system of the study first"),
        ("./nowhere", {}, r"pretrained='./nowhere': model './nowhere': there is no such folder"),
        ("$NO_SUCH_FOLDER/model", {}, r"pretrained='\$NO_SUCH_FOLDER/model' names NO_SUCH_FOLDER, a variable"),
        ("FIRST", {"model_family": "blstm"}, "another architecture"),
    ],
)
def test_what_cannot_be_begun_with_is_refused_in_one_line(dataset, first, tmp_path, source, changes, said):
    source = str(first) if source == "FIRST" else source
    with pytest.raises(ValueError, match=said) as error:
        begun(dataset, tmp_path / "run", source, **changes)
    assert "\n" not in str(error.value)


def test_half_precision_weights_begin_a_run_in_float32(dataset, tmp_path):
    model = tiny_model(tiny_config()).half()
    model.save_pretrained(tmp_path / "half")
    assert all(value.dtype != torch.float16 for value in begun(dataset, tmp_path / "run", tmp_path / "half").values())


def test_an_adapter_begins_above_the_trained_weights_and_its_base_has_them(tmp_path):
    tiny_model(tiny_config(encoder="wav2vec2")).save_pretrained(tmp_path / "model")
    arguments = ModelArguments(pretrained=str(tmp_path / "model"), lora={"r": 2})
    model, _ = build_model(arguments, "prototype", list(CLASSES), tmp_path / "base")
    assert same(weights(tmp_path / "base"), weights(tmp_path / "model"))
    assert any("lora" in name for name, p in model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("family", available_families())
def test_classes_in_another_order_answer_the_same_by_name(family):
    torch.manual_seed(0)
    model = tiny_model(tiny_config(family=family), family=family).eval()
    order = [2, 0, 3, 1]
    made = with_classes(model, [CLASSES[i] for i in order]).eval()
    batch = model.make_feature_extractor()([torch.randn(8000).numpy()], sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        old, new = model(**batch).logits, made(**batch).logits
    torch.testing.assert_close(new, old[:, order])
    assert list(made.config.id2label.values()) == [CLASSES[i] for i in order]
    assert not torch.allclose(old, old[:, order])


@pytest.mark.parametrize("family", available_families())
def test_a_new_class_leaves_the_others_as_they_are(family):
    model = tiny_model(tiny_config(family=family), family=family)
    made = with_classes(model, ["fear", "neutral", "anger"])
    assert list(made.config.id2label.values()) == ["fear", "neutral", "anger"]
    old, new = model.state_dict(), made.state_dict()
    kept = [name for name in old if old[name].shape == new[name].shape]
    assert kept and all(torch.equal(old[name], new[name]) for name in kept)
    had = torch.tensor([CLASSES.index(name) for name in ("neutral", "anger")])
    for name in old.keys() - set(kept):
        there, here = old[name], new[name]
        for dimension in [d for d in range(there.ndim) if there.shape[d] != here.shape[d]]:
            there, here = there.index_select(dimension, had), here.index_select(dimension, torch.tensor([1, 2]))
        assert torch.equal(here, there), name


def test_other_classes_are_said(tmp_path, caplog):
    tiny_model(tiny_config()).save_pretrained(tmp_path / "model")
    with caplog.at_level(logging.WARNING):
        trained_model(str(tmp_path / "model"), ["fear", "neutral", "anger"])
    assert "fear begins at random, and happiness, sadness are left out" in caplog.text
    caplog.clear()
    trained_model(str(tmp_path / "model"), list(CLASSES))
    assert "at random" not in caplog.text


def test_a_run_says_what_the_model_that_it_began_with_had_learnt_from(dataset, first, tmp_path, caplog):
    """Its test utterances may be new to it and not to that model."""
    moved = shutil.copytree(first / "model", tmp_path / "elsewhere")
    swapped = {**OF_THE_MODEL, "train_splits": ["test_clear"], "test_splits": ["d1"]}
    found = {}
    for name, source in (("known", first), ("again", tmp_path / "known"), ("unknown", moved)):
        given = fields(dataset, tmp_path / name, **swapped, pretrained=str(source))
        found[name] = run(RunArguments.from_mapping(given))
        if name == "again":
            shutil.rmtree(source)  # nobody looks there again
    n = found["known"]["scores"]["d1"]["all"]["n"]
    # The second run in a chain knows what the first one had learnt from.
    assert found["known"]["learnt_from"]["d1"] == found["again"]["learnt_from"]["d1"] == n
    assert "learnt_before" not in found["known"] and "d1" not in found["unknown"].get("learnt_from", {})
    assert found["unknown"]["learnt_before"] == "unknown" and "is not known here" in caplog.text
    cards = {name: section(read_facts(tmp_path / name), {}) for name in ("again", "unknown")}
    assert "**Began with** the weights of hard_vote." in cards["again"]
    assert "**Began with** the weights of elsewhere. Which utterances" in cards["unknown"]
    assert "The model elsewhere (logmel), trained on;" in cards["unknown"]
    text = write_report(tmp_path / "unknown", html=False, progress=False)
    assert "What the models had learnt from with which hard_vote began is not recorded" in text
    assert str(tmp_path) not in json.dumps(cards) + (tmp_path / "unknown" / "begun_with.json").read_text()


def test_validation_utterances_that_were_learnt_from_are_counted_and_not_calibrated_on(
    dataset, first, tmp_path, caplog
):
    """By the run itself, or by the model that it began with; both choose by voices that are known."""
    own = {**OF_THE_MODEL, "train_splits": ["test_clear"], "test_splits": ["d3"]}
    ways = {
        "begun": {**own, "pretrained": str(first), "validation_split": "d1"},
        "itself": {**PLAIN, "train_splits": ["d1", "test_clear"], "test_splits": ["d3"], "validation_split": "d1"},
        "clean": {**own, "pretrained": str(first)},
    }
    n = len(load_split(dataset, "ipr-strict", "d1"))
    for name, given in ways.items():
        caplog.clear()
        results = run(RunArguments.from_mapping(fields(dataset, tmp_path / name, **given)))
        known = name != "clean"
        said = f"{n} of the {n} validation utterances are in the training set"
        assert (said in caplog.text) == known and results.get("validation_learnt_from") == (n if known else None)
        assert FinishedRun.read(tmp_path / name).validation_learnt_from == n * known
        card = (tmp_path / name / "model" / "README.md").read_text()
        assert (f"**The model was trained on {n} of its validation utterances.**" in card) == known
        if known:
            with pytest.raises(ValueError, match=f"has learnt from {n} of the {n} utterances of d1.*promise too much"):
                calibrate_run(tmp_path / name, risk=0.5)


def test_what_was_learnt_from_is_that_of_the_beginning_and_not_of_today(dataset, first, tmp_path):
    source, out = shutil.copytree(first, tmp_path / "source"), tmp_path / "run"
    given = fields(dataset, out, **OF_THE_MODEL, pretrained=str(source))
    stopped_in_the_second_epoch(lambda: run(RunArguments.from_mapping({**given, "num_train_epochs": 3})))
    wanted = json.loads((out / "begun_with.json").read_text())
    shutil.rmtree(source)
    with pytest.raises(ValueError, match="there is no such folder.* began with it, and needs it to go on"):
        run(RunArguments.from_mapping({**given, "num_train_epochs": 3}))
    run(RunArguments.from_mapping(fields(dataset, source, **{**PLAIN, "train_splits": ["test_clear"]})))
    with pytest.raises(ValueError, match="was begun with other weights of pretrained=.* Restore those weights"):
        run(RunArguments.from_mapping({**given, "num_train_epochs": 3}))
    shutil.rmtree(source)
    shutil.copytree(first, source)
    run(RunArguments.from_mapping({**given, "num_train_epochs": 3}))
    assert json.loads((out / "begun_with.json").read_text()) == wanted


def test_a_source_without_its_answer_sheet_counts_as_not_known(first, tmp_path):
    source = shutil.copytree(first, tmp_path / "source")
    assert heard_by(str(source / "model"))["simulated"] and heard_by("account/name") is None
    (source / "reference.parquet").unlink()
    assert heard_by(str(source / "model")) is None


def test_a_model_that_began_in_python_is_recorded_like_one_of_the_command(dataset, first, tmp_path):
    splits = {name: load_split(dataset, "ipr-strict", name) for name in ("test_clear", "validation", "d1")}
    from_scratch = AutoModelForAudioClassification.from_config(AutoConfig.from_pretrained(first / "model"))
    models = {
        "by_us": hf_ambiser.trained_model(str(first), fields={"classifier_dropout": 0.4}),
        "by_transformers": AutoModelForAudioClassification.from_pretrained(first / "model"),
        "own_words": hf_ambiser.trained_model(str(first)),
        "random": from_scratch,
    }
    for name, model in models.items():
        trainer_class = hf_ambiser.load_method("hard_vote")
        args = trainer_class.arguments_class(
            output_dir=str(tmp_path / name), num_train_epochs=1, use_cpu=True, disable_tqdm=True
        )
        trainer = trainer_class(
            model, args, splits["test_clear"], splits["validation"], feature_extractor=model.make_feature_extractor()
        )
        trainer.train()
        own = {"method": "hard_vote", "dataset": str(dataset), "dataset_config": "ipr-strict"}
        words = own if name == "own_words" else None
        results = hf_ambiser.save_run(trainer, {"d1": splits["d1"]}, given=words)
        given = yaml.safe_load((tmp_path / name / "arguments.yaml").read_text())
        if name == "random":
            assert "pretrained" not in given and "d1" not in results["learnt_from"]
            continue
        assert given["pretrained"] == str(first / "model")
        assert given.get("model_fields") == ({"classifier_dropout": 0.4} if name == "by_us" else None)
        assert results["learnt_from"]["d1"] == results["scores"]["d1"]["all"]["n"]
        if words is None:
            RunArguments.from_mapping(given)


def test_no_model_is_no_unknown_model(dataset, tmp_path):
    """A plan's system may take a shared `pretrained` back."""
    results = run(RunArguments.from_mapping(fields(dataset, tmp_path / "run", **PLAIN, pretrained=None)))
    assert "learnt_before" not in results and not (tmp_path / "run" / "begun_with.json").exists()


def test_an_earlier_version_recorded_nothing_of_a_folder(dataset, first, tmp_path):
    out = shutil.copytree(first, tmp_path / "run")
    given = yaml.safe_load((out / "arguments.yaml").read_text())
    for source, unknown in (("attention", False), ("runs/other", True)):
        (out / "arguments.yaml").write_text(yaml.safe_dump({**given, "pretrained": source}))
        assert FinishedRun.read(out).beginning_unknown == unknown


def test_all_of_a_merged_adapter_learns(tmp_path):
    model = tiny_model(tiny_config(encoder="wav2vec2"))
    model.save_pretrained(tmp_path / "base")
    model.name_or_path = str(tmp_path / "base")
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(target_modules=model.lora_target_modules(), modules_to_save=model.lora_modules_to_save)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    trained, new = trained_model(str(tmp_path / "adapter")), tiny_model(tiny_config(encoder="wav2vec2"))
    # The last digit of a merged weight depends on the processor, and that of a file does not.
    assert trained.begun_with["weights"] == file_digest(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {n for n, p in trained.named_parameters() if p.requires_grad} == {
        n for n, p in new.named_parameters() if p.requires_grad
    }


def test_names_follow_their_index_and_not_their_place_in_the_file(tmp_path):
    model = tiny_model(tiny_config())
    model.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["id2label"] = dict(reversed(config["id2label"].items()))
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    assert same(trained_model(str(tmp_path / "model"), list(CLASSES)).state_dict(), model.state_dict())


def test_a_decision_is_left_behind(tmp_path):
    """When a model abstains was chosen for its old weights."""
    model = tiny_model(tiny_config())
    model.config.decision = {"temperature": 2.0}
    model.save_pretrained(tmp_path / "model")
    assert getattr(trained_model(str(tmp_path / "model")).config, "decision", None) is None


def test_a_classifier_of_another_package_is_refused_in_one_line(dataset, tmp_path):
    Wav2Vec2ForSequenceClassification(_wav2vec2(0.0)).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="pretrained=.*belongs to no model family.*give it as `encoder`") as error:
        begun(dataset, tmp_path / "run", tmp_path / "other")
    assert "\n" not in str(error.value)


def test_a_dropout_may_change_and_a_size_may_not(dataset, first, tmp_path):
    given = fields(
        dataset, tmp_path / "run", **OF_THE_MODEL, pretrained=str(first)
    ) | {"model_fields": {"classifier_dropout": 0.4}}  # fmt: skip
    trainer, _ = prepare(RunArguments.from_mapping(given))
    assert trainer.bare_model().config.classifier_dropout == 0.4
    assert same(trainer.bare_model().state_dict(), weights(first / "model"))
    with pytest.raises(ValueError, match="has other weights with the fields .*Change only fields that keep all"):
        begun(dataset, tmp_path / "run", first, model_fields={"classifier_hidden_size": 8})
    with pytest.raises(ValueError, match=r"model_fields has \['classifier_dropuot'\]"):
        begun(dataset, tmp_path / "run", first, model_fields={"classifier_dropuot": 0.4})


@pytest.mark.parametrize("encoder", ["log-mel", "wav2vec2", "whisper"])
def test_fields_with_which_the_same_weights_would_answer_otherwise_are_refused(encoder, tmp_path):
    config = tiny_config(encoder=encoder)
    tiny_model(config).save_pretrained(tmp_path / "model")
    trained = trained_model(str(tmp_path / "model"))
    copy_weights(tiny_model(tiny_config(encoder=encoder), seed=1), trained, "x")
    model = tiny_model(tiny_config(encoder=encoder), seed=1)
    model.config.center_embeddings = not model.config.center_embeddings
    with pytest.raises(ValueError, match="pretrained='x' was trained with center_embeddings=False"):
        copy_weights(model, trained, "x")


def test_the_other_network_of_a_pair_has_the_trained_encoder_and_a_new_head(first):
    model = trained_model(str(first))
    twin, own = make_twin(model, seed=0).state_dict(), model.state_dict()
    parameters = dict(model.named_parameters())
    assert all(torch.equal(twin[name], own[name]) for name in parameters if name.startswith("encoder."))
    assert not all(torch.equal(twin[name], own[name]) for name in parameters if name.startswith("head."))


def test_ipr_says_that_a_model_has_no_prototypes(dataset, tmp_path):
    with pytest.raises(ValueError, match="ipr needs class prototypes, and a model of BLSTMConfig has none"):
        prepare(RunArguments.from_mapping(fields(
            dataset, tmp_path / "run", encoder_fields=..., model_fields={"input": "log_mel"}, model_family="blstm"
        )))  # fmt: skip


def test_the_name_of_a_system_is_that_of_its_cell_before_a_folder_of_that_name(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").mkdir()
    sibling = first.parents[2] / "second" / "fold-0" / "seed-0"
    assert place_of_begin("first", sibling) == str(first / "model")
    assert place_of_begin("first", tmp_path / "elsewhere") == "first"
