"""The DANN trainer: a discriminator learns to tell ambiguous from clear utterances, the model learns to prevent it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hf_ambiser.training.adversaries import (
    AdversaryArguments,
    AdversaryTrainer,
    domain_cross_entropy,
    reverse_gradient,
)
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.companions import in_float32
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import Outputs


@dataclass
class DANNArguments(AdversaryArguments):
    """Arguments of `DANNTrainer`: those of every method with domain discriminators."""


class DANNTrainer(AdversaryTrainer):
    """Trains one domain discriminator on the embedding; its reversed gradient makes the domains alike.

    The discriminator learns at full weight from the beginning. lambda, `domain_weight` times the schedule, is the
    factor of the reversed gradient alone.
    """

    name = "dann"
    arguments_class = DANNArguments
    summary = (
        "Domain-adversarial training (DANN). The model learns from clips on which the raters agree. A second network"
        " learns to tell ambiguous clips, whose votes are never seen, from clear ones by the model's embedding, and"
        " the model learns embeddings by which it cannot."
    )
    paper = Paper(
        key="ganin2016domain",
        authors=(
            "Yaroslav Ganin",
            "Evgeniya Ustinova",
            "Hana Ajakan",
            "Pascal Germain",
            "Hugo Larochelle",
            "François Laviolette",
            "Mario Marchand",
            "Victor Lempitsky",
        ),
        title="Domain-Adversarial Training of Neural Networks",
        year=2016,
        venue="Journal of Machine Learning Research",
        arxiv="1505.07818",
    )
    suite_settings = {"discriminator_size": 8}
    variants = {
        "constant": {"domain_schedule": "constant", "domain_weight": 0.5},
        "quick_discriminator": {"discriminator_rate": 5.0, "discriminator_dropout": 0.1},
    }

    def set_up(self) -> None:
        """Make the discriminator."""
        super().set_up()
        rate = self.args.discriminator_rate
        self.adversary = self.add_companion("domain_discriminator", self.discriminator, rate=rate)

    def domain_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor:
        """Return the discriminator's mean cross-entropy on labelled utterances plus that on ambiguous ones."""
        said = in_float32(self.adversary, reverse_gradient(self.embedding(outputs), self.domain_weight)).squeeze(1)
        loss = domain_cross_entropy(said, batch)
        parts = {"labelled": loss[batch.labelled], "ambiguous": loss[batch.ambiguous]}
        return sum((self.effective_mean(part, name) for name, part in parts.items()), loss.new_zeros(()))
