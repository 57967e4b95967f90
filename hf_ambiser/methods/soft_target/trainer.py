"""Soft-target training (Ando et al. 2018) on shares of the votes that are smoothed by added votes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import AmbiSERTrainer, Outputs


@dataclass
class SoftTargetArguments(AmbiSERTrainingArguments):
    """Arguments of soft-target training.

    Raises:
        ValueError: If a value is not allowed, or votes are to be left out.
    """

    added_votes: float = field(
        default=1.0,
        metadata={
            "help": "alpha, above 0: votes (fractions, too) that each class gets beside those of the raters, so that"
            " the label of an utterance with few votes is flatter."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.added_votes > 0:
            raise ValueError(f"added_votes={self.added_votes} must be above 0; without added votes, take `soft_vote`.")
        if self.drop_raters:
            raise ValueError(
                f"drop_raters={self.drop_raters} leaves votes out of soft labels, and method 'soft_target' needs the"
                " numbers of all votes. Leave drop_raters out, or take soft_vote."
            )


class SoftTargetTrainer(AmbiSERTrainer):
    """Cross-entropy on `(n_k + alpha) / (n + alpha K)`, n_k being the votes for class k and n all of them.

    It overrides `correct`: `soft_vote` learns from `n_k / n`, which says the same of one vote as of ten for one class.
    """

    name = "soft_target"
    arguments_class = SoftTargetArguments
    target = "soft_label"
    summary = (
        "Cross-entropy on the shares of the raters' votes, after each emotion has been given the same small number of"
        " votes more. So the label of an utterance that few people have rated is less certain than its shares."
    )
    paper = Paper(
        key="ando2018soft",
        authors=(
            "Atsushi Ando",
            "Satoshi Kobashikawa",
            "Hosana Kamiyama",
            "Ryo Masumura",
            "Yusuke Ijima",
            "Yushi Aono",
        ),
        title="Soft-Target Training with Ambiguous Emotional Utterances for DNN-Based Speech Emotion Classification",
        year=2018,
        venue="ICASSP",
    )
    variants = {"few_added": {"added_votes": 0.1}}

    args: SoftTargetArguments

    def set_up(self) -> None:
        """Read how many votes each utterance has.

        Raises:
            ValueError: If an utterance has a soft label and no votes behind it.
        """
        super().set_up()
        shares = self.table.observed
        votes = torch.as_tensor(self.data.votes.sum(axis=1), dtype=torch.float32, device=shares.device)
        without = (votes == 0) & (shares.sum(dim=1) > 0)
        if without.any():
            raise ValueError(
                f"{int(without.sum())} utterances have a soft label and no votes, the first is"
                f" {self.data.ids[int(without.int().argmax())]!r}; method 'soft_target' needs the numbers of votes."
                " Build the data set from votes, or take soft_vote."
            )
        self._n_votes = votes

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Add `added_votes` to the votes for each class; targets `(B, K)`, weights `(B,)` of the base class."""
        shares, weights = super().correct(outputs, batch)
        n, alpha = self._n_votes[batch.index, None], self.args.added_votes
        # n shares are the votes; under a model of the raters they are its label, with the weight of as many votes.
        return (n * shares + alpha) / (n + alpha * shares.shape[1]), weights
