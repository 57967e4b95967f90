"""The DAAN trainer: one discriminator for all utterances, one for each class, and how they share the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hf_ambiser.methods.daan.arguments import DAANArguments
from hf_ambiser.methods.daan.factor import next_omega
from hf_ambiser.training.adversaries import AdversaryTrainer, domain_cross_entropy, reverse_gradient
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.companions import in_float32
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import Outputs


class ClassDiscriminators(nn.Module):
    """One discriminator for each class; that of class c sees the embedding times the probability of c."""

    def __init__(self, discriminators: list[nn.Module]) -> None:
        super().__init__()
        self.of_class = nn.ModuleList(discriminators)

    def forward(self, embedding: Tensor, probability: Tensor) -> Tensor:
        """(B, D), (B, K) -> logits (B, K): above 0 it says that the utterance is ambiguous."""
        parts = [one(probability[:, c : c + 1] * embedding) for c, one in enumerate(self.of_class)]
        return torch.cat(parts, dim=1)


class DAANTrainer(AdversaryTrainer):
    """Trains a global and K class-wise domain discriminators, whose reversed gradients make the domains alike.

    The loss is `(1 - omega) L_g + omega L_l`. `method_state` has omega and, of the running epoch, the sums of the
    discriminators' mistakes and the number of utterances in each domain, of which the end of the epoch makes the next
    omega.
    """

    name = "daan"
    arguments_class = DAANArguments
    summary = (
        "Dynamic adversarial adaptation (DAAN). As in domain-adversarial training, networks learn to tell ambiguous"
        " clips, whose votes are never seen, from clear ones, and the model learns to prevent it. One of them sees all"
        " clips, and one for each emotion sees what the model takes for it. How much each kind counts is adjusted"
        " after every epoch."
    )
    paper = Paper(
        key="yu2019transfer",
        authors=("Chaohui Yu", "Jindong Wang", "Yiqiang Chen", "Meiyu Huang"),
        title="Transfer Learning with Dynamic Adversarial Adaptation Network",
        year=2019,
        venue="ICDM",
        arxiv="1909.08184",
    )
    suite_settings = {"discriminator_size": 8, "discriminator_dropout": 0.0}  # its literal twin has no dropout
    variants = {
        "as_printed": {"omega": "global_share", "domain_distance": "loss"},
        "fixed": {"omega": "fixed", "domain_schedule": "constant"},
        "reversed_probabilities": {"reverse_probabilities": True, "discriminator_dropout": 0.1},
    }

    args: DAANArguments

    def set_up(self) -> None:
        """Make the discriminators and the state of omega."""
        super().set_up()
        k, device = self.table.observed.shape[1], self.table.observed.device
        rate = self.args.discriminator_rate
        self.whole = self.add_companion("global_discriminator", self.discriminator, rate=rate)
        self.by_class = self.add_companion(
            "class_discriminators",
            lambda: ClassDiscriminators([self.discriminator() for _ in range(k)]),
            rate=rate,
        )
        self.method_state |= {
            "omega": torch.tensor(self.args.omega_start, device=device),
            "mistakes": torch.zeros(2, 1 + k, device=device),
            "domain_counts": torch.zeros(2, device=device),
        }
        self._mistakes: Tensor | None = None  # of the micro-batch that is trained on

    def domain_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor:
        """Return `(1 - omega) L_g + omega L_l` (Eq. 4, 5, 10), means over the utterances of both domains."""
        probability = torch.softmax(outputs.logits.float(), dim=-1)
        if self.args.reverse_probabilities:
            probability = reverse_gradient(probability, self.domain_weight)
        else:
            probability = probability.detach()
        embedding = reverse_gradient(self.embedding(outputs), self.domain_weight)
        said = torch.cat([in_float32(self.whole, embedding), in_float32(self.by_class, embedding, probability)], dim=1)
        loss = domain_cross_entropy(said, batch)
        wrong = ((said > 0) == batch.labelled[:, None]).float()
        self._mistakes = (loss if self.args.domain_distance == "loss" else wrong).detach()
        omega = self.method_state["omega"].clone()
        self.record(omega=omega)
        return self.effective_mean((1 - omega) * loss[:, 0] + omega * loss[:, 1:].sum(dim=1), "all")

    def observe(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Add what the discriminators got wrong to the rows of the base class."""
        rows = super().observe(outputs, batch, targets, weights)
        mistakes, self._mistakes = self._mistakes, None
        return rows if mistakes is None else {**rows, "mistakes": mistakes}

    def update_state(self, rows: dict[str, Tensor]) -> None:
        """Add the mistakes of this step to those of the epoch."""
        super().update_state(rows)
        if "mistakes" not in rows:
            return
        batch = BatchRows(rows["index"], rows["role"])
        for domain, members in enumerate((batch.labelled, batch.ambiguous)):
            self.method_state["mistakes"][domain] += rows["mistakes"][members].sum(dim=0)
            self.method_state["domain_counts"][domain] += members.sum()

    def epoch_finished(self, epoch: int) -> None:
        """Set omega by the mistakes of this epoch, and begin to count anew."""
        state = self.method_state
        if self.args.omega != "fixed" and (state["domain_counts"] > 0).all():
            state["omega"].copy_(next_omega(state["omega"], self._mean_mistakes(), self.args.omega == "local_share"))
        state["mistakes"].zero_()
        state["domain_counts"].zero_()

    def _mean_mistakes(self) -> Tensor:
        """Return the mean loss over all utterances, or the error with both domains counting the same, `(1 + K,)`.

        If domains counted by their size, a discriminator that always names the larger one would seem to tell them
        apart.
        """
        mistakes, counts = self.method_state["mistakes"], self.method_state["domain_counts"]
        if self.args.domain_distance == "loss":
            return mistakes.sum(dim=0) / counts.sum()
        return (mistakes / counts[:, None]).mean(dim=0)
