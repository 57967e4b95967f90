"""IPR against `ipr_by_the_paper`, and its parts."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import ipr_by_the_paper as paper
from helpers.made_data import CLASSES, extractor, made_split, tiny_config, tiny_model, training_set
from torch.nn import functional as F
from transformers import TrainerCallback

from hf_ambiser.data.audio import decode
from hf_ambiser.methods.ipr import IPRArguments, IPRTrainer
from hf_ambiser.methods.ipr.prototypes import class_sums, moving_average, who_moves_what
from hf_ambiser.methods.self_training import SelfTrainingArguments, SelfTrainingTrainer
from hf_ambiser.training.augment import Augmenter
from hf_ambiser.training.collator import AMBIGUOUS, AUGMENTED, LABELLED
from hf_ambiser.training.dataset import TrainingSet


UPDATES = ("classifier_agreement", "prototype_agreement", "proportional")


def unit(n: int, d: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=-1)


# ---- prototype arithmetic ------------------------------------------------------------------------------------------


def test_class_sums():
    x, label = torch.randn(13, 5, generator=torch.Generator().manual_seed(0)), torch.arange(13) % 3
    sums, counts = class_sums(x, label, 4)
    for c in range(4):
        mine = [row for row, y in zip(x, label.tolist(), strict=True) if y == c]
        assert counts[c] == len(mine)
        torch.testing.assert_close(sums[c], sum(mine, torch.zeros(5)))
    sums, counts = class_sums(x.to(torch.bfloat16), label, 4)
    assert sums.dtype == torch.float32  # many half-precision embeddings are summed
    empty, none = class_sums(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), 4)
    assert not empty.any() and none.tolist() == [0] * 4


@pytest.mark.parametrize("update", UPDATES)
def test_who_moves_what(update):
    # All 81 combinations of three classes.
    grid = torch.cartesian_prod(*[torch.arange(3)] * 4)
    moves = who_moves_what(update, *grid.unbind(dim=1), 3)
    assert moves.shape == (81, 3) and moves.dtype == torch.bool
    for (a, a_copy, b, b_copy), row in zip(grid.tolist(), moves.tolist(), strict=True):
        for c in range(3):
            expected = {
                "classifier_agreement": a == a_copy == c,
                "prototype_agreement": b == b_copy == c,
                "proportional": True,
            }[update]
            assert row[c] == expected


def literal_moving_average(prototypes, embedding, share, moves, gamma, together):
    new = []
    for c, p in enumerate(prototypes.double()):
        moving = [(k, float(s[c])) for k, s, m in zip(embedding.double(), share, moves, strict=True) if m[c]]
        if together:
            p = paper.moved_together(p, moving, gamma) if moving else p
        else:
            for k, s in moving:
                p = paper.moved_once(p, k, s, gamma)
        new.append(p)
    return torch.stack(new)


def case(n: int, seed: int = 0, k: int = 4, d: int = 6):
    share = torch.softmax(torch.randn(n, k, generator=torch.Generator().manual_seed(seed + 2)) * 2, dim=-1)
    return unit(k, d, seed), unit(n, d, seed + 1), share


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99, 1.0])
def test_one_sample_a_class_moves_it_as_equation_4(gamma):
    prototypes, embedding, share = case(3)
    moves = torch.tensor([[False, True, False, False], [True, False, False, False], [False, False, False, True]])
    new = moving_average(prototypes, embedding, share, moves, gamma)
    expected = literal_moving_average(prototypes, embedding, share, moves, gamma, together=False)
    torch.testing.assert_close(new.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(new.norm(dim=-1), torch.ones(4))
    assert torch.equal(new[2], prototypes[2])  # nobody moves it: bit for bit


def test_one_sample_moves_all_classes_in_proportion_as_equation_4():
    prototypes, embedding, share = case(1)
    moves = who_moves_what("proportional", *[torch.zeros(1, dtype=torch.int64)] * 4, 4)
    new = moving_average(prototypes, embedding, share, moves, 0.9)
    expected = literal_moving_average(prototypes, embedding, share, moves, 0.9, together=False)
    torch.testing.assert_close(new.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99, 1.0])
def test_several_samples_move_a_class_by_the_stated_rule(gamma):
    prototypes, embedding, share = case(40)
    moves = torch.rand(40, 4, generator=torch.Generator().manual_seed(9)) < torch.tensor([0.0, 0.1, 0.5, 1.0])
    new = moving_average(prototypes, embedding, share, moves, gamma)
    expected = literal_moving_average(prototypes, embedding, share, moves, gamma, together=True)
    torch.testing.assert_close(new.double(), expected, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(new.norm(dim=-1), torch.ones(4))
    assert torch.equal(new[0], prototypes[0])
    # Samples weigh alike: their order does not matter.
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    mixed = moving_average(prototypes, embedding[order], share[order], moves[order], gamma)
    torch.testing.assert_close(mixed, new, rtol=1e-5, atol=1e-6)


def test_several_samples_differ_from_one_after_the_other_in_second_order_only():
    prototypes, embedding, share = case(8)
    moves = torch.ones(8, 4, dtype=torch.bool)

    def difference(gamma: float) -> tuple[float, float]:
        together = moving_average(prototypes.double(), embedding, share, moves, gamma).double()
        sequential = literal_moving_average(prototypes, embedding, share, moves, gamma, together=False)
        exact = literal_moving_average(prototypes, embedding, share, moves, gamma, together=True)
        torch.testing.assert_close(together, exact, rtol=1e-5, atol=1e-6)
        return float((exact - sequential).norm()), float((sequential - prototypes).norm())

    (coarse, moved), (fine, moved_less) = difference(0.99), difference(0.999)
    assert moved > 8 * moved_less and coarse < 0.1 * moved  # at the paper's gamma: a small part of the step
    assert fine < coarse / 50  # a tenth of 1 - gamma: about a hundredth of the difference


def test_samples_that_say_the_same_move_a_class_as_one_after_the_other_without_normalising_between():
    prototypes, embedding, share = case(1)
    n, gamma = 5, 0.9
    p = prototypes.double().clone()
    for _ in range(n):
        p = gamma * p + (1 - gamma) * share.double().T @ embedding.double()
    same = moving_average(
        prototypes, embedding.expand(n, -1), share.expand(n, -1), torch.ones(n, 4, dtype=torch.bool), gamma
    )
    torch.testing.assert_close(same.double(), F.normalize(p, dim=-1), rtol=1e-5, atol=1e-6)


# ---- a trainer that is looked over the shoulder --------------------------------------------------------------------


class Watched(IPRTrainer):
    """Writes down every training step: model, batch, loss, gradients, and the state after it."""

    def __init__(self, *args, **kwargs) -> None:
        self.steps: list[dict] = []
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, *args, **kwargs):
        before = {
            "epoch": self.epoch,
            "model": copy.deepcopy(self.bare_model()),
            "batch": {name: tensor.clone() for name, tensor in inputs.items()},
        }
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        self.steps.append({**before, "loss": float(loss.detach())})
        return loss

    def step_taken(self) -> None:
        self.steps[-1]["gradient"] = {name: p.grad.clone() for name, p in self.bare_model().named_parameters()}
        super().step_taken()
        self.steps[-1]["prototypes"] = self.prototypes.clone()
        self.steps[-1]["table"] = {name: column.clone() for name, column in self.table.columns.items()}


class StopAfter(TrainerCallback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.epoch >= self.epochs


def arguments(folder, kind=IPRArguments, **changes):
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "num_train_epochs": 5,
        "warmup_epochs": 1,
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 8,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "epoch",
        "disable_tqdm": True,
        "trajectory_every": 0,
        **changes,
    }
    return kind(**settings)


def make(folder, trainer_class=Watched, config=None, data=None, kind=IPRArguments, sizes=(20, 10), **changes):
    model = tiny_model(config)
    data = data or training_set(trainer_class, *sizes)
    return trainer_class(model, arguments(folder, kind, **changes), data, feature_extractor=extractor(model))


def clip(batch, row: int) -> torch.Tensor:
    return batch["input_values"][row][batch["attention_mask"][row].bool()]


def rows(batch, role: int) -> list[int]:
    return [i for i, r in enumerate(batch["role"].tolist()) if r == role]


@pytest.mark.parametrize(
    "update,contrastive,n_ambiguous,mu",
    [
        ("classifier_agreement", "pseudo_label", 15, 0.2),
        ("prototype_agreement", "instance", 15, 0.2),
        ("proportional", "pseudo_label", 3, 0.2),
        ("classifier_agreement", "instance", 3, 0.0),
    ],
)
def test_training_is_the_papers_step_by_step(tmp_path, update, contrastive, n_ambiguous, mu):
    gamma, alpha = 0.9, 0.7
    trainer = make(
        tmp_path,
        sizes=(20, n_ambiguous),
        alpha=alpha,
        mu=mu,
        gamma=gamma,
        prototype_update=update,
        contrastive=contrastive,
    )
    trainer.add_callback(StopAfter(2))
    trainer.train()
    settings = paper.Settings(
        alpha, mu, gamma, 0.1, trainer.bare_model().config.prototype_temperature, contrastive, update
    )
    steps = trainer.steps
    assert [s["epoch"] for s in steps] == [0, 0, 0, 1, 1, 1]
    per_step = math.ceil(n_ambiguous / 3)
    one_each = several = 0
    pseudo, disagree, still = set(), 0, 0

    for t, seen in enumerate(steps):
        batch, table = seen["batch"], seen["table"]
        model = paper.Model(seen["model"])
        before = list(seen["model"].head.prototypes.double())
        clean, copies = rows(batch, AMBIGUOUS), rows(batch, AUGMENTED)
        # Warm-up: no ambiguous clip is drawn (section 2.1). After it, each with its own augmented copy.
        assert len(clean) == len(copies) == (0 if seen["epoch"] == 0 else per_step)
        assert batch["index"][clean].tolist() == batch["index"][copies].tolist()
        labelled = [(clip(batch, i), int(batch["index"][i]) % 4) for i in rows(batch, LABELLED)]
        pairs = [(clip(batch, i), clip(batch, j)) for i, j in zip(clean, copies, strict=True)]
        beta = paper.ramp(seen["epoch"], 5, 0.5, 10)
        assert len(labelled) == 8 and (beta > 0) == (seen["epoch"] > 0)

        if t == 3:  # Eq. 1-2: class means of all labelled clips, by the model as the warm-up left it
            made = made_split(20, 0, name="a")
            everything = [(torch.from_numpy(decode(row["audio"]["bytes"])), row["label"]) for row in made]
            for p, mean in zip(before, paper.class_means(model, everything, 4), strict=True):
                torch.testing.assert_close(p, mean, rtol=0, atol=2e-6)

        ours = paper.step(model, labelled, pairs, before, beta, settings)
        # Eq. 6 and its gradient in every parameter.
        assert seen["loss"] == pytest.approx(float(ours.loss.detach()), rel=1e-5)
        names = list(seen["gradient"])
        assert set(names) == set(model.parameters) and len(names) >= 10
        gradients = torch.autograd.grad(ours.loss, [model.parameters[name] for name in names])
        for name, expected in zip(names, gradients, strict=True):
            scale = float(expected.abs().max())
            assert scale > 0
            torch.testing.assert_close(
                seen["gradient"][name].double(), expected, rtol=0, atol=1e-4 * scale + 1e-8, msg=name
            )

        # Eq. 3: labels in the table. A row of the table is the labelled clips' first.
        for i, z, soft, y in zip(batch["index"][clean].tolist(), ours.pseudo, ours.soft, ours.classified, strict=True):
            assert table["target"][i].tolist() == [float(c == z) for c in range(4)]
            assert table["weight"][i] == pytest.approx(beta)
            assert table["soft_label"][i].tolist() == pytest.approx(soft, abs=1e-5)
            assert table["classifier_label"][i] == y
        for i, (_, y) in zip(batch["index"].tolist(), labelled, strict=False):
            assert table["target"][i].tolist() == [float(c == y) for c in range(4)]
            assert table["weight"][i] == pytest.approx(alpha)

        # Eq. 4.
        for c, n in enumerate(ours.movers or [0] * 4):
            torch.testing.assert_close(seen["prototypes"][c].double(), ours.prototypes[c], rtol=0, atol=2e-6)
            if n <= 1:
                torch.testing.assert_close(
                    seen["prototypes"][c].double(), ours.one_after_the_other[c], rtol=0, atol=2e-6
                )
            if n == 0:
                assert torch.equal(seen["prototypes"][c], seen["model"].head.prototypes[c])
            else:
                assert not torch.equal(seen["prototypes"][c], seen["model"].head.prototypes[c])
            one_each, several = one_each + (n == 1), several + (n > 1)
        pseudo |= set(ours.pseudo)
        disagree += sum(z != y for z, y in zip(ours.pseudo, ours.classified, strict=True))
        still += len(pairs) - (max(ours.movers) if update == "proportional" else sum(ours.movers)) if pairs else 0
        if t + 1 < len(steps) and t != 2:
            assert torch.equal(steps[t + 1]["model"].head.prototypes, seen["prototypes"])
    # The run held what it is to test.
    assert one_each > 0 and len(pseudo) > 2 and disagree > 0
    assert n_ambiguous == 3 or several > 0
    # Clips whose copies disagree, which move nothing.
    assert still > 0 or update != "classifier_agreement" or n_ambiguous == 3


def test_what_is_logged(tmp_path):
    trainer = make(tmp_path)
    trainer.add_callback(StopAfter(2))
    trainer.train()
    warm, refined = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert "loss_contrast" not in warm and warm["loss_ambiguous"] == 0
    assert warm["loss"] == pytest.approx(warm["loss_labelled"], rel=1e-3)
    parts = refined["loss_labelled"] + refined["loss_ambiguous"] + 0.2 * refined["loss_contrast"]
    assert refined["loss"] == pytest.approx(parts, rel=1e-3)
    assert 0 <= refined["share_moving_a_prototype"] <= 1
    assert refined["loss"] == pytest.approx(np.mean([s["loss"] for s in trainer.steps[3:]]), rel=1e-3)


# ---- prototypes at the end of a warm-up epoch ----------------------------------------------------------------------


def test_class_means_are_taken_without_dropout_and_masks_and_leave_the_random_state_alone(tmp_path):
    trainer = make(tmp_path, config=tiny_config(dropout=0.5), per_device_eval_batch_size=3)
    model = trainer.bare_model().train()
    first = trainer.prototypes.clone()
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    trainer.epoch_finished(0)
    assert torch.equal(states[0], torch.get_rng_state()) and (states[1] == np.random.get_state()[1]).all()
    assert not torch.equal(trainer.prototypes, first)
    again = trainer.prototypes.clone()
    trainer.epoch_finished(0)
    assert torch.equal(trainer.prototypes, again)

    clips = [(torch.from_numpy(decode(row["audio"]["bytes"])), row["label"]) for row in made_split(20, 0, name="a")]
    for p, mean in zip(trainer.prototypes, paper.class_means(paper.Model(model), clips, 4), strict=True):
        torch.testing.assert_close(p.double(), mean, rtol=0, atol=2e-6)
    torch.testing.assert_close(trainer.prototypes.norm(dim=-1), torch.ones(4))


def test_class_means_do_not_depend_on_the_size_of_evaluation_batches(tmp_path):
    results = []
    for size in (1, 7, 64):
        trainer = make(tmp_path, per_device_eval_batch_size=size)
        trainer.epoch_finished(0)
        results.append(trainer.prototypes.clone())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-6)


def test_never_refreshed_prototypes_are_left_alone_at_the_end_of_an_epoch_after_the_warm_up(tmp_path):
    trainer = make(tmp_path, warmup_epochs=2, prototype_refresh="never")
    before = trainer.prototypes.clone()
    trainer.epoch_finished(2)
    assert torch.equal(trainer.prototypes, before)
    trainer.epoch_finished(1)
    assert not torch.equal(trainer.prototypes, before)


def test_prototypes_are_what_is_saved_with_the_model(tmp_path):
    trainer = make(tmp_path)
    trainer.epoch_finished(0)
    trainer.save_model(str(tmp_path / "model"))
    again = type(trainer.bare_model()).from_pretrained(tmp_path / "model")
    assert torch.equal(again.head.prototypes, trainer.prototypes)


# ---- schedules, labels, refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trainer_class,kind", [(IPRTrainer, IPRArguments), (SelfTrainingTrainer, SelfTrainingArguments)]
)
def test_warm_up_and_beta_over_the_papers_50_epochs(tmp_path, trainer_class, kind):
    trainer = make(tmp_path, trainer_class, kind=kind, num_train_epochs=50, warmup_epochs=10)
    assert [trainer.takes_ambiguous(e) for e in range(50)] == [False] * 10 + [True] * 40
    # 10 ambiguous clips, 3 steps.
    assert [trainer.ambiguous_per_step(e) for e in (0, 9, 10, 49)] == [0, 0, 4, 4]
    betas = []
    for epoch in range(50):
        for within in (0, 0.34, 0.99):  # constant within an epoch
            trainer.state.epoch = epoch + within
            assert trainer.beta == pytest.approx(paper.ramp(epoch, 50, 0.5, 10))
        betas.append(trainer.beta)
    assert betas[0] == 0 and betas[24] < 0.5 and betas[25:] == pytest.approx([0.5] * 25)


def some_outputs(trainer, n_labelled: int = 3, n_ambiguous: int = 4):
    from hf_ambiser.training.trainer import BatchRows

    role = [LABELLED] * n_labelled + [AMBIGUOUS] * n_ambiguous + [AUGMENTED] * n_ambiguous
    index = [*range(n_labelled), *[20 + i for i in range(n_ambiguous)] * 2]
    batch = BatchRows(torch.tensor(index), torch.tensor(role))
    waves = torch.randn(len(role), 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.no_grad():
        return trainer.bare_model().eval()(waves), batch


def test_pseudo_labels_are_equation_3_and_never_the_classifiers(tmp_path):
    trainer = make(tmp_path, IPRTrainer, alpha=0.6)
    trainer.state.epoch = 2.5
    outputs, batch = some_outputs(trainer)
    targets, weights = trainer.correct(outputs, batch)
    for i, q in enumerate(outputs.embedding):
        k = q.double() / q.double().norm()
        z = max(range(4), key=lambda c: float(k @ trainer.prototypes[c].double()))
        if i >= 3:
            assert targets[i].tolist() == [float(c == z) for c in range(4)]
        else:
            assert targets[i].tolist() == [float(c == i) for c in range(4)]  # labels of D1 stay as they are
    assert weights[:3].tolist() == pytest.approx([0.6] * 3)
    assert weights[3:7].tolist() == pytest.approx([paper.ramp(2, 5, 0.5, 10)] * 4)
    assert weights[7:].tolist() == [0] * 4  # augmented copies get no cross-entropy


@pytest.mark.parametrize("pseudo_label", ["soft", "hard"])
def test_self_training_takes_the_classifiers_own_answer(tmp_path, pseudo_label):
    trainer = make(tmp_path, SelfTrainingTrainer, kind=SelfTrainingArguments, pseudo_label=pseudo_label)
    trainer.state.epoch = 2.0
    outputs, batch = some_outputs(trainer)
    targets, weights = trainer.correct(outputs, batch)
    for z, target in zip(outputs.logits[3:7], targets[3:7], strict=True):
        e = [math.exp(float(v)) for v in z]
        p = [v / sum(e) for v in e]
        sharper = [v**2 for v in p]  # temperature 0.5
        expected = [v / sum(sharper) for v in sharper] if pseudo_label == "soft" else [float(v == max(p)) for v in p]
        assert target.tolist() == pytest.approx(expected, abs=1e-6)
    assert targets[:3].argmax(dim=1).tolist() == [0, 1, 2] and weights[:3].tolist() == [1] * 3
    assert weights[3:7].tolist() == pytest.approx([paper.ramp(2, 5, 0.5, 10)] * 4)


def test_without_contrast_there_is_no_contrastive_term(tmp_path):
    trainer = make(tmp_path, IPRTrainer, mu=0.0)
    trainer.effective_counts = {"labelled": 3, "ambiguous": 4}
    assert trainer.extra_loss(*some_outputs(trainer)) == 0.0
    warm = make(tmp_path, IPRTrainer, mu=0.5)
    warm.effective_counts = {"labelled": 3, "ambiguous": 0}
    assert warm.extra_loss(*some_outputs(warm, 3, 0)) == 0.0


def test_a_class_without_labelled_clip_is_refused_by_name(tmp_path):
    three = TrainingSet(made_split(3, 0, name="a"), made_split(8, 1, labelled=False, name="b"), augment=Augmenter())
    assert CLASSES[3] == "neutral" and not three.observed[:, 3].any()
    with pytest.raises(ValueError, match=r"class\(es\) \['neutral'\].*no prototype.*per_class"):
        make(tmp_path, IPRTrainer, data=three)
