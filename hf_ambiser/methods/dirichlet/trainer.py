"""A Dirichlet distribution for each utterance (Wu et al. 2022), trained on the likelihood of all its votes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_ambiser.methods.dirichlet.likelihood import distance_to_uniform, negative_log_likelihood
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.objective_trainer import ObjectiveTrainer
from hf_ambiser.training.papers import Paper


@dataclass
class DirichletArguments(AmbiSERTrainingArguments):
    """Arguments of the Dirichlet prior network.

    Raises:
        ValueError: If a value is not allowed.
    """

    evidence_penalty: float = field(
        default=0.0,
        metadata={
            "help": "Weight, 0 or more, of KL(Dir(alpha) | uniform Dirichlet), which keeps the network from claiming"
            " to know what it was not taught."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.evidence_penalty >= 0:
            raise ValueError(f"evidence_penalty={self.evidence_penalty} must be 0 or more.")
        if self.drop_raters:
            raise ValueError(
                f"drop_raters={self.drop_raters} leaves votes out of soft labels, and method 'dirichlet' learns from"
                " the numbers of all votes. Leave drop_raters out, or take soft_vote."
            )


class DirichletTrainer(ObjectiveTrainer):
    """The logits are log alpha of a Dirichlet distribution; the loss is minus the log likelihood of all votes.

    The softmax of the logits is the distribution's mean, so everything that reads answers reads this model's, too.
    """

    name = "dirichlet"
    arguments_class = DirichletArguments
    target = "soft_label"
    summary = (
        "For each utterance the network gives a Dirichlet distribution over the shares of the votes, and it learns"
        " from the likelihood of all votes. Its answer is the mean; its width says how sure the network is of it."
    )
    paper = Paper(
        key="wu2022estimating",
        authors=("Wen Wu", "Chao Zhang", "Xixin Wu", "Philip C. Woodland"),
        title="Estimating the Uncertainty in Emotion Class Labels with Utterance-Specific Dirichlet Priors",
        year=2022,
        venue="IEEE Transactions on Affective Computing",
        arxiv="2203.04443",
    )
    variants = {"penalised": {"evidence_penalty": 0.1}}

    args: DirichletArguments

    def set_up(self) -> None:
        """Read the numbers of votes of all utterances.

        Raises:
            ValueError: If an utterance has a soft label and no votes behind it.
        """
        super().set_up()
        self._votes = torch.as_tensor(self.data.votes, dtype=torch.float32, device=self.table.observed.device)
        without = (self._votes.sum(dim=1) == 0) & (self.table.observed.sum(dim=1) > 0)
        if without.any():
            raise ValueError(
                f"{int(without.sum())} utterances have a soft label and no votes, the first is"
                f" {self.data.ids[int(without.int().argmax())]!r}; method 'dirichlet' learns from the numbers of"
                " votes. Build the data set from votes, or take soft_vote."
            )

    def objective(self, logits: Tensor, targets: Tensor, batch: BatchRows) -> Tensor:
        """Return -log P(votes | alpha) and the penalty of each row, `(B,)` in nats."""
        loss = negative_log_likelihood(logits, self._votes[batch.index])
        if self.args.evidence_penalty > 0:
            loss = loss + self.args.evidence_penalty * distance_to_uniform(logits)
        return loss
