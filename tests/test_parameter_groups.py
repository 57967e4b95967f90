"""The rates of head and encoder, checked against a literal computation by name, and the warm-up of the head."""

from __future__ import annotations

import json
import logging
import re
from types import SimpleNamespace

import pytest
import torch
from helpers import made_data, tiny_encoders
from helpers.suite_checks import (
    RTOL,
    assert_same_run_folder,
    check_accumulation,
    check_ranks,
    check_resume,
)
from helpers.suite_methods import EVERY_KIND, METHODS, ONE_OF_A_KIND, make_trainer, run, settings
from helpers.suite_ranks import forked_ranks
from transformers import Trainer, TrainerCallback
from transformers.optimization import get_scheduler

from hf_ambiser.methods import load_method
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.parameter_groups import HEAD, check, divide, encoder_depths, in_words
from hf_ambiser.training.trainer import AmbiSERTrainer


RATES = {"encoder_learning_rate": 1e-3, "layer_decay": 0.5}
# The warm-up ends before the third step of the first epoch. (The first stage of SLC has one epoch of three steps.)
WARMUP = {**RATES, "head_warmup_epochs": 0.6}
WARM_STEPS = 2
ADAM = {"optim": "adamw_torch", "weight_decay": 0.1, "learning_rate": 1e-2}


def trainer(case: str, folder, **options) -> AmbiSERTrainer:
    made = make_trainer(case, folder, **settings(case, "learns", **options.pop("arguments", {})), **options)
    made.create_optimizer()
    return made


# What the layers are called in an encoder, and what stands above them there. In others it is nothing.
LAYERS = {"log-mel": "blocks", "whisper": "layers"}
ABOVE = {"log-mel": "projection.", "whisper": "layer_norm.", "wav2vec2 layer norm": "encoder.layer_norm."}


def rate_by_name(name: str, head: float, rate: float, decay: float, n_layers: int, encoder: str) -> float:
    """What the arguments promise, from the name of a parameter alone; `rate` is that of the encoder."""
    name = name.replace("base_model.model.", "")
    if not name.startswith("encoder."):
        return head
    name = name.removeprefix("encoder.")
    layer = re.match(rf"{LAYERS.get(encoder, 'encoder.layers')}\.(\d+)\.", name)
    above = encoder in ABOVE and name.startswith(ABOVE[encoder])
    for _ in range(n_layers - 1 - int(layer[1]) if layer else 0 if above else n_layers):
        rate = rate * decay
    return rate


def rates_of(made: AmbiSERTrainer) -> dict[str, tuple[float, float]]:
    """Name of a parameter that learns -> its rate and weight decay."""
    of = {id(p): (g["lr"], g["weight_decay"]) for g in made.optimizer.param_groups for p in g["params"]}
    return {name: of[id(p)] for name, p in made.model.named_parameters() if p.requires_grad}


# ---- groups ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", METHODS)
def test_without_the_arguments_the_groups_are_those_of_the_trainer(case, tmp_path):
    made = trainer(case, tmp_path, arguments=ADAM)
    companions = getattr(made, "companions", {}).values()
    beside = {id(p) for c in companions if not c.twin for p in c.module.parameters()}
    groups = [g for g in made.optimizer.param_groups if beside.isdisjoint(map(id, g["params"]))]
    own = [(g["weight_decay"], g["lr"], len(g["params"]), "depth" in g) for g in groups]
    made.optimizer = None
    Trainer.create_optimizer(made)
    plain = [(g["weight_decay"], g["lr"], len(g["params"]), False) for g in made.optimizer.param_groups]
    networks = 1 + sum(c.twin for c in companions)  # all of them are in its groups
    assert own == [(decay, rate, n * networks, depth) for decay, rate, n, depth in plain]


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(
    ("case", "encoder"),
    [
        (case, encoder)
        for case in METHODS
        for encoder in ("log-mel", "wav2vec2")
        if encoder != "log-mel" or load_method(case).model_family != "blstm"  # which has log-mel without an encoder
    ],
)
def test_every_parameter_has_the_rate_that_its_name_promises(case, encoder, lora, tmp_path):
    made = trainer(case, tmp_path, encoder=encoder, lora=lora, arguments={**ADAM, **RATES})
    rates = rates_of(made)
    assert lora == any("lora_" in name for name in rates)
    decayed = set(made.get_decay_parameter_names(made.model))
    for name, (rate, decay) in rates.items():
        assert rate == pytest.approx(rate_by_name(name, 1e-2, 1e-3, 0.5, 2, encoder), rel=1e-12), name
        assert decay == (0.1 if name in decayed else 0.0), name
    # Only the last convolution block and the projection of log-mel have adapters; so not all depths occur.
    assert len({rate for rate, _ in rates.values()}) >= 3
    assert made.optimizer.param_groups[0]["lr"] == 1e-2, (
        "the log shows the first group's rate, which must be the head's"
    )


@pytest.mark.parametrize("encoder", tiny_encoders.ENCODERS)
def test_depths_of_every_kind_of_encoder(encoder):
    model = tiny_encoders.build(encoder)
    depth = encoder_depths(model, by_layer=True)
    assert set(depth) == {id(p) for p in model.encoder.parameters()}
    assert set(encoder_depths(model, by_layer=False).values()) == {0}
    kind = "whisper" if encoder.startswith("whisper") else encoder
    if kind in ("log-mel", "whisper", "wav2vec2 layer norm", "wav2vec2 group norm", "hubert"):
        for name, parameter in model.encoder.named_parameters():
            literal = rate_by_name(f"encoder.{name}", 1.0, 1.0, 0.5, 2, kind)
            assert 0.5 ** depth[id(parameter)] == literal, name


def test_both_networks_of_co_teaching_have_the_same_rates(tmp_path):
    made = trainer("co_teaching", tmp_path, encoder="wav2vec2", arguments={**ADAM, **RATES})
    first, peer = dict(made.model.named_parameters()), dict(made.peer.named_parameters())
    of = {id(p): g["lr"] for g in made.optimizer.param_groups for p in g["params"]}
    assert {name: of[id(p)] for name, p in first.items()} == {name: of[id(p)] for name, p in peer.items()}


@pytest.mark.parametrize("case", EVERY_KIND)
def test_groups_at_one_rate_train_the_same_model_bit_for_bit(case, tmp_path):
    chosen = settings(case, "learns", **ADAM)
    runs = [
        run(case, tmp_path / str(i), encoder="wav2vec2", dropout=0.1, **chosen, **more)
        for i, more in enumerate(({}, {"encoder_learning_rate": chosen["learning_rate"]}))
    ]
    different = [name for name, tensor in runs[0].tensors.items() if not torch.equal(tensor, runs[1].tensors[name])]
    assert not different
    assert runs[0].steps == runs[1].steps


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        ("constant", {}),
        ("linear", {}),
        ("cosine_with_min_lr", {"min_lr": 1e-4}),
        ("polynomial", {"lr_end": 1e-4}),
        ("warmup_stable_decay", {"num_decay_steps": 3}),
        ("inverse_sqrt", {}),
    ],
)
def test_a_schedule_keeps_the_ratios_of_the_rates(schedule, options, tmp_path):
    made = trainer("hard_vote", tmp_path, encoder="wav2vec2", arguments={**ADAM, **RATES})
    began = [g["lr"] for g in made.optimizer.param_groups]
    scheduler = get_scheduler(schedule, made.optimizer, 2, 10, scheduler_specific_kwargs=options)
    factors = set()
    for _ in range(9):
        ratios = [g["lr"] / rate for g, rate in zip(made.optimizer.param_groups, began, strict=True)]
        assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-9)
        factors.add(round(ratios[0], 6))
        made.optimizer.step()
        scheduler.step()
    assert (len(factors) > 1) == (schedule != "constant")


def test_a_plateau_lowers_all_rates_by_the_same_factor(tmp_path):
    made = trainer("hard_vote", tmp_path, encoder="wav2vec2", arguments={**ADAM, **RATES})
    began = [g["lr"] for g in made.optimizer.param_groups]
    scheduler = get_scheduler(
        "reduce_lr_on_plateau", made.optimizer, scheduler_specific_kwargs={"patience": 0, "factor": 0.5}
    )
    for _ in range(3):
        scheduler.step(1.0)
    assert [g["lr"] for g in made.optimizer.param_groups] == pytest.approx([rate / 4 for rate in began])


def test_one_plain_line_says_the_rates(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="hf_ambiser"):
        trainer("hard_vote", tmp_path, encoder="wav2vec2", arguments={**ADAM, **WARMUP})
    assert caplog.messages == [
        "learning rates: head 0.01, encoder layers 0.001 (topmost) to 0.00025 (lowest that learns); until epoch"
        " 0.6 only the head learns."
    ]
    args = SimpleNamespace(head_warmup_epochs=0)
    groups = [{"lr": 1e-3, "depth": HEAD}, {"lr": 2e-5, "depth": 0}]
    assert in_words(groups, args) == "learning rates: head 0.001, encoder 2e-05."


# ---- warm-up of the head -----------------------------------------------------------------------------------------


class _Watch(TrainerCallback):
    """Copies of the parameters before each optimiser step, and at the end."""

    def __init__(self, *models) -> None:
        self.models, self.seen = models, []

    def on_step_begin(self, args, state, control, **kwargs):
        named = {f"{i}.{name}": p for i, m in enumerate(self.models) for name, p in m.named_parameters()}
        self.seen.append({name: p.detach().clone() for name, p in named.items() if p.requires_grad})

    on_train_end = on_step_begin


def watched(case: str, folder, prepare=lambda made: None, **options):
    """Train a case; the parameters of all its networks over the steps, and the trainer."""
    made = make_trainer(case, folder, **options)
    prepare(made)
    watch = _Watch(made.model, *([made.peer] if hasattr(made, "peer") else []))
    made.add_callback(watch)
    made.train()
    return watch.seen, made


def _in_encoder(name: str) -> bool:
    return ".encoder." in name


_WAYS = {
    "whole": {},
    "lora": {"lora": True},
    "checkpointing": {"activation_checkpointing": True},
    "accumulation": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "max_grad_norm": 0.5},
}


@pytest.mark.parametrize(
    ("case", "way"),
    [(case, way) for case in ONE_OF_A_KIND for way in _WAYS if way == "whole" or case in ("co_teaching", "slc")],
)
def test_in_the_warm_up_the_encoder_stays_bit_for_bit_and_then_moves(case, way, tmp_path):
    chosen = settings(case, "learns", **ADAM, **WARMUP) | _WAYS[way]
    seen, made = watched(case, tmp_path, encoder="wav2vec2", **chosen)
    encoder = [name for name in seen[0] if _in_encoder(name)]
    assert encoder and len(encoder) < len(seen[0])
    for step in range(1, WARM_STEPS + 1):
        assert all(torch.equal(seen[step][name], seen[0][name]) for name in encoder)
        assert any(not torch.equal(seen[step][name], seen[step - 1][name]) for name in seen[0])
    moved = [name for name in encoder if not torch.equal(seen[WARM_STEPS + 1][name], seen[0][name])]
    assert moved, "the encoder did not begin to learn after the warm-up"
    # The optimiser's moments begin with the first step that counts.
    states = made.optimizer.state
    steps = {g["depth"] == HEAD: set() for g in made.optimizer.param_groups}
    for group in made.optimizer.param_groups:
        steps[group["depth"] == HEAD] |= {int(states[p]["step"]) for p in group["params"] if p in states}
    assert max(steps[False]) == max(steps[True]) - WARM_STEPS


def test_in_the_warm_up_the_head_learns_as_with_a_frozen_encoder(tmp_path):
    """Also with clipping: what is dropped does not make the head's step shorter."""
    chosen = settings("hard_vote", "learns", **ADAM, max_grad_norm=0.3)
    warm, _ = watched("hard_vote", tmp_path / "warm", **chosen, head_warmup_epochs=2)
    frozen, _ = watched("hard_vote", tmp_path / "frozen", lambda made: made.model.freeze_encoder(), **chosen)
    for step in range(7):
        assert all(torch.equal(warm[step][name], frozen[step][name]) for name in frozen[0])
    assert any(not torch.equal(warm[7][name], warm[0][name]) for name in warm[0] if _in_encoder(name))


def test_the_gradient_scaler_of_fp16_steps_over_what_is_dropped(tmp_path):
    made = trainer("hard_vote", tmp_path, arguments={**ADAM, **WARMUP})
    before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    batch = made.collate([made.data[key] for key in list(made._get_train_sampler())[:4]])
    logits = made.model(input_values=batch["input_values"], attention_mask=batch["attention_mask"]).logits
    scaler.scale(logits.square().sum()).backward()
    made.model.encoder.projection.weight.grad.fill_(float("inf"))  # an overflow in a gradient that nobody uses
    made.hold_encoder()
    scaler.step(made.optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**8
    moved = {name for name, p in made.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all(name.startswith("head.") for name in moved)


@pytest.mark.parametrize("case", EVERY_KIND)
def test_a_run_resumes_bit_for_bit_across_the_end_of_the_warm_up(case, tmp_path):
    # Of the checkpoints 2, 4, 6 and 8, the first lies inside this warm-up of three steps.
    check_resume(
        case, tmp_path, encoder="wav2vec2", arguments={**RATES, "head_warmup_epochs": 0.9, "weight_decay": 0.1}
    )


@pytest.mark.parametrize("case", EVERY_KIND)
def test_accumulation_changes_nothing_at_different_rates(case, tmp_path):
    # The bias of slc's first spatial norm is a sum of gradients that nearly cancel: on a CPU with AMX its rounding was
    # 3e-5 of its largest entry (without oneDNN 5e-5).
    rtol = 1e-4 if case == "slc" else RTOL
    check_accumulation(case, tmp_path, rtol, encoder="wav2vec2", **WARMUP)


def test_two_ranks_equal_one_process_at_different_rates(tmp_path):
    """The second network of co_teaching has a step of its own; `test_dropped_raters.py` runs others on two ranks."""
    forked_ranks(tmp_path, "co_teaching", json.dumps(WARMUP))
    check_ranks("co_teaching", tmp_path / "one", tmp_path, **WARMUP)
    assert_same_run_folder(*(tmp_path / "resumed" / "co_teaching" / name for name in ("stopped", "whole")))


# ---- what cannot act is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"encoder_learning_rate": 0.0}, "must be above 0, or None"),
        ({"layer_decay": 0.0}, "must be above 0 and at most 1"),
        ({"layer_decay": 1.5}, "must be above 0 and at most 1"),
        ({"head_warmup_epochs": -1}, "must be 0 or more"),
        ({"head_warmup_epochs": 3, "num_train_epochs": 3}, "leaves no epoch"),
    ],
)
def test_values_that_make_no_sense(given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        AmbiSERTrainingArguments(str(tmp_path), use_cpu=True, **given)


def test_the_first_stage_of_slc_must_be_longer_than_the_warm_up(tmp_path):
    with pytest.raises(ValueError, match="finetune_epochs=1 in which the encoder learns"):
        load_method("slc").arguments_class(str(tmp_path), use_cpu=True, finetune_epochs=1, head_warmup_epochs=1)


GIVEN = [{"encoder_learning_rate": 1e-3}, {"layer_decay": 0.5}, {"head_warmup_epochs": 1}]


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: next(iter(given)))
def test_a_model_without_an_encoder_is_refused(given, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(given))}=.* needs a model with an encoder; this BLSTM"):
        make_trainer("meta", tmp_path, **settings("meta", "learns", **given))


def arguments(folder, **given):
    return AmbiSERTrainingArguments(str(folder), use_cpu=True, **given)


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: next(iter(given)))
def test_a_frozen_encoder_is_refused(given, tmp_path):
    model = made_data.tiny_model()
    model.freeze_encoder()
    with pytest.raises(ValueError, match="the whole encoder is frozen"):
        check(model, arguments(tmp_path, **given), sharded=False)
    made = make_trainer("hard_vote", tmp_path, **settings("hard_vote", "learns", **given))
    made.model.freeze_encoder()  # after the trainer was made: refused before the first step
    with pytest.raises(ValueError, match="the whole encoder is frozen"):
        made.train()


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: next(iter(given)))
def test_a_frozen_head_is_refused_where_it_matters(given, tmp_path):
    model = made_data.tiny_model()
    model.head.requires_grad_(False)
    if "layer_decay" in given:
        check(model, arguments(tmp_path, **given), sharded=False)
        return
    with pytest.raises(ValueError, match="all parameters that learn are in the encoder"):
        check(model, arguments(tmp_path, **given), sharded=False)


def test_a_decay_over_one_layer_is_refused(tmp_path):
    model = made_data.tiny_model(made_data.tiny_config(encoder="wav2vec2"))
    model.freeze_lowest_layers(1)
    with pytest.raises(ValueError, match="only its topmost layer learns"):
        check(model, arguments(tmp_path, layer_decay=0.5), sharded=False)


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: next(iter(given)))
def test_sharded_models_greedy_schedules_and_own_optimisers_are_refused(given, tmp_path):
    model = made_data.tiny_model()
    with pytest.raises(ValueError, match="FSDP and DeepSpeed"):
        check(model, arguments(tmp_path, **given), sharded=True)
    with pytest.raises(ValueError, match="'greedy' keeps all rates above one bound"):
        check(model, arguments(tmp_path, **given, lr_scheduler_type="greedy"), sharded=False)
    method = load_method("hard_vote")
    own = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="`optimizers` was given, too"):
        method(model, arguments(tmp_path, **given), made_data.training_set(method), optimizers=(own, None))


def test_an_optimiser_without_rates_for_groups_is_refused(tmp_path):
    made = make_trainer("hard_vote", tmp_path, **settings("hard_vote", "learns", encoder_learning_rate=1e-3))

    class Layerwise(torch.optim.SGD):
        """Like those that step inside the backward pass, it holds nothing itself."""

        def __init__(self, groups, **options):
            super().__init__([torch.nn.Parameter(torch.zeros(1))], lr=0.1)

    made.optimizer_cls_and_kwargs = (Layerwise, {})
    with pytest.raises(ValueError, match="has no rate for each group"):
        made.create_optimizer()


def test_divided_groups_hold_every_parameter_once_and_keep_their_options(tmp_path):
    model = made_data.tiny_model(made_data.tiny_config(encoder="wav2vec2"))
    groups = [{"params": list(model.parameters()), "weight_decay": 0.3, "betas": (0.1, 0.2)}]
    divided = divide(groups, encoder_depths(model, True), arguments(tmp_path, learning_rate=1.0, **RATES))
    assert [g["depth"] for g in divided] == [HEAD, 0, 1, 2] and [g["lr"] for g in divided] == [1, 1e-3, 5e-4, 2.5e-4]
    assert sorted(id(p) for g in divided for p in g["params"]) == sorted(map(id, model.parameters()))
    assert all(g["weight_decay"] == 0.3 and g["betas"] == (0.1, 0.2) for g in divided)
