"""The MCIL trainer: several classifiers vote on ambiguous utterances and learn from what they have voted."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hf_ambiser.methods.mcil.arguments import MCILArguments
from hf_ambiser.methods.mcil.new_labels import counted, new_labels
from hf_ambiser.training.companions import CompanionTrainer
from hf_ambiser.training.fresh_start import begin_round, beginning
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.pseudo_labels import PseudoLabelTrainer
from hf_ambiser.training.sweep import sweep
from hf_ambiser.training.trainer import BatchRows, Outputs
from hf_ambiser.training.twin import add_twin, logits_of


ROUND = "round"
# The classifiers' seeds lie far apart, so that no classifier of this run is one of a run with another seed.
_SEED_STEP = 7_368_787


class MCILTrainer(CompanionTrainer, PseudoLabelTrainer):
    """Several classifiers learn the labelled utterances, vote on the ambiguous ones, and learn these votes.

    After the warm-up on labelled utterances every classifier answers every ambiguous one. Their votes are its new
    label, from which all of them learn. The first classifier is the model. It overrides `correct`, `extra_loss`,
    `epoch_finished` and `begin_epoch`. In the label table, `new_label` is the label of an ambiguous utterance and
    `classifier_votes` how many classifiers chose each class.
    """

    name = "mcil"
    arguments_class = MCILArguments
    summary = (
        "Multi-classifier interactive learning. Several classifiers learn from clips on which the raters agree; then"
        " they vote, as raters would, on ambiguous clips, whose real votes they never see, and each learns what all of"
        " them say. The first one is the model."
    )
    paper = Paper(
        key="zhou2022multi",
        authors=("Ying Zhou", "Xuefeng Liang", "Yu Gu", "Yifei Yin", "Longshan Yao"),
        title="Multi-Classifier Interactive Learning for Ambiguous Speech Emotion Recognition",
        year=2022,
        venue="IEEE/ACM Transactions on Audio, Speech, and Language Processing",
        arxiv="2012.05429",
    )
    suite_settings = {"warmup_epochs": 1, "relabel_epochs": 1}
    variants = {
        "majority_voting": {"new_label": "majority", "classifiers": 2},
        "afresh": {"new_label": "mean", "retrain": "afresh", "relabel_epochs": 0},
    }

    args: MCILArguments

    def set_up(self) -> None:
        """Make the other classifiers, and columns for the new labels and the votes behind them."""
        super().set_up()
        self.others = {
            f"classifier_{i}": add_twin(self, f"classifier_{i}", self.args.seed + i * _SEED_STEP, "other classifiers")
            for i in range(2, self.args.classifiers + 1)
        }
        self.table.add_column("new_label", torch.zeros_like(self.table.observed))
        self.table.add_column("classifier_votes", torch.zeros_like(self.table.observed).long())
        self.method_state[ROUND] = torch.tensor(0)
        if self.args.retrain == "afresh":
            for name, network in self._networks().items():
                self.method_state |= beginning(name, network)

    def _networks(self) -> dict[str, Any]:
        return {"classifier_1": self.model, **self.others}

    def round_of(self, epoch: int) -> int:
        """Return how often new labels were given before an epoch; 0 in the warm-up."""
        since = epoch - self.args.warmup_epochs
        if since < 0:
            return 0
        return 1 + (since // self.args.relabel_epochs if self.args.relabel_epochs else 0)

    @property
    def network_epochs(self) -> float:
        """Epochs, with their fraction, since the classifiers began: with `retrain="afresh"`, since the round began."""
        return super().network_epochs - self._began_before(self.epoch)

    def epochs_of_the_network(self, epochs: float) -> float:
        """Those of the last round, where each begins afresh."""
        return super().epochs_of_the_network(epochs) - self._began_before(math.ceil(epochs) - 1)

    def _began_before(self, epoch: int) -> int:
        """The epoch in which the classifiers began that learn in an epoch."""
        now = self.round_of(epoch)
        if self.args.retrain == "go_on" or now == 0:
            return 0
        return self.args.warmup_epochs + (now - 1) * self.args.relabel_epochs

    # ---- labels ------------------------------------------------------------------------------------------------

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Keep labelled rows; give ambiguous rows the label that the classifiers gave together, with weight beta."""
        targets, weights = super().correct(outputs, batch)
        given = self.table.columns["new_label"][batch.index]
        targets = torch.where(batch.ambiguous[:, None], given, targets)
        return targets, torch.where(batch.ambiguous, self.beta, weights)

    def epoch_finished(self, epoch: int) -> None:
        """Where a round ends, let all classifiers vote on all ambiguous utterances."""
        super().epoch_finished(epoch)
        if self.round_of(epoch + 1) == self.round_of(epoch):
            return
        rows = range(self.data.n_labelled, len(self.table))
        logits = sweep(self, [self.bare_model(), *self.others.values()], rows)
        index = torch.arange(rows.start, rows.stop)
        self.table.write(index, new_label=new_labels(logits, self.args.new_label), classifier_votes=counted(logits))

    def begin_epoch(self) -> None:
        """Before the first epoch with new labels, put the classifiers back to their beginnings, if they are to be."""
        super().begin_epoch()
        networks = self._networks() if self.args.retrain == "afresh" else {}
        begin_round(self, ROUND, self.round_of(self.epoch), networks)

    # ---- losses ------------------------------------------------------------------------------------------------

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        """Return the loss of the base class; in training, first compute the other classifiers' logits."""
        if "votes" not in inputs:
            self._others_logits = [logits_of(self, network, inputs) for network in self.others.values()]
        return super().compute_loss(model, inputs, *args, **kwargs)

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return the other classifiers' cross-entropies, on the same labels and weights as the first one's."""
        with torch.no_grad():
            targets, weights = self.correct(outputs, batch)
        groups, total = self.groups(batch), torch.zeros((), device=targets.device)
        for name, logits in zip(self.others, self._others_logits, strict=True):
            rows = self.balance.cross_entropy(logits, targets, weights, self.balanced_rows(batch))
            loss = sum((self.effective_mean(rows[groups[g]], g) for g in self.averaged_over), torch.zeros_like(total))
            self.record(**{f"loss_{name}": loss.detach()})
            total = total + loss
        return total
