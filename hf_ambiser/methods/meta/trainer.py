"""The meta trainer, which alternates between epochs of the network and epochs of the labels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Sampler
from transformers import TrainerCallback

from hf_ambiser.methods.meta.arguments import MetaArguments
from hf_ambiser.methods.meta.figures import mean_weights, plot_moved_labels, plot_weights, share_moved
from hf_ambiser.methods.meta.learnt_state import learnt_state
from hf_ambiser.methods.meta.sampling import BalancedSampler
from hf_ambiser.methods.meta.state import (
    RowOptimizer,
    balanced,
    gradients,
    initial_weights,
    moved_weight,
    with_mean_one,
)
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import AmbiSERTrainer, Outputs


class MetaTrainer(AmbiSERTrainer):
    """In one epoch the network learns, in the next one the labels and weights of the utterances do (Algorithm 1).

    An utterance has label logits l and a weight w. Its loss is the cross-entropy between softmax(l) and the
    prediction, divided by w (Eq. 6-7). Epochs 0, 2, ... are network epochs; epochs 1, 3, ... are label epochs. In a
    label epoch the network is fixed and has no dropout and no gradient; l and w of each utterance take one step down
    their own gradient.

    It runs with any model family. It overrides `correct`, `observe`, `update_state`, `epoch_finished`,
    `training_step`. With `learn_labels=False, learn_weights=False` it is `hard_vote` with the class weights of Eq. 4.
    """

    name = "meta"
    arguments_class = MetaArguments
    model_family = "blstm"
    summary = (
        "Meta-learned labels and weights. Every training clip has a label and a weight of its own that are learnt,"
        " too: for one epoch the model learns from them, in the next one they move towards what it says, so that"
        " labels that are taken for mistakes change and clips that stay hard count less."
    )
    paper = Paper(
        key="fujioka2019addressing",
        authors=("Takuya Fujioka", "Dario Bertero", "Takeshi Homma", "Kenji Nagamatsu"),
        title="Addressing Ambiguity of Emotion Labels through Meta-Learning",
        year=2019,
        venue="arXiv",
        arxiv="1911.02216",
    )
    suite_settings = {"label_scale": 3.0}
    variants = {
        "attention_baseline": {"learn_labels": False, "learn_weights": False},
        "labels": {"learn_weights": False},
        "weights": {"learn_labels": False},
        "soft_target": {"initial_labels": "soft", "learn_labels": False, "learn_weights": False},
        "soft_labels": {"initial_labels": "soft", "label_scale": 6.0},
        "over_sampling": {"sampling": "over", "learn_labels": False, "learn_weights": False},
        "under_sampling": {"sampling": "under", "learn_labels": False, "learn_weights": False},
        "adam": {"state_optimizer": "adam", "label_learning_rate": 0.3},
        "table3": {"initial_weights": "table3"},
        "expected_weights": {"initial_weights": "expected", "initial_labels": "soft", "label_scale": 6.0},
        "keep_balance": {"keep_balance": True},
        "label_rate_by_weight": {"label_rate_by_weight": True},
        "class_weights": {
            "initial_labels": "soft",
            "initial_weights": "ones",
            "learn_labels": False,
            "learn_weights": False,
            "class_weights": "inverse_frequency",
            "class_weight_form": "class",
        },
    }

    args: MetaArguments

    def set_up(self) -> None:
        """Add columns: `label_logits` (N, K), `w` (N,), their moments, and each row's number of label epochs."""
        labels = self.table.observed
        form = "ones" if self.args.sampling != "none" else self.args.initial_weights
        columns = {"w": initial_weights(labels, form), "label_epochs": torch.zeros_like(labels[:, 0]).long()}
        self.row_optimizer = RowOptimizer(self.args.state_optimizer)
        if self.args.learn_labels:
            columns["label_logits"] = labels * self.args.label_scale
            columns |= self.row_optimizer.columns("label_logits", labels)
        if self.args.labels_from is not None:
            columns |= self._learnt_before()
        if self.args.learn_weights:
            columns |= self.row_optimizer.columns("w", columns["w"])
        for name, values in columns.items():
            self.table.add_column(name, values)
        classes = labels.argmax(dim=1)
        self._initial_w = torch.stack([columns["w"][classes == c].mean() for c in range(labels.shape[1])])
        self._show()
        if self.args.alternates:
            self.add_callback(_NothingNewToEvaluate(self))

    def _learnt_before(self) -> dict[str, Tensor]:
        """Return the columns that another run has learnt; `given_label (N, K)` replaces the label of the data."""
        run = Path(str(self.args.output_dir))
        learnt = learnt_state(str(self.args.labels_from), run, self.table.ids)
        learnt = {name: values.to(self.table.observed.device) for name, values in learnt.items()}
        columns = {"w": learnt["w"], "given_label": learnt["target"]}
        if self.args.learn_labels:
            columns["label_logits"] = learnt.get("label_logits", learnt["target"] * self.args.label_scale)
        return columns

    def is_label_epoch(self, epoch: int) -> bool:
        """Whether an epoch updates labels and weights instead of the network."""
        return self.args.alternates and epoch % 2 == 1

    def epochs_of_the_network(self, epochs: float) -> float:
        """Without a label epoch at the end."""
        last = math.ceil(epochs) - 1
        return float(last) if self.is_label_epoch(last) else epochs

    def check_epochs(self, epochs: float) -> None:
        """Refuse a training without a label epoch, too."""
        super().check_epochs(epochs)
        if self.args.alternates and epochs <= 1:
            raise ValueError(
                f"meta learns labels and weights in every second epoch, and the run has {epochs:g}: it would never do"
                " so. Train for two epochs or more (num_train_epochs, max_steps), or set learn_labels and"
                " learn_weights to False."
            )

    # ---- the network's epochs ----------------------------------------------------------------------------------

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Return softmax(l) (or the data's labels, if none are learnt) and the weight 1 / w; Eq. 6-7."""
        return self._labels(batch.index), 1 / self.table.columns["w"][batch.index]

    def _labels(self, index: Tensor | slice) -> Tensor:
        """Return the current targets `(n, K)`, s of Eq. 7."""
        if self.args.learn_labels:
            return torch.softmax(self.table.columns["label_logits"][index], dim=1)
        return self.table.columns.get("given_label", self.table.observed_in(self.epoch))[index]

    # ---- the labels' epochs ------------------------------------------------------------------------------------

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Train on a micro-batch as the Trainer does; in a label epoch only predict, without gradient and dropout.

        Then the optimiser's step finds no gradient, and leaves the parameters and its own state as they are.
        """
        if not self.is_label_epoch(self.epoch):
            return super().training_step(model, inputs, num_items_in_batch)
        model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss / self.current_gradient_accumulation_steps

    def observe(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """In a label epoch, add the network's log-probabilities to the rows of the base class."""
        rows = super().observe(outputs, batch, targets, weights)
        if self.is_label_epoch(self.epoch):
            rows["log_probability"] = F.log_softmax(self.balance.logits(outputs.logits).float(), dim=1)
        return rows

    def update_state(self, rows: dict[str, Tensor]) -> None:
        """In a label epoch, take one step of l and w for each row that has not had its step in this epoch.

        The last step of an epoch is filled up with utterances that have already had theirs.
        """
        if not self.is_label_epoch(self.epoch):
            super().update_state(rows)
            return
        columns, turn = self.table.columns, self.epoch // 2 + 1
        due = columns["label_epochs"][rows["index"]] < turn
        index, log_probability = rows["index"][due], rows["log_probability"][due]
        row = {name: column[index] for name, column in columns.items()}
        steps = row["label_epochs"] + 1
        of_logits, of_log_weight = gradients(rows["target"][due], row["w"], log_probability)
        new: dict[str, Tensor] = {"label_epochs": steps}
        step = self.row_optimizer.step
        if self.args.label_rate_by_weight:
            of_logits = of_logits * row["w"][:, None]
        if self.args.learn_labels:
            change, moments = step("label_logits", of_logits, self.args.label_learning_rate, row, steps)
            new |= {"label_logits": row["label_logits"] + change, **moments}
        if self.args.learn_weights:
            change, moments = step("w", of_log_weight, self.args.weight_learning_rate, row, steps)
            new |= {"w": moved_weight(row["w"], change), **moments}
        self.table.write(index, **new)

    def epoch_finished(self, epoch: int) -> None:
        """After a label epoch, scale w (Eq. 8, or `keep_balance`) and update the table's targets and weights."""
        if not self.is_label_epoch(epoch):
            return
        w = self.table.columns["w"]
        if self.args.keep_balance:
            w.copy_(balanced(w, self.table.observed.argmax(dim=1), self._initial_w.to(w.device)))
        elif self.args.learn_weights:
            w.copy_(with_mean_one(w))
        self._show()

    def _show(self) -> None:
        """Write into the table the `target` and `weight` from which the next network epoch learns."""
        self.table.show(torch.arange(len(self.table)), self.epoch)
        self.table.columns["target"].copy_(self._labels(slice(None)))
        self.table.columns["weight"].copy_(1 / self.table.columns["w"])

    # ---- what it draws and shows -------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        if self.args.sampling == "none":
            return super()._get_train_sampler(train_dataset)
        self._sampler = BalancedSampler(
            self.table.observed.argmax(dim=1).cpu().numpy(),
            self.args.sampling,
            self.data.labelled_durations,
            effective_batch=self._effective_batch(),
            ambiguous_per_step=self.ambiguous_per_step,
            seed=self.args.seed,
            length_grouping=self.args.length_grouping,
        )
        return self._sampler

    def trajectory_tensors(self) -> dict[str, Tensor]:
        """Return `initial_w` `(K,)`, the mean w of each class before training, for the paper's Table 3."""
        return {"initial_w": self._initial_w}

    @classmethod
    def draw_figures(cls, run: Path, out: Path, classes: list[str]) -> dict[str, str]:
        """Draw the paper's Figure 3 and Table 3, if labels and weights were learnt."""
        figures = {}
        if (shares := share_moved(run)) is not None:
            plot_moved_labels(shares, out / "moved_labels.png", classes)
            figures["moved_labels.png"] = (
                "Share of each class's training clips (row) whose learnt label is of which class (column)."
            )
        if (means := mean_weights(run)) is not None:
            plot_weights(means, out / "weights.png", classes)
            figures["weights.png"] = (
                "Mean weight w of each class's training clips before and after training. Losses are divided by it: a"
                " lower one means that the clips count more."
            )
        return figures


class _NothingNewToEvaluate(TrainerCallback):
    """In a label epoch, skips the evaluation of a network that has been evaluated: patience must not count it twice.

    One that has not been is evaluated: with `eval_steps` of two epochs, every evaluation falls on a label epoch.
    """

    def __init__(self, trainer: MetaTrainer) -> None:
        self.trainer = trainer

    def _skip(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The Trainer has already advanced its epoch count: the end of epoch 1 is 2.0, its middle 1.5.
        epoch = math.ceil(state.epoch) - 1
        if control.should_evaluate and self.trainer.is_label_epoch(epoch):
            evaluated = any("eval_loss" in entry and entry["epoch"] >= epoch for entry in state.log_history)
            control.should_evaluate = not evaluated

    on_step_end = on_epoch_end = _skip
