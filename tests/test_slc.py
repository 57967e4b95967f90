"""SLC against a literal transcription, and Algorithm 1's two stages as one run that may be killed in either."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import made_data
from helpers import slc_by_the_paper as paper
from helpers.suite_checks import DROPOUT, INTERRUPTED, Stopped, _StopAt, assert_same_run_folder
from helpers.suite_methods import make_trainer, settings, trace_of, train_or_go_on

from hf_ambiser.methods.slc import SLCArguments, SLCTrainer, finetuning
from hf_ambiser.methods.slc.finetuning import FineTuningTrainer, temporal_branch
from hf_ambiser.run_folder.trajectory import write_trajectory
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.collator import AMBIGUOUS, LABELLED
from hf_ambiser.training.inter_class import inter_class_difference


torch.set_num_threads(1)


def distributions(n: int, k: int, seed: int) -> torch.Tensor:
    """Rows from flat to one class alone."""
    generator = np.random.default_rng(seed)
    return torch.tensor(
        np.stack([generator.dirichlet(np.full(k, 10.0 ** generator.uniform(-2, 1))) for _ in range(n)])
    )


# ---- formulas ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["y_k", "y_j"])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("k", [2, 4, 6])
def test_inter_class_difference_is_the_triple_loop(form, beta, k):
    p, y = distributions(40, k, 0), distributions(40, k, 1)
    got = inter_class_difference(p, y, beta, form)
    expected = [
        paper.inter_class_difference(*row, beta, form == "y_j") for row in zip(p.tolist(), y.tolist(), strict=True)
    ]
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_gradient_of_the_inter_class_difference_is_that_of_the_triple_loop():
    # Away from the kinks of the maximum, where there is a slope on either side.
    rows = np.random.default_rng(2).dirichlet(np.full(4, 2.0), 12)
    p, y = torch.tensor(rows[:6], requires_grad=True), torch.tensor(rows[6:])
    inter_class_difference(p, y, 0.1).sum().backward()
    step = 1e-6
    for i in range(6):
        for j in range(4):
            sides = []
            for sign in (step, -step):
                row = p[i].detach().clone()
                row[j] += sign
                sides.append(paper.inter_class_difference(row.tolist(), y[i].tolist(), 0.1, False))
            assert p.grad[i, j].item() == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=2e-4)


def test_bounds_of_the_inter_class_difference():
    """The paper's `[0, K^2 (e^2 - 1))` holds up to beta = 1, whatever p and y are, and not beyond."""
    k = 4
    corners = torch.eye(k, dtype=torch.float64)
    p = torch.cat([distributions(200, k, 4), corners.repeat(k, 1)])
    y = torch.cat([distributions(200, k, 5), corners.repeat_interleave(k, 0)])
    for form in ("y_k", "y_j"):
        for beta in (0.0, 0.1, 0.5, 1.0):
            values = inter_class_difference(p, y, beta, form)
            assert (values >= 0).all() and (values < k**2 * (math.exp(2) - 1)).all()
        beyond = inter_class_difference(p, y, 3.0, form)
        assert beyond.max() > k**2 * (math.exp(2) - 1) and (beyond < k**2 * (math.exp(4) - 1)).all()
    # Nothing to pay where each class that was heard is beta above each that was not, and no other has probability.
    assert inter_class_difference(corners[:1], corners[:1], 0.0).item() == 0


def test_the_repaired_form_asks_a_heard_class_to_outrank_an_unheard_one():
    y = torch.tensor([[0.5, 0.5, 0.0]])
    right, wrong = torch.tensor([[0.45, 0.45, 0.1]]), torch.tensor([[0.1, 0.45, 0.45]])
    repaired = [inter_class_difference(p, y, 0.1, "y_k").item() for p in (right, wrong)]
    printed = [inter_class_difference(p, y, 0.1, "y_j").item() for p in (right, wrong)]
    assert repaired[0] < repaired[1]
    # As printed, the term of a class that nobody heard (y_j = 0) does not see any other class at all.
    assert printed[1] - printed[0] != pytest.approx(repaired[1] - repaired[0], rel=1e-3)


@pytest.mark.parametrize("share_ambiguous", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"alpha": 0.0},
        {"alpha": 1.0, "beta": 0.4},
        {"objective": "cross_entropy"},
        {"objective": "inter_class"},
        {"inter_class_form": "y_j", "inter_class_label": "votes"},
        {"class_weights": "none"},
    ],
    ids=str,
)
def test_loss_and_gradient_are_the_papers(tmp_path, changes, share_ambiguous):
    trainer = make_trainer("slc", tmp_path, **settings("slc", "learns", **changes))
    n, args = 9, trainer.args
    role = torch.tensor([AMBIGUOUS if i < share_ambiguous * n else LABELLED for i in range(n)])
    ambiguous = role == AMBIGUOUS
    index = torch.where(ambiguous, trainer.data.n_labelled + torch.arange(n), torch.arange(n))
    batch = BatchRows(index, role)
    trainer.effective_counts = {name: float(mask.sum()) for name, mask in trainer.groups(batch).items()}
    trainer.current_gradient_accumulation_steps = 1
    logits = torch.randn(n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    outputs = type("Outputs", (), {"logits": logits})()
    loss = trainer._training_loss(outputs, batch)

    def by_the_paper(values):
        return paper.joint_loss(
            values.tolist(), trainer.table.observed[index].tolist(), ambiguous.tolist(), args.alpha, args.beta,
            trainer.balance.weight.tolist(), args.objective, args.inter_class_form == "y_j",
            args.inter_class_label == "votes", logits.detach().tolist(),
        )  # fmt: skip

    assert float(loss) == pytest.approx(by_the_paper(logits.detach()), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logits)
    step = torch.zeros_like(logits)
    for place in [(0, 0), (4, 2), (8, 3)]:
        step.zero_()[place] = 1e-5
        slope = (by_the_paper(logits.detach() + step) - by_the_paper(logits.detach() - step)) / 2e-5
        assert gradient[place].item() == pytest.approx(slope, abs=1e-4)


def test_no_gradient_flows_through_the_corrected_label(tmp_path):
    """Eq. 16 has `-y_c / (N p)`: the target is a constant there. At alpha 1 the cross-entropy then moves nothing."""
    trainer = make_trainer(
        "slc", tmp_path, **settings("slc", "learns", alpha=1.0, objective="cross_entropy", class_weights="none")
    )
    n = trainer.data.n_labelled
    batch = BatchRows(torch.arange(n, n + 5), torch.full((5,), AMBIGUOUS))
    trainer.effective_counts = {name: float(mask.sum()) for name, mask in trainer.groups(batch).items()}
    trainer.current_gradient_accumulation_steps = 1
    logits = torch.randn(5, 4, requires_grad=True)
    outputs = type("Outputs", (), {"logits": logits})()
    (gradient,) = torch.autograd.grad(trainer._training_loss(outputs, batch), logits)
    assert gradient.abs().max() < 1e-6


# ---- labels over time --------------------------------------------------------------------------------------------


def test_the_trajectory_holds_votes_and_corrected_label_of_every_ambiguous_utterance(tmp_path):
    from hf_ambiser.run_folder.trajectory import read_trajectory, trajectory_epochs

    trainer = make_trainer("slc", tmp_path, **settings("slc", "learns", trajectory_every=1, learning_rate=0.05))
    trainer.train()
    votes = torch.as_tensor(trainer.data.observed).float().numpy()
    n = trainer.data.n_labelled
    assert trajectory_epochs(tmp_path) == [1, 2, 3]
    last = None
    for epoch in (1, 2, 3):
        table = read_trajectory(tmp_path, epoch)
        assert table["id"].tolist() == trainer.data.ids
        np.testing.assert_array_equal(table["observed"], votes)
        np.testing.assert_array_equal(table["target"][:n], votes[:n])
        prediction = (table["target"][n:] - 0.7 * votes[n:]) / 0.3
        assert (np.abs(table["target"][n:] - votes[n:]).max(axis=1) > 1e-4).all()
        assert (prediction > -1e-5).all()
        np.testing.assert_allclose(prediction.sum(axis=1), 1, atol=1e-5)
        assert last is None or np.abs(last - table["target"][n:]).max() > 1e-5
        last = table["target"][n:]


def test_accumulating_correction_starts_from_the_last_label(tmp_path):
    trainer = make_trainer("slc:accumulating", tmp_path, **settings("slc:accumulating", "learns"))
    row = trainer.data.n_labelled + 2
    batch = BatchRows(torch.tensor([row]), torch.tensor([AMBIGUOUS]))
    outputs = type("Outputs", (), {"logits": torch.tensor([[2.0, 0.0, 0.0, 0.0]])})()
    label = trainer.table.observed[row].tolist()
    for _ in range(3):
        targets, weights = trainer.correct(outputs, batch)
        label = paper.corrected(label, paper.softmax([2.0, 0.0, 0.0, 0.0]), 0.3)
        np.testing.assert_allclose(targets[0], label, rtol=1e-5)
        trainer.update_state({"index": batch.index, "role": batch.role, "target": targets, "weight": weights})


# ---- two stages --------------------------------------------------------------------------------------------------


def test_the_second_stage_starts_from_the_fine_tuned_branch_and_a_fresh_rest(tmp_path, monkeypatch):
    seen = {}

    def stop(self, *args, **kwargs):
        seen.update({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        raise Stopped

    trainer = make_trainer("slc", tmp_path, **settings("slc", "learns", save_strategy="epoch"))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    monkeypatch.setattr("hf_ambiser.training.split_trainer.SplitTrainer.train", stop_in(trainer, stop))
    with pytest.raises(Stopped):
        trainer.train()
    branch = finetuning.load_file(tmp_path / "finetuning" / "temporal_branch.safetensors")
    assert set(branch) == set(temporal_branch(trainer.model)) and any("frame_weight" in name for name in branch)
    for name, tensor in seen.items():
        torch.testing.assert_close(tensor, branch[name] if name in branch else before[name], rtol=0, atol=0)
    moved = [name for name in branch if not torch.equal(branch[name], before[name])]
    assert any("encoder" in name for name in moved) and any("frame_weight.weight" in name for name in moved)
    assert not list((tmp_path / "finetuning").glob("checkpoint-*"))
    log = json.loads((tmp_path / "finetuning" / "trainer_state.json").read_text())["log_history"]
    assert any("loss_labelled" in figures for figures in log)


def stop_in(outer, stop):
    """`SplitTrainer.train` that is as it was for the first stage and `stop` for the trainer given."""
    from transformers import Trainer

    return lambda self, *args, **kw: stop(self, *args, **kw) if self is outer else Trainer.train(self, *args, **kw)


def test_the_first_stage_reads_clear_utterances_only(tmp_path, monkeypatch):
    drawn = []
    loss = FineTuningTrainer._training_loss

    def watched(self, outputs, batch):
        drawn.append(batch.role)
        return loss(self, outputs, batch)

    monkeypatch.setattr(FineTuningTrainer, "_training_loss", watched)
    make_trainer("slc", tmp_path, **settings("slc", "learns")).train()
    assert len(drawn) == 3 and all((role == LABELLED).all() for role in drawn)


@pytest.mark.parametrize(("finetune_epochs", "wanted"), [(1, "one epoch"), (None, "max_steps")])
def test_max_steps_are_those_of_the_second_stage(finetune_epochs, wanted, tmp_path, monkeypatch):
    """Without `finetune_epochs` the first stage is as long as the second one, whichever field says how long."""
    taken = []
    finished = FineTuningTrainer._finalize_training

    def watched(self, *args, **kwargs):
        taken.append(self.state.global_step)
        return finished(self, *args, **kwargs)

    monkeypatch.setattr(FineTuningTrainer, "_finalize_training", watched)
    chosen = settings("slc", "learns") | {"finetune_epochs": finetune_epochs, "max_steps": 7}
    trainer = make_trainer("slc", tmp_path, **chosen)
    trainer.train()
    epoch = len(trainer.get_train_dataloader()) // trainer.args.gradient_accumulation_steps
    assert trainer.state.global_step == 7 != epoch and taken == [epoch if wanted == "one epoch" else 7]


@pytest.mark.parametrize("lora", [False, True])
def test_stopped_in_the_first_stage_and_resumed_is_bit_equal(tmp_path, monkeypatch, lora):
    chosen = settings("slc", "resume", **INTERRUPTED) | {"finetune_epochs": 3}
    built = FineTuningTrainer.__init__
    stops: list[int] = []

    def with_stop(self, *args, **kwargs):
        built(self, *args, **kwargs)
        if stops:
            self.add_callback(_StopAt(stops.pop(0)))

    monkeypatch.setattr(FineTuningTrainer, "__init__", with_stop)
    more = {"encoder": "wav2vec2", "lora": True} if lora else {}
    for name, moments in (("whole", []), ("stopped", [1, 4, 7])):
        stops[:] = moments
        for _ in range(len(moments) + 1):
            trainer = make_trainer("slc", tmp_path / name, dropout=DROPOUT, **chosen, **more)
            try:
                train_or_go_on(trainer)
            except Stopped:
                assert not (tmp_path / name / "finetuning" / "temporal_branch.safetensors").is_file()
                continue
        trace_of(trainer).save(tmp_path / name / "final")
    assert not stops
    assert_same_run_folder(tmp_path / "stopped", tmp_path / "whole")


def test_a_run_that_begins_anew_does_not_read_the_first_stage_of_another(tmp_path, caplog):
    chosen = settings("slc", "learns")
    for learning_rate in (0.01, 0.1):
        make_trainer("slc", tmp_path / "same", **chosen | {"learning_rate": learning_rate}).train()
    assert "is of an earlier run and is deleted" in caplog.text
    make_trainer("slc", tmp_path / "alone", **chosen | {"learning_rate": 0.1}).train()
    branches = [(tmp_path / name / "finetuning" / finetuning.RESULT).read_bytes() for name in ("same", "alone")]
    assert branches[0] == branches[1]


def test_a_model_without_a_temporal_branch_has_no_first_stage(tmp_path):
    from hf_ambiser.methods.slc import SLCTrainer

    args = SLCArguments(output_dir=str(tmp_path), **settings("slc", "learns"))
    config = made_data.tiny_config(family="fusion")
    config.variant = "spatial"
    model = made_data.tiny_model(config, family="fusion")
    trainer = SLCTrainer(model, args, made_data.training_set(SLCTrainer), feature_extractor=made_data.extractor(model))
    trainer.train()
    assert not (tmp_path / "finetuning").exists()


def test_the_optimiser_is_adam_with_decay_in_the_gradient(tmp_path):
    chosen = settings("slc", "learns") | {"optim": "adamw_torch", "weight_decay": 1e-4}
    trainer = make_trainer("slc", tmp_path / "l2", **chosen)
    optimizer = trainer.create_optimizer()
    assert type(optimizer) is torch.optim.Adam
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4, 0.0}
    assert all(group["eps"] == 1e-5 and group["lr"] == trainer.args.learning_rate for group in optimizer.param_groups)
    decoupled = make_trainer("slc", tmp_path / "decoupled", **chosen, weight_decay_form="decoupled")
    assert isinstance(decoupled.create_optimizer(), torch.optim.AdamW)


def test_defaults_are_the_papers(tmp_path):
    args = SLCArguments(output_dir=str(tmp_path), use_cpu=True)
    table_1 = {"alpha": 0.3, "beta": 0.1, "adam_epsilon": 1e-5, "learning_rate": 1e-5, "weight_decay": 1e-4}
    assert {name: getattr(args, name) for name in table_1} == table_1
    assert args.num_train_epochs == 100 and args.lr_scheduler_type == "constant" and args.max_grad_norm == 0
    clear, ambiguous = 6598, 4449  # Table II
    steps = math.ceil(clear / args.per_device_train_batch_size)
    assert args.per_device_train_batch_size + math.ceil(ambiguous / steps) == 16


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("alpha", 1.2, r"alpha=1.2 must lie in \[0, 1\]"),
        ("beta", -0.1, "beta=-0.1 must be 0 or more"),
        ("objective", "both", "objective='both' is not one of"),
        ("finetune_epochs", -1, "finetune_epochs=-1"),
    ],
)
def test_bad_arguments_are_named(tmp_path, field, value, words):
    with pytest.raises(ValueError, match=words):
        SLCArguments(output_dir=str(tmp_path), use_cpu=True, **{field: value})


# ---- long utterances ---------------------------------------------------------------------------------------------


def test_a_run_cuts_long_utterances_and_scores_segments_and_utterances(tmp_path):
    from helpers.made_run import built, fields

    from hf_ambiser.run_folder.predictions import read_predictions
    from hf_ambiser.run_folder.trajectory import read_trajectory
    from hf_ambiser.runs.arguments import RunArguments
    from hf_ambiser.runs.run import run

    dataset = built(tmp_path, configs=("slc-strict",))
    run_fields = fields(
        dataset, tmp_path / "run", method="slc", warmup_epochs=..., dataset_config="slc-strict",
        train_splits=["clear"], ambiguous_splits=["ambiguous"], test_splits=["test"], num_train_epochs=2,
        finetune_epochs=1,
        model_fields={"segment_seconds": 0.7, "minimum_seconds": 0.4, "classifier_hidden_size": 16},
    )  # fmt: skip
    results = run(RunArguments.from_mapping(run_fields))
    data = results["data"]
    assert data["utterances_before_cutting"] < data["labelled"] + data["ambiguous"]
    assert set(results["scores"]) == {"test", "test_segments"}
    whole = read_predictions(tmp_path / "run" / "predictions" / "test.parquet")
    pieces = read_predictions(tmp_path / "run" / "predictions" / "test_segments.parquet")
    assert len(pieces["id"]) > len(whole["id"])
    utterance = np.array([name.partition("#")[0] for name in pieces["id"]])
    for name, probabilities in zip(whole["id"], whole["probabilities"], strict=True):
        mean = np.log(pieces["probabilities"][utterance == name]).mean(axis=0)
        np.testing.assert_allclose(probabilities, np.exp(mean) / np.exp(mean).sum(), atol=1e-5)
    from hf_ambiser.label_analysis.corrected import distance_from_truth, read_reference

    ids = read_trajectory(tmp_path / "run", 2)["id"]
    reference = read_reference(tmp_path / "run")
    assert any("#" in name for name in ids) and all(name in reference["row"] for name in ids)
    assert distance_from_truth(tmp_path / "run")["n"] == data["ambiguous"]
    assert {path.name for path in (Path(tmp_path) / "run" / "model").glob("figures/*")} >= {"correction.png"}


def test_a_run_without_ambiguous_utterances_has_no_figures_of_corrected_labels(tmp_path):
    one_hot = np.eye(4, dtype=np.float32)
    columns = {"id": ["a", "b", "c", "d"], "observed": one_hot, "target": one_hot, "weight": np.ones(4)}
    write_trajectory(tmp_path, 1, columns, {})
    assert SLCTrainer.draw_figures(tmp_path, tmp_path / "figures", list("abcd")) == {}
    mixed = {**columns, "target": 0.7 * one_hot + 0.3 * one_hot[::-1]}
    write_trajectory(tmp_path, 2, mixed, {})
    drawn = SLCTrainer.draw_figures(tmp_path, tmp_path / "figures", list("abcd"))
    assert drawn.keys() == {path.name for path in (tmp_path / "figures").iterdir()} != set()
