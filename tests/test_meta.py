"""meta against `meta_by_the_paper`, and its parts."""

import copy
import functools
import json
import math

import numpy as np
import pytest
import torch
from helpers import meta_by_the_paper as paper
from helpers.made_data import extractor, tiny_config, tiny_model, training_set
from helpers.made_run import built, fields
from helpers.suite_methods import make_trainer, settings
from torch.nn import functional as F
from transformers import AutoFeatureExtractor, TrainerCallback, pipeline

from hf_ambiser.data.audio import decode
from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.label_analysis.changed_labels import class_moves
from hf_ambiser.methods.meta import MetaArguments, MetaTrainer
from hf_ambiser.methods.meta.figures import mean_weights, share_moved
from hf_ambiser.methods.meta.sampling import BalancedSampler
from hf_ambiser.methods.meta.state import (
    RowOptimizer,
    balanced,
    gradients,
    initial_weights,
    moved_weight,
    with_mean_one,
)
from hf_ambiser.models.feature_extraction_acoustic32 import Acoustic32FeatureExtractor
from hf_ambiser.run_folder.columns import read_columns
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import prepare, run
from hf_ambiser.runs.scoring import load_for_scoring, predict_logits
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.frames import read_frames, with_frames


TABLE_1_TOTAL = (595, 1084, 1708, 1103)  # happiness, sadness, neutral, anger


def one_hot(counts):
    return F.one_hot(torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)), len(counts)).float()


# ---- the state's arithmetic ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form,printed", [("eq4", (0.47, 0.86, 1.35, 0.87)), ("table3", (0.53, 0.97, 1.52, 0.98))])
def test_initial_weights_reproduce_table_3_from_table_1(form, printed):
    labels = one_hot(TABLE_1_TOTAL)
    w = initial_weights(labels, form)
    means = [float(w[labels[:, c] == 1].mean()) for c in range(4)]
    assert [round(m, 2) for m in means] == list(printed)
    assert (float(w.mean()) == pytest.approx(1)) == (form == "eq4")  # Eq. 8


@pytest.mark.parametrize("form", ["eq4", "table3"])
def test_initial_weights_are_equation_4_also_for_soft_labels(form):
    soft = torch.softmax(2 * torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    for labels in (soft, one_hot((3, 9, 1, 5))):
        expected = paper.initial_w(labels.double().tolist(), form)
        np.testing.assert_allclose(initial_weights(labels, form), expected, rtol=1e-5)
    assert initial_weights(soft, "ones").tolist() == [1.0] * 30


def some(n=12, k=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits, y = torch.randn(2, n, k, generator=generator, dtype=torch.float64) * 2
    return logits, torch.rand(n, generator=generator, dtype=torch.float64) + 0.2, F.log_softmax(y, dim=1)


def test_gradients_are_those_of_equation_6():
    logits, w, log_y = some()
    logits.requires_grad_()
    log_w = w.log().requires_grad_()
    loss = (-(torch.softmax(logits, 1) * log_y).sum(1) / log_w.exp()).sum()
    expected = torch.autograd.grad(loss, [logits, log_w])
    for got, want in zip(gradients(torch.softmax(logits, 1), w, log_y), expected, strict=True):
        torch.testing.assert_close(got.detach(), want)


def test_adam_on_rows_is_torchs_adam_on_each_row_alone():
    generator = torch.Generator().manual_seed(1)
    rows, n, k, rate = [[0, 2], [1, 2, 3], [0, 3], [2]], 4, 3, 0.1
    start = torch.randn(n, k, generator=generator)
    ours, optimizer = start.clone(), RowOptimizer("adam")
    moments, steps = optimizer.columns("x", ours), torch.zeros(n, dtype=torch.int64)
    theirs = [torch.nn.Parameter(row.clone()) for row in start]
    adams = [torch.optim.Adam([p], lr=rate) for p in theirs]
    for index in rows:
        gradient = torch.randn(len(index), k, generator=generator)
        steps[index] += 1
        given = {name: column[index] for name, column in moments.items()}
        change, new = optimizer.step("x", gradient, rate, given, steps[index])
        ours[index] += change
        for name, values in new.items():
            moments[name][index] = values
        for i, g in zip(index, gradient, strict=True):
            theirs[i].grad = g
            adams[i].step()
    torch.testing.assert_close(ours, torch.stack([p.detach() for p in theirs]), rtol=1e-5, atol=1e-6)
    assert RowOptimizer("sgd").columns("x", ours) == {}


def test_weights_stay_above_0_and_finite_whatever_the_gradient():
    w = torch.tensor([1e-30, 1e-3, 1.0, 50.0])
    for _ in range(200):
        _, gradient = gradients(torch.full((4, 2), 0.5), w, torch.tensor([[-1.0, -40.0]] * 4))
        change, _ = RowOptimizer("sgd").step("w", gradient, 0.02, {}, torch.ones(4))
        assert (change >= 0).all()  # Eq. 6 alone only ever raises w; Eq. 8 brings it back
        w = with_mean_one(moved_weight(w, change))
        assert (w > 0).all() and torch.isfinite(w).all() and float(w.mean()) == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(w, torch.ones(4), rtol=1e-3, atol=0)  # equal losses end with equal weights


def test_weights_come_to_rest_in_proportion_to_the_loss():
    loss = torch.tensor([0.2, 0.5, 1.0, 2.0])
    w = torch.ones(4)
    for _ in range(400):
        w = with_mean_one(moved_weight(w, 0.1 * loss / w))
    torch.testing.assert_close(w, loss / loss.mean(), rtol=1e-3, atol=0)
    # What Adam's first step does to them: nothing, for it does not know how large a gradient is.
    change, _ = RowOptimizer("adam").step(
        "w", -loss, 0.1, RowOptimizer("adam").columns("w", loss), torch.ones(4, dtype=torch.int64)
    )
    torch.testing.assert_close(with_mean_one(moved_weight(torch.ones(4), change)), torch.ones(4))


def test_shares_of_moved_labels():
    labels = np.eye(3)
    shares = class_moves(labels[[0, 0, 0, 1, 1]], labels[[0, 0, 1, 1, 1]])
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3, 0], [0, 1, 0], [0, 0, 0]])


# ---- two alternations, step by step --------------------------------------------------------------------------------


class Watched(MetaTrainer):
    """Writes down every training step: network, batch, loss, gradients, and the state after it."""

    def __init__(self, *args, **kwargs):
        self.steps = []
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.steps.append(
            {
                "epoch": self.epoch,
                "model": copy.deepcopy(self.bare_model()),
                "training": model.training,
                "batch": {name: tensor.clone() for name, tensor in inputs.items()},
            }
        )
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        self.steps[-1]["loss"] = float(loss.detach())
        return loss

    def step_taken(self):
        self.steps[-1]["gradient"] = {name: p.grad for name, p in self.bare_model().named_parameters()}
        self.steps[-1]["gradient"] = {k: g if g is None else g.clone() for k, g in self.steps[-1]["gradient"].items()}
        super().step_taken()
        self.steps[-1]["table"] = {name: column.clone() for name, column in self.table.columns.items()}
        self.steps[-1]["optimizer"] = copy.deepcopy(self.optimizer.state_dict()["state"])
        self.steps[-1]["after"] = copy.deepcopy(self.bare_model().state_dict())


def make(folder, trainer_class=Watched, dropout=0.0, n=21, **changes):
    model = tiny_model(tiny_config(dropout, family="blstm"), family="blstm")
    given = {
        "output_dir": str(folder),
        "use_cpu": True,
        "num_train_epochs": 4,
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 8,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "epoch",
        "disable_tqdm": True,
        "trajectory_every": 0,
        **changes,
    }
    args = MetaArguments(**given)
    data = training_set(trainer_class, n, target=args.target or "label")
    return trainer_class(model, args, data, feature_extractor=extractor(model))


@pytest.mark.parametrize(
    "kind,form,soft",
    [
        ("sgd", "eq4", False),
        pytest.param("adam", "table3", False, marks=pytest.mark.slow),
        pytest.param("sgd", "eq4", True, marks=pytest.mark.slow),
    ],
)
def test_training_is_the_papers_for_two_alternations(tmp_path, kind, form, soft):
    rates, scale = (0.7, 0.4), 2.0
    n = 13
    trainer = make(
        tmp_path, n=n, state_optimizer=kind, initial_weights=form, label_scale=scale, label_learning_rate=rates[0],
        weight_learning_rate=rates[1], initial_labels="soft" if soft else "gold",
    )  # fmt: skip
    observed = trainer.table.observed.double().tolist()
    assert soft == any(0 < v < 1 for row in observed for v in row)
    state = paper.Labels(observed, scale, form, kind, rates)
    trainer.train()
    steps = trainer.steps
    assert [s["epoch"] for s in steps] == [e for e in range(4) for _ in range(2)]
    turned = set()
    for t, seen in enumerate(steps):
        network, batch = paper.Network(seen["model"]), seen["batch"]
        clips = [
            (i, x[m.bool()].double())
            for i, x, m in zip(batch["index"].tolist(), batch["input_values"], batch["attention_mask"], strict=True)
        ]
        expected = state.network_loss(network, clips)
        assert seen["loss"] == pytest.approx(float(expected.detach()), rel=1e-4)
        if seen["epoch"] % 2 == 0:
            gradients_ = torch.autograd.grad(expected, list(network.parameters.values()))
            for name, want in zip(network.parameters, gradients_, strict=True):
                size = float(want.abs().max())
                assert size > 0, name
                torch.testing.assert_close(seen["gradient"][name].double(), want, rtol=0, atol=2e-4 * size + 1e-8)
        else:
            assert set(seen["gradient"].values()) == {None}
            for i, x in clips:
                if i not in turned:  # the last step is filled up with utterances that had their turn
                    state.update(i, [v.detach() for v in network.y(x)])
                    turned.add(i)
        # The table after the step; Eq. 8 comes at the epoch's end.
        np.testing.assert_allclose(seen["table"]["label_logits"], state.l, atol=2e-4)
        np.testing.assert_allclose(seen["table"]["w"], state.w, rtol=2e-4)
        if seen["epoch"] % 2 == 1 and t % 2 == 1:
            assert len(turned) == n
            turned = set()
            state.end_of_epoch()
    np.testing.assert_allclose(trainer.table.columns["w"], state.w, rtol=2e-4)
    np.testing.assert_allclose(trainer.table.columns["weight"], 1 / np.array(state.w), rtol=2e-4)
    np.testing.assert_allclose(
        trainer.table.columns["target"], [[float(v) for v in state.target(i)] for i in range(n)], atol=1e-4
    )
    assert np.abs(np.array(state.l) - scale * np.array(observed)).max() > 0.05  # the labels did move
    assert trainer.table.columns["label_epochs"].tolist() == [2] * n


def test_a_label_epoch_leaves_network_and_its_optimizer_bit_for_bit_and_is_without_dropout(tmp_path):
    trainer = make(tmp_path, dropout=0.5)
    trainer.train()
    for before, seen in zip(trainer.steps, trainer.steps[1:], strict=False):
        label_epoch = seen["epoch"] % 2 == 1
        assert seen["training"] != label_epoch
        same = [torch.equal(seen["after"][name], before["after"][name]) for name in seen["after"]]
        moments = [
            torch.equal(seen["optimizer"][i][name], before["optimizer"][i][name])
            for i in seen["optimizer"] for name in ("step", "exp_avg", "exp_avg_sq")
        ]  # fmt: skip
        assert moments and all(same) == all(moments) == label_epoch
        columns = [name for name in seen["table"] if name not in ("target", "weight")]
        kept = all(torch.equal(seen["table"][n], before["table"][n]) for n in columns)
        assert kept != label_epoch or seen["epoch"] > before["epoch"]  # Eq. 8 comes in between


@pytest.mark.parametrize("learn", [(False, False), (True, False), (False, True)])
def test_what_is_not_learnt_stays(tmp_path, learn):
    labels, weights = learn
    trainer = make(tmp_path, n=8, learn_labels=labels, learn_weights=weights, label_scale=3.0)
    start = {name: column.clone() for name, column in trainer.table.columns.items()}
    trainer.train()
    assert [trainer.is_label_epoch(e) for e in range(4)] == [False, any(learn)] * 2
    assert torch.equal(trainer.table.columns["w"], start["w"]) != weights
    hard = torch.equal(trainer.table.columns["target"], trainer.table.observed)
    assert hard != labels and ("label_logits" in start) == labels
    np.testing.assert_allclose(start["weight"], 1 / start["w"], rtol=1e-6)


# ---- stopping, sampling, pretraining -------------------------------------------------------------------------------


class Evaluations(TrainerCallback):
    def __init__(self):
        self.at = []

    def on_evaluate(self, args, state, control, **kwargs):
        self.at.append(state.epoch)


@pytest.mark.parametrize("strategy", [{"eval_strategy": "epoch"}, {"eval_strategy": "steps", "eval_steps": 1}])
@pytest.mark.parametrize("learn", [True, False])
def test_only_network_epochs_are_evaluated_and_count_for_patience(tmp_path, strategy, learn):
    chosen = settings(
        "meta", "learns", **strategy, num_train_epochs=12, learning_rate=0.0, metric_for_best_model="loss",
        early_stopping_patience=2 if strategy["eval_strategy"] == "epoch" else 5, learn_labels=learn,
        learn_weights=learn,
    )  # fmt: skip
    trainer = make_trainer("meta", tmp_path, **chosen)
    watch = Evaluations()
    trainer.add_callback(watch)
    trainer.train()
    if strategy["eval_strategy"] == "epoch":
        # The network does not change (rate 0): stopped after the first evaluation and two more without a better one.
        assert watch.at == ([1.0, 3.0, 5.0] if learn else [1.0, 2.0, 3.0])
    else:
        assert len(watch.at) == 6 and all(math.ceil(e) % 2 == 1 or not learn for e in watch.at)


def test_evaluations_that_all_fall_on_label_epochs_are_made_and_choose_the_model(tmp_path):
    """`eval_steps: 0.25` of eight epochs is the end of every second one, and these are the labels'."""
    chosen = settings(
        "meta", "learns", eval_strategy="steps", eval_steps=0.25, save_strategy="steps", save_steps=0.25,
        num_train_epochs=8, load_best_model_at_end=True, metric_for_best_model="loss",
    )  # fmt: skip
    trainer = make_trainer("meta", tmp_path, **chosen)
    watch = Evaluations()
    trainer.add_callback(watch)
    trainer.train()
    assert watch.at == [2.0, 4.0, 6.0, 8.0]
    logged = {e["step"]: e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e}
    assert trainer.state.best_global_step == min(logged, key=logged.get)
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{trainer.state.best_global_step}")


def test_balanced_sampling_has_as_many_of_each_class():
    labels = np.array([0] * 20 + [1] * 5 + [2] * 11)
    lengths = np.linspace(1, 2, 36)
    options = {"effective_batch": 4, "ambiguous_per_step": lambda epoch: 0, "seed": 3}
    for kind, size in (("over", 20), ("under", 5)):
        sampler = BalancedSampler(labels, kind, lengths, **options)
        seen = []
        for epoch in (0, 1):
            drawn = sampler.drawn(epoch)
            assert np.bincount(labels[drawn]).tolist() == [size] * 3
            assert len(set(drawn.tolist())) == (36 if kind == "over" else 15)
            sampler.set_epoch(epoch)
            keys = list(sampler)
            assert len(keys) == len(sampler) == 4 * math.ceil(3 * size / 4)
            assert all(key.epoch == epoch and key.ambiguous == () for key in keys)
            # Every drawn utterance has its turn; the last step is filled up.
            turns, wanted = (np.bincount(i, minlength=36) for i in ([key.labelled for key in keys], drawn))
            assert (turns >= wanted).all() and turns.sum() - wanted.sum() < 4
            assert keys == list(sampler)
            seen.append([key.labelled for key in keys])
        assert seen[0] != seen[1]


def test_sampling_is_instead_of_w(tmp_path):
    # 9 clips, three of one class and two of each other: 12 with over-sampling, 8 with under-sampling.
    for kind, steps in (("over", 2), ("under", 1)):
        trainer = make(tmp_path, sampling=kind, learn_labels=False, learn_weights=False, n=9, num_train_epochs=1)
        assert trainer.table.columns["w"].tolist() == [1.0] * 9
        trainer.train()
        assert len(trainer.steps) == steps


def test_balanced_weights_keep_what_each_class_counts_and_the_order_within_it():
    rng = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 3, (40,), generator=rng)
    began, w = torch.tensor([0.4, 1.0, 1.9, 7.0]), torch.rand(40, generator=rng) + 0.1  # no utterance of the last
    new = balanced(w, classes, began)
    for c in range(3):
        assert (1 / new[classes == c]).mean().item() == pytest.approx(1 / began[c].item(), rel=1e-5)
        assert torch.equal(new[classes == c].argsort(), w[classes == c].argsort())
    torch.testing.assert_close(balanced(new, classes, began), new)


def test_keep_balance_leaves_each_class_its_share_of_the_loss(tmp_path):
    published, kept = (make(tmp_path, keep_balance=value, n=21, num_train_epochs=2) for value in (False, True))
    for trainer in (published, kept):
        trainer.train()
    classes = kept.table.observed.argmax(dim=1)
    for c in range(4):
        share = (1 / kept.table.columns["w"][classes == c]).mean().item()
        assert share == pytest.approx(1 / kept._initial_w[c].item(), rel=1e-4)
    assert not torch.allclose(published.table.columns["w"], kept.table.columns["w"])
    with pytest.raises(ValueError, match="keep_balance=True needs learn_weights=True"):
        MetaArguments(output_dir=str(tmp_path), keep_balance=True, learn_weights=False)


def test_training_begins_with_the_labels_and_weights_that_another_run_has_learnt(tmp_path):
    before = tmp_path / "study/learnt/fold-1/seed-0"
    first = make(before, n=12, label_learning_rate=20.0, num_train_epochs=2, trajectory_every=1)
    first.train()
    here = tmp_path / "study/again/fold-1/seed-0"
    with pytest.raises(ValueError, match=r"labels_from='learnt': there is no finished run of meta"):
        make(here, n=12, labels_from="learnt")
    (before / "results.json").write_text("{}")
    learnt = first.table.columns
    assert not torch.equal(learnt["target"], first.table.observed) and not torch.equal(learnt["w"], torch.ones(12))
    for source in ("learnt", str(before)):
        fixed = make(here, n=12, labels_from=source, learn_labels=False, learn_weights=False)
        targets, weights = fixed.correct(None, BatchRows(torch.tensor([7, 3]), torch.zeros(2, dtype=torch.long)))
        order = [first.table.ids.index(fixed.table.ids[i]) for i in (7, 3)]
        torch.testing.assert_close(targets, learnt["target"][order])
        torch.testing.assert_close(weights, 1 / learnt["w"][order])
        assert torch.equal(fixed.table.columns["target"][7], targets[0])  # what the trajectory shows
    on = make(here, n=12, labels_from="learnt")  # and goes on learning from there
    assert torch.equal(on.table.columns["label_logits"], learnt["label_logits"])
    with pytest.raises(ValueError, match="labels_from='learnt': 3 of 15 training utterances are not in that run"):
        make(here, n=15, labels_from="learnt")


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"sampling": "both"}, r"sampling='both' is not one of \['none', 'over', 'under'\]"),
        ({"fp16": True}, "fp16=True cannot be used.*none in a label epoch.*bf16=True"),
        ({"class_weights": "inverse_frequency"}, "balance the classes twice"),
        ({"sampling": "over"}, "learn_labels=False and learn_weights=False"),
        ({"weight_learning_rate": 0}, "weight_learning_rate=0 must be above 0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        MetaArguments(output_dir=str(tmp_path), use_cpu=True, **changes)


# ---- a whole run ---------------------------------------------------------------------------------------------------


def test_a_run_has_its_card_with_figure_3_and_table_3(tmp_path):
    dataset = built(tmp_path, configs=("ipr-strict",))
    small = {"dense_hidden_size": 8, "lstm_hidden_size": 4, "input": "log_mel"}
    given = fields(
        dataset, tmp_path / "run", method="meta", warmup_epochs=..., num_train_epochs=4, model_fields=small,
        label_learning_rate=5.0, encoder_fields={"n_mels": 16},
    )  # fmt: skip
    run(RunArguments.from_mapping(given))
    card = (tmp_path / "run/model/README.md").read_text()
    assert "moved_labels.png" in card and "weights.png" in card and "bidirectional LSTM of 4 per direction" in card
    shares, means = share_moved(tmp_path / "run"), mean_weights(tmp_path / "run")
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares.shape == (4, 4) and means.initial.shape == means.learnt.shape == (4,)
    assert not np.allclose(means.initial, means.learnt)
    assert json.loads((tmp_path / "run/model/config.json").read_text())["input"] == "log_mel"


def test_a_run_on_acoustic_features_computes_them_once_and_saves_the_training_sets_statistics(tmp_path, monkeypatch):
    dataset = built(tmp_path, n=40, configs=("ipr-strict",))
    small = {"dense_hidden_size": 8, "lstm_hidden_size": 4}
    extracted = []
    extract = Acoustic32FeatureExtractor.extract

    def counted(self, waveform, *rest):
        extracted.append(len(waveform))
        return extract(self, waveform, *rest)

    monkeypatch.setattr(Acoustic32FeatureExtractor, "extract", counted)
    given = fields(
        dataset, tmp_path / "one", method="meta", warmup_epochs=..., num_train_epochs=2, model_fields=small,
        encoder_fields=...,
    )  # fmt: skip
    results = run(RunArguments.from_mapping(given))
    once = len(extracted)
    scored = results["scores"]
    assert results["data"]["labelled"] + sum(scored[split]["all"]["n"] for split in scored) <= once <= 40
    prepare(RunArguments.from_mapping(given | {"seed": 1, "output_dir": str(tmp_path / "two")}))
    assert len(extracted) == once  # another run finds them
    # The statistics are those of the training clips and nothing else, and travel with the model.
    saved = AutoFeatureExtractor.from_pretrained(tmp_path / "one/model")
    assert isinstance(saved, Acoustic32FeatureExtractor)
    train = load_split(dataset, "ipr-strict", "d1")
    waves = [decode(row["audio"]["bytes"]) for row in train if row["label"] >= 0]
    again = Acoustic32FeatureExtractor().fit(waves)
    np.testing.assert_allclose(saved.mean, again.mean, rtol=1e-6)
    np.testing.assert_allclose(saved.std, again.std, rtol=1e-6)
    # What was scored from stored frames is what model and extractor say of the waveforms.
    model, extractor, data, _ = load_for_scoring(str(tmp_path / "one/model"), dataset, "ipr-strict", "d3")
    logits = predict_logits(model, extractor, data)
    shown = read_columns(tmp_path / "one/predictions/d3.parquet")
    stored = np.stack([shown["probabilities"][list(shown["id"]).index(i)] for i in data.ids])
    np.testing.assert_allclose(torch.as_tensor(logits).softmax(-1), stored, rtol=1e-4, atol=1e-5)
    card = (tmp_path / "one/model/README.md").read_text()
    assert "32 acoustic features every 10 ms" in card and "encoder trained from scratch" not in card
    classify = pipeline("audio-classification", model=str(tmp_path / "one/model"), device="cpu")
    answer = {item["label"]: item["score"] for item in classify(waves[0], top_k=None)}
    with torch.no_grad():
        alone = model(**extractor([waves[0]], sampling_rate=16000)).logits.softmax(-1)[0]
    np.testing.assert_allclose([answer[model.config.id2label[c]] for c in range(4)], alone, rtol=1e-4)


def test_a_fold_shares_its_frames_with_the_others(tmp_path, monkeypatch):
    dataset = built(tmp_path, n=40, configs=("loso-strict",))
    configs = list(read_dataset_info(dataset)["configs"])[:3]
    extractor, extracted = Acoustic32FeatureExtractor(), []
    monkeypatch.setattr(
        Acoustic32FeatureExtractor, "extract", lambda self, wave: extracted.append(wave) or wave[:64].reshape(2, 32)
    )
    add = functools.partial(with_frames, extractor=extractor)
    for config in configs:
        for split in ("train", "test"):
            clips = load_split(dataset, config, split, add=add)
            for row in clips:
                np.testing.assert_array_equal(
                    read_frames(row["frames"]), decode(row["audio"]["bytes"])[:64].reshape(2, 32)
                )
    assert len(configs) == 3 and len(extracted) <= 40  # each clip once
    before = len(extracted)
    load_split(dataset, configs[0], "test", add=functools.partial(add, max_seconds=0.1))
    assert len(extracted) == 2 * before  # other clips: computed anew
