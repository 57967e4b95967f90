"""The trainer: the loss is that of each rater's own answer, through the rater's layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hf_ambiser.methods.rater_confusion.answers import policy_of, read_answers
from hf_ambiser.methods.rater_confusion.arguments import RaterConfusionArguments
from hf_ambiser.methods.rater_confusion.layers import CommonConfusion, CrowdLayer
from hf_ambiser.models import class_names
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.companions import CompanionTrainer
from hf_ambiser.training.objective_trainer import ObjectiveTrainer
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import Outputs


class RaterConfusionTrainer(CompanionTrainer, ObjectiveTrainer):
    """Learns from each rater's answer through a layer that says how this rater confuses emotions.

    The network's answer p is what all raters would hear if none confused anything. The layers stand above it in
    training alone; the model that is saved answers p.
    """

    name = "rater_confusion"
    arguments_class = RaterConfusionArguments
    target = "soft_label"
    summary = (
        "Every rater has a small layer of their own above the network, which learns how this rater confuses emotions,"
        " and the network learns from the single answers through these layers. The model is the network without them."
    )
    paper = Paper(
        key="rodrigues2018deep",
        authors=("Filipe Rodrigues", "Francisco C. Pereira"),
        title="Deep Learning from Crowds",
        year=2018,
        venue="AAAI",
        arxiv="1709.01779",
    )
    variants = {"conal": {"form": "conal"}}
    exceptions = {
        "learns": (
            "entries of W_r p lie between 0 and 1 at first, so no answer can be sure, and in the suite's few steps the"
            " layers learn more than the network; CoNAL's matrices begin twice as large, and that is tested",
            {"form": "conal"},
        )
    }

    args: RaterConfusionArguments

    def set_up(self) -> None:
        """Read the raters' answers and make their layers.

        Raises:
            ValueError: If an answer does not name its rater, or the answers are not the votes.
        """
        super().set_up()
        data, device = self.data, self.table.observed.device
        classes = class_names(self.bare_model().config)
        votes = data.votes
        answers = read_answers(data.ids, data.ratings, votes, policy_of(data.labelled_sources, classes))
        # Each utterance's answers side by side; where it has fewer than the others, answers without a vote.
        n_answers = np.bincount(answers.utterance, minlength=len(votes))
        place = np.arange(len(answers.utterance)) - np.repeat(np.cumsum(n_answers) - n_answers, n_answers)
        rater = np.zeros((len(votes), n_answers.max()), dtype=np.int64)
        answer = np.zeros((*rater.shape, votes.shape[1]), dtype=np.float32)
        rater[answers.utterance, place], answer[answers.utterance, place] = answers.rater, answers.votes
        self._rater, self._answer = torch.from_numpy(rater).to(device), torch.from_numpy(answer).to(device)
        self._votes_each = float(answers.votes.sum() / (n_answers > 0).sum())
        sizes = len(answers.raters), votes.shape[1]
        common = (self.embedding_size(), self.args.common_size) if self.args.form == "conal" else None
        self.layers = self.add_companion(
            "raters", lambda: CommonConfusion(*sizes, *common) if common else CrowdLayer(*sizes),
            what="layers of the raters", rate=self.args.rater_rate,
        )  # fmt: skip

    def row_loss(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the loss of each row `(B,)` as the base class does; for `conal`, keep the embeddings first."""
        # Without gradient: the utterance decides what its raters have in common, and is not changed to please that.
        self._embedding = outputs.embedding.detach() if self.args.form == "conal" else None
        return super().row_loss(outputs, batch, targets, weights)

    def criterion(self, logits: Tensor, targets: Tensor, batch: BatchRows) -> Tensor:
        """Return the cross-entropy of the answers to each row, `(B,)` in nats.

        It is the sum over an utterance's answers, divided by the mean number of votes of a training utterance.
        """
        rater, answer = self._rater[batch.index], self._answer[batch.index]
        with torch.autocast(device_type=logits.device.type, enabled=False):
            embedding = None if self.args.form != "conal" or self._embedding is None else self._embedding.float()
            expected = self.layers(logits.float().softmax(dim=-1), rater, embedding)
            return -(answer * F.log_softmax(expected, dim=-1)).sum(dim=(1, 2)) / self._votes_each

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return, for `conal`, minus lambda times the raters' distance from what they have in common."""
        if self.args.form != "conal" or self.args.own_confusion == 0:
            return 0.0
        distance: Any = self.layers.own_confusion()
        self.record(own_confusion=distance.detach())
        return -self.args.own_confusion * distance

    def trajectory_tensors(self) -> dict[str, Tensor]:
        """Return `rater_confusion (R, K, K)`: in row c, what a rater answers where the network is sure of class c.

        Raters stand in the order of their names. With `conal` it is the part that is the rater's own.
        """
        return {"rater_confusion": self.layers.matrices().softmax(dim=1).transpose(1, 2)}
