"""A run made in Python, for every method and family: bit for bit what the command makes of the same fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import disable_progress_bars
from helpers.made_run import TINY, built, fields
from helpers.suite_methods import ONE_OF_A_KIND
from safetensors.torch import load_file
from transformers import Wav2Vec2Config, Wav2Vec2Model, set_seed

from hf_ambiser import load_split, push_run, save_run, write_card
from hf_ambiser.hub.push import PushOptions
from hf_ambiser.inference.load_model import load_model
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.models import LogMelConfig, available_families, load_family
from hf_ambiser.models.frame_classifier import FrameClassifier
from hf_ambiser.report.write import write_report
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.predictions import read_predictions
from hf_ambiser.runs import run as module
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.build_model import build_model
from hf_ambiser.runs.given import given_by


pytestmark = pytest.mark.usefixtures("blank_figures")
torch.set_num_threads(1)
disable_progress_bars()
CLASSES = ["anger", "happiness", "sadness", "neutral"]
NAMES = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}
# What changes with every run, and what says where it was made.
CLOCKS = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
SMALL = {
    "prototype": {"classifier_hidden_size": 16},
    "blstm": {"dense_hidden_size": 8, "lstm_hidden_size": 4},
    # Most utterances are longer, so they are learnt from in segments.
    "fusion": {
        "segment_seconds": 0.7, "minimum_seconds": 0.4, "classifier_hidden_size": 16,
        "spatial_channels": [4, 4, 4, 4, 96],
    },
    "cnn_attention": {"channels": [4, 6, 8, 8, 6]},
}  # fmt: skip
HIDDEN = ("ipr-strict", "d1", "d2", "d3")  # configuration, labelled, ambiguous, test
SHOWN = ("slc-strict", "clear", "ambiguous", "test")  # for methods that read what raters said of ambiguous utterances
LORA = {"r": 2, "lora_alpha": 8, "lora_dropout": 0.1}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("built"), n=40, configs=("ipr-strict", "ipr-paper", "slc-strict"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A small pretrained encoder."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("encoder")
    small = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, apply_spec_augment=False, initializer_range=0.3,
    )  # fmt: skip
    Wav2Vec2Model(small).save_pretrained(folder)
    return folder


# Each case: method, family, what the command is told beside it, and the same in Python: arguments of the trainer,
# keyword arguments of the model's making, what is done to the model.
def plain(method: str, family: str | None = None, **arguments: Any) -> tuple[str, str, dict[str, Any], Callable]:
    family = family or load_method(method).model_family

    own = {"model_family": family} if family != load_method(method).model_family else {}
    acting = load_family(family).config_class.acting_encoder_fields(**SMALL[family])
    told = {name: value for name, value in TINY.items() if acting is None or name in acting}

    def make(encoder: Path) -> Any:
        config = load_family(family).config_class(encoder_config=LogMelConfig(**told), **SMALL[family], **NAMES)
        return load_family(family)(config)

    return method, family, own | {"encoder_fields": told, "model_fields": SMALL[family]} | arguments, make


def around_encoder(
    method: str, change: Callable[[Any], Any], fields: dict[str, Any]
) -> tuple[str, str, dict, Callable]:
    def make(encoder: Path) -> Any:
        made = load_family("prototype").from_encoder(
            encoder, id2label=NAMES["id2label"], encoder_kwargs={"layerdrop": 0.0}, **SMALL["prototype"]
        )
        return change(made)

    more = {"encoder": ..., "encoder_fields": {"layerdrop": 0.0}, "model_fields": SMALL["prototype"]}
    return method, "prototype", more | fields, make


def with_adapter(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    wanted = LoraConfig(**LORA, target_modules=model.lora_target_modules(), modules_to_save=model.lora_modules_to_save)
    return get_peft_model(model, wanted)


def frozen(part: str) -> Callable[[Any], Any]:
    def freeze(model: Any) -> Any:
        getattr(model, f"freeze_{part}")()
        return model

    return freeze


BEST = {
    "class_weights": "inverse_frequency", "metric_for_best_model": "ua", "greater_is_better": True,
    "load_best_model_at_end": True, "early_stopping_patience": 1, "max_seconds": 1.0,
}  # fmt: skip
# Families that are a head above frames are made by the same lines, so one of them stands for all.
ONE_HEAD = "cnn_attention"
DONE = {load_method(method).model_family for method in available_methods()}
DONE |= {name for name in available_families() if issubclass(load_family(name), FrameClassifier)} - {ONE_HEAD}
CASES = {
    **{
        method: plain(method, **load_method(method).suite_settings) for method in sorted({"hard_vote", *ONE_OF_A_KIND})
    },
    **{family: plain("hard_vote", family) for family in available_families() if family not in DONE},
    "an adapter": around_encoder("ipr", with_adapter, {"lora": LORA, "warmup_epochs": 1}),
}
# These have nothing of their own for a card, a report or a push, so only the runs are compared.
RUN_ONLY = {
    "class weights, the best epoch": plain("hard_vote", **BEST),
    "the label that an argument chooses": plain("meta", initial_labels="soft"),
    "frozen encoder, revealed labels": around_encoder(
        "hard_vote",
        frozen("encoder"),
        {"freeze": "encoder", "train_splits": ["d2"], "ambiguous_splits": ..., "reveal_splits": ["d2"]},
    ),
    "frozen convolutions, no validation": around_encoder(
        "soft_vote", frozen("feature_encoder"), {"freeze": "feature_encoder", "validation_split": None}
    ),
}
CASES |= RUN_ONLY


def told(case: str, dataset: Path, encoder: Path, out: Path) -> dict[str, Any]:
    """The fields of the command."""
    method, _, more, _ = CASES[case]
    more = {**more, "encoder": str(encoder)} if "encoder" in more else more
    config, labelled, ambiguous, test = splits_of(method)
    data = {
        "dataset_config": config,
        "train_splits": [labelled],
        "ambiguous_splits": [ambiguous],
        "test_splits": [test],
    }
    least = {"warmup_epochs": ..., "num_train_epochs": 2, "learning_rate": 5e-3, "seed": 5}
    return fields(dataset, out, **{"method": method} | data | least | more)


def splits_of(method: str) -> tuple[str, ...]:
    return HIDDEN if load_method(method).ambiguous_target is None else SHOWN


NOT_OF_THE_TRAINER = (
    "method",
    "dataset",
    "dataset_config",
    "train_splits",
    "ambiguous_splits",
    "reveal_splits",
    "validation_split",
)
NOT_OF_THE_TRAINER += ("test_splits", "model_family", "encoder", "encoder_fields", "model_fields", "lora", "freeze")


def trainer_of(case: str, dataset: Path, encoder: Path, out: Path, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """What a user writes in Python: splits, model, trainer; and the test splits."""
    method, _, more, make = CASES[case]
    trainer_class = load_method(method)
    arguments = told(case, dataset, encoder, out) | changes
    given = {name: value for name, value in arguments.items() if name not in NOT_OF_THE_TRAINER}
    args = trainer_class.arguments_class(**given)
    config, labelled, hidden, test = splits_of(method)
    revealed = "reveal_splits" in more
    train = load_split(dataset, config, hidden if revealed else labelled, reveal=revealed)
    validation = None if "validation_split" in more else load_split(dataset, config, "validation")
    ambiguous = load_split(dataset, config, hidden) if trainer_class.needs_ambiguous else None
    set_seed(args.seed)
    trainer = trainer_class(make(encoder), args, train, validation, ambiguous_dataset=ambiguous)
    return trainer, {test: load_split(dataset, config, test)}


def assert_same_files(mine: RunFolder, commands: RunFolder) -> None:
    """Results, weights, predictions and trajectory are equal, clocks and places apart."""
    results = [folder.read_results() for folder in (mine, commands)]
    for one in results:
        one["training"] = {name: value for name, value in one["training"].items() if name not in CLOCKS}
        one["log"] = [
            {k: v for k, v in entry.items() if not k.endswith(("runtime", "_per_second"))} for entry in one["log"]
        ]
    assert results[0] == results[1]
    assert mine.read_data() == commands.read_data()
    for folder in ("model", "base_model", "trajectory"):
        places = [getattr(one, folder) for one in (mine, commands)]
        names = [sorted(path.name for path in place.glob("*") if path.is_file()) for place in places]
        assert names[0] == names[1]
        for name in names[1]:
            one, other = (place / name for place in places)
            if name.endswith(".safetensors"):
                states = load_file(one), load_file(other)
                assert states[0].keys() == states[1].keys()
                assert [n for n, tensor in states[1].items() if not torch.equal(states[0][n], tensor)] == []
            elif name not in ("README.md", "adapter_config.json"):  # these name the folder
                assert one.read_bytes() == other.read_bytes(), name
    predicted = [sorted(folder.predictions.glob("*")) for folder in (mine, commands)]
    assert [path.name for path in predicted[0]] == [path.name for path in predicted[1]] and predicted[0]
    for one, other in zip(*predicted, strict=True):
        answers = read_predictions(one), read_predictions(other)
        assert answers[0].keys() == answers[1].keys()
        for name in answers[1]:
            np.testing.assert_array_equal(answers[0][name], answers[1][name], err_msg=name)
    assert mine.reference.read_bytes() == commands.reference.read_bytes()


def as_the_command_reads_it(given: dict[str, Any], base: Path) -> tuple[Any, ...]:
    """All that a run is made of, from its fields; the model comes last."""
    arguments = RunArguments.from_mapping(given)
    training = asdict(arguments.training) | {"output_dir": None, "logging_dir": None}
    data = asdict(arguments.data)
    if not load_method(arguments.method).needs_ambiguous:
        del data["ambiguous_splits"]
    set_seed(arguments.training.seed)
    model, _ = build_model(arguments.model, load_method(arguments.method).model_family, CLASSES, base)
    adapter = getattr(model, "peft_config", {}).get("default")
    fields_of_adapter = None if adapter is None else adapter.to_dict() | {"base_model_name_or_path": None}
    learnt = {name: p.requires_grad for name, p in model.named_parameters()}
    frozen = arguments.model.freeze
    return (arguments.method, arguments.system, data, str(training), fields_of_adapter, learnt, frozen, model)


@pytest.mark.parametrize("case", CASES)
def test_python_and_the_command_make_the_same_run(case, dataset, encoder, tmp_path, monkeypatch):
    trainer, tests = trainer_of(case, dataset, encoder, tmp_path / "mine")
    trainer.train()
    (split,) = tests
    seen = trainer.evaluate(tests[split])
    mine, commands = RunFolder(tmp_path / "mine"), RunFolder(tmp_path / "command")
    asked = told(case, dataset, encoder, commands.path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_card", lambda folder: None)  # cards are compared by nobody, and slow to draw
        results = save_run(trainer, tests)
        assert module.run(RunArguments.from_mapping(asked))["scores"] == results["scores"]
    assert_same_files(mine, commands)
    scores = results["scores"][split]["all"]
    assert [seen[f"eval_{name}"] for name in ("wa", "ua", "js")] == [scores[name] for name in ("wa", "ua", "js")]

    # The folder's fields say what the command was told: model and arguments made of them are the same.
    shown = mine.read_arguments()
    ours, theirs = (as_the_command_reads_it(given, tmp_path / f"base{i}") for i, given in enumerate((shown, asked)))
    assert ours[:-1] == theirs[:-1]
    states = [made[-1].state_dict() for made in (ours, theirs)]
    assert states[0].keys() == states[1].keys()
    assert [name for name, tensor in states[1].items() if not torch.equal(states[0][name], tensor)] == []

    if case not in RUN_ONLY:
        check_shared(mine, load_method(results["method"]).summary, with_base="lora" in asked)


def check_shared(folder: RunFolder, summary: str, with_base: bool) -> None:
    """What works on a run of the command works on this one: card, report and push."""
    card, _ = write_card(folder.path)
    assert card.read_text().startswith("---") and summary in card.read_text()
    assert "## Made with" in write_report(folder.path, html=False, progress=False)
    pushed = push_run(folder.path, "me/mine", PushOptions(dry_run=True, say=lambda text: None))
    assert [one.repo_id for one in pushed] == (["me/mine-base", "me/mine"] if with_base else ["me/mine"])
    if with_base:
        assert load_model(str(folder.model), CLASSES).config.id2label == NAMES["id2label"]


def test_no_token_comes_into_a_run_folder(dataset, encoder, tmp_path):
    trainer, tests = trainer_of("hard_vote", dataset, encoder, tmp_path, hub_token="hf_secret", hub_model_id="me/x")
    assert not [name for name in given_by(trainer, tests) if name.startswith("hub_")]


# ---- what is wrong is said -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(dataset, encoder, tmp_path_factory):
    """A trained trainer whose run is saved, and its test splits."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    trainer, tests = trainer_of("hard_vote", dataset, encoder, out, num_train_epochs=1)
    trainer.train()
    save_run(trainer, tests)
    return trainer, tests


def test_a_run_may_be_saved_again_and_is_not_trained_over(trained):
    trainer, tests = trained
    before = RunFolder(trainer.args.output_dir).read_results()["scores"]
    assert save_run(trainer, tests)["scores"] == before
    with pytest.raises(ValueError, match="holds a finished run. Give another output_dir"):
        trainer.train()


def test_a_folder_that_holds_another_run_is_refused(trained):
    trainer, tests = trained
    with pytest.raises(ValueError, match=r"holds a run with other arguments \(seed differ\)"):
        save_run(trainer, tests, given=given_by(trainer, tests) | {"seed": 6})


def test_a_trainer_that_has_not_trained_is_refused(dataset, encoder, tmp_path):
    trainer, tests = trainer_of("hard_vote", dataset, encoder, tmp_path / "x")
    with pytest.raises(ValueError, match="has not trained yet: call train"):
        save_run(trainer, tests)
    assert not (tmp_path / "x" / "arguments.yaml").exists()


def test_splits_that_load_split_did_not_load_are_refused(dataset, encoder, tmp_path):
    from datasets import Dataset

    trainer_class = load_method("hard_vote")
    args = trainer_class.arguments_class(output_dir=str(tmp_path / "x"), use_cpu=True, max_steps=1, disable_tqdm=True)
    rows = load_split(dataset, "ipr-strict", "d1")
    own = Dataset.from_list(rows.to_list(), features=rows.features)
    trainer = trainer_class(CASES["hard_vote"][3](encoder), args, own)
    trainer.train()
    with pytest.raises(ValueError, match="splits that `load_split` did not load. Give it splits from load_split"):
        save_run(trainer, {"d3": load_split(dataset, "ipr-strict", "d3")})


def test_splits_of_two_configurations_are_refused(trained, dataset, encoder, tmp_path):
    trainer_class = load_method("self_training")
    args = trainer_class.arguments_class(output_dir=str(tmp_path / "x"), use_cpu=True, max_steps=1, disable_tqdm=True)
    args.warmup_epochs = 0
    splits = load_split(dataset, "ipr-strict", "d1"), None
    mixed = trainer_class(
        CASES["hard_vote"][3](encoder), args, *splits, ambiguous_dataset=load_split(dataset, "ipr-paper", "d2")
    )
    mixed.train()
    with pytest.raises(ValueError, match=r"one configuration.*'ipr-paper'.*'ipr-strict'"):
        save_run(mixed, {})
    trainer, _ = trained
    with pytest.raises(ValueError, match=r"test split 'd3' is of .*'ipr-paper'.*has learnt from 'ipr-strict'"):
        save_run(trainer, {"d3": load_split(dataset, "ipr-paper", "d3")})
    with pytest.raises(ValueError, match="test split 'd3' is of no built data set"):
        save_run(trainer, {"d3": trainer.evaluation_set(load_split(dataset, "ipr-strict", "d3"))})


@pytest.mark.parametrize("method", [method for method in available_methods() if load_method(method).needs_ambiguous])
def test_a_method_that_needs_ambiguous_utterances_says_so(method, dataset, encoder, tmp_path):
    trainer_class = load_method(method)
    args = trainer_class.arguments_class(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(
        ValueError, match=f"method '{method}' also learns from ambiguous utterances, and none were given: set amb"
    ):
        trainer_class(
            CASES.get(method, CASES["self_training"])[3](encoder), args, load_split(dataset, "ipr-strict", "d1")
        )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"early_stopping_patience": 2, "metric_for_best_model": "ua"}, "early_stopping_patience=2"),
        ({"load_best_model_at_end": True, "save_strategy": "epoch"}, "load_best_model_at_end=True"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "lr_scheduler_type='reduce_lr_on_plateau'"),
    ],
)
def test_what_looks_at_validation_utterances_needs_some(given, named, dataset, encoder, tmp_path):
    trainer_class = load_method("hard_vote")
    args = trainer_class.arguments_class(output_dir=str(tmp_path), use_cpu=True, **given)
    with pytest.raises(ValueError, match=f"{named} needs validation utterances: give eval_dataset"):
        trainer_class(CASES["hard_vote"][3](encoder), args, load_split(dataset, "ipr-strict", "d1"))
