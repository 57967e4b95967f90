"""The DivideMix trainer: each network divides the labels for the other, and both relabel what is not sure."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hf_ambiser.methods.divide_mix.arguments import DivideMixArguments
from hf_ambiser.methods.divide_mix.mixture import clean_probability
from hf_ambiser.methods.divide_mix.new_labels import guessed, refined
from hf_ambiser.training.companions import CompanionTrainer
from hf_ambiser.training.losses import soft_cross_entropy
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.sweep import sweep
from hf_ambiser.training.trainer import BatchRows, Outputs
from hf_ambiser.training.twin import add_twin, logits_of


# Of each network: the column with the probability that a label is clean, which the other network's losses give.
CLEAN = {"": "clean_probability", "peer_": "peer_clean_probability"}


class DivideMixTrainer(CompanionTrainer):
    """Two networks; the losses of each divide the labels, clean from noisy, for the other.

    After the warm-up, an utterance whose label is clean keeps it, mixed with the network's answer by how sure that is;
    one whose label is noisy gets what both networks answer. The first network is the model. It overrides `groups`,
    `correct`, `extra_loss` and `epoch_finished`. In the label table, `loss` and `peer_loss` are the two networks'
    cross-entropies at the end of the last epoch, `clean_probability` and `peer_clean_probability` what follows for the
    first and the second network.
    """

    name = "divide_mix"
    arguments_class = DivideMixArguments
    averaged_over = ("clean",)
    summary = (
        "Two networks are trained side by side. After each epoch the losses of one say, for the other, which consensus"
        " labels are probably wrong; clips with such labels get what both networks answer instead."
    )
    paper = Paper(
        key="li2020dividemix",
        authors=("Junnan Li", "Richard Socher", "Steven C. H. Hoi"),
        title="DivideMix: Learning with Noisy Labels as Semi-supervised Learning",
        year=2020,
        venue="ICLR",
        arxiv="2002.07394",
    )
    # The suite has clean labels; its three epochs warm up, divide, and learn from noisy labels, too.
    suite_settings = {"warmup_epochs": 1, "ramp_epochs": 1, "noisy_weight": 5.0}
    exceptions = {
        "learns": (
            "after one epoch the losses do not tell clean labels from noisy ones yet, so the labels of many clips are"
            " dropped before they are learnt; after eight epochs they do, and that is tested",
            {"warmup_epochs": 8, "num_train_epochs": 11},
        )
    }

    args: DivideMixArguments

    def set_up(self) -> None:
        """Make the second network, and columns for losses and probabilities; at first all labels are clean."""
        super().set_up()
        self.peer = add_twin(self, "peer", self.args.seed, "second network")
        weight = self.table.columns["weight"]
        for name in CLEAN.values():
            self.table.add_column(name, torch.ones_like(weight))
        for name in ("loss", "peer_loss"):
            self.table.add_column(name, torch.zeros_like(weight))

    # ---- division ----------------------------------------------------------------------------------------------

    def groups(self, batch: BatchRows) -> dict[str, Tensor]:
        """Add the rows whose labels are clean, and noisy, to each network."""
        groups = super().groups(batch)
        for network, column in CLEAN.items():
            clean = self.table.columns[column][batch.index.to(self.table.observed.device)].to(batch.index.device)
            kept = clean >= self.args.clean_probability
            groups |= {f"{network}clean": batch.labelled & kept, f"{network}noisy": batch.labelled & ~kept}
        return groups

    def balanced_rows(self, batch: BatchRows) -> Tensor:
        """Return the rows with clean labels; the others' labels are the networks' own."""
        return self.groups(batch)["clean"]

    @property
    def counted_after(self) -> float:
        """The warm-up divides nothing."""
        return self.args.warmup_epochs

    def epoch_finished(self, epoch: int) -> None:
        """From the end of the warm-up on, divide all labels by the losses of both networks."""
        super().epoch_finished(epoch)
        if epoch + 1 < self.args.warmup_epochs:
            return
        targets = self.table.observed[: self.data.n_labelled]
        logits = sweep(self, [self.bare_model(), self.peer], range(len(targets)))
        loss, peer_loss = (soft_cross_entropy(self.balance.logits(z), targets) for z in logits)
        new = {"loss": loss, "peer_loss": peer_loss}
        new |= {CLEAN[""]: clean_probability(peer_loss), CLEAN["peer_"]: clean_probability(loss)}
        self.table.write(torch.arange(len(targets)), **new)

    # ---- labels ------------------------------------------------------------------------------------------------

    @property
    def ramp(self) -> float:
        """Share of `noisy_weight` in the running epoch, from 0 in the first one after the warm-up to 1."""
        return min(max((self.epoch - self.args.warmup_epochs) / self.args.ramp_epochs, 0.0), 1.0)

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Return the first network's labels: refined where clean, guessed where noisy, with the ramp as weight."""
        return self._labels(outputs.logits, self._peer_logits, batch, "")

    def _labels(self, own: Tensor, other: Tensor, batch: BatchRows, network: str) -> tuple[Tensor, Tensor]:
        own, other = own.detach().float().softmax(dim=-1), other.detach().float().softmax(dim=-1)
        observed, clean = self.table.observed[batch.index], self.table.columns[CLEAN[network]][batch.index]
        kept, temperature = self.groups(batch)[f"{network}clean"], self.args.sharpening
        kept_labels = refined(observed, clean, own, temperature)
        targets = torch.where(kept[:, None], kept_labels, guessed(own, other, temperature))
        return targets, torch.where(kept, 1.0, self.ramp)

    # ---- losses ------------------------------------------------------------------------------------------------

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        """Return the loss of the base class; in training, first compute the second network's logits."""
        if "votes" not in inputs:
            self._peer_logits = logits_of(self, self.peer, inputs)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return both networks' losses of noisy rows, and the second network's cross-entropy of clean ones."""
        with torch.no_grad():
            targets, weights = self.correct(outputs, batch)
            peer_targets, peer_weights = self._labels(self._peer_logits, outputs.logits, batch, "peer_")
        groups = self.groups(batch)
        rows = self.balance.cross_entropy(self._peer_logits, peer_targets, peer_weights, groups["peer_clean"])
        peer = self.effective_mean(rows[groups["peer_clean"]], "peer_clean")
        noisy = self._noisy_loss(outputs.logits, targets, weights, groups, "noisy")
        peer_noisy = self._noisy_loss(self._peer_logits, peer_targets, peer_weights, groups, "peer_noisy")
        self.record(loss_peer=peer.detach(), loss_noisy=noisy.detach(), loss_peer_noisy=peer_noisy.detach())
        return peer + noisy + peer_noisy

    def _noisy_loss(
        self, logits: Tensor, targets: Tensor, weights: Tensor, groups: dict[str, Tensor], group: str
    ) -> Tensor:
        squared = (logits.float().softmax(dim=-1) - targets).square().mean(dim=-1)
        return self.args.noisy_weight * self.effective_mean((weights * squared)[groups[group]], group)
