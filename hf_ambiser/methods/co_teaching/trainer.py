"""The co-teaching trainer: how each network selects for the other, and how the second network is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hf_ambiser.methods.co_teaching.arguments import CoTeachingArguments
from hf_ambiser.methods.co_teaching.selection import easiest, keep_rate
from hf_ambiser.training.companions import CompanionTrainer
from hf_ambiser.training.distributed import gather_rows, world_size
from hf_ambiser.training.losses import soft_cross_entropy
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import BatchRows, Outputs
from hf_ambiser.training.twin import add_twin, logits_of


class CoTeachingTrainer(CompanionTrainer):
    """Two networks; each learns only from the utterances that the other one finds easiest.

    Networks fit clean labels before noisy ones, so an utterance with a small loss probably has a clean label. Each
    network selects for the other, because a network that selected for itself would confirm its own mistakes. The first
    network is saved and scored. In the label table, `weight` is the weight that it learnt with, `peer_weight` that of
    the second network; `loss` and `peer_loss` are their cross-entropies when the utterance was last seen.

    The optimiser holds the second network's parameters beside those of the first, and the losses are added. So both
    networks share optimiser, learning rate, weight decay, skipped steps and gradient scaling without further code.
    Selection has no gradient, so neither network gets a gradient from the other.

    It overrides `correct`, `extra_loss`, `observe`, `update_state`. With `forget_rate=0` the first network is that of
    `hard_vote`.
    """

    name = "co_teaching"
    arguments_class = CoTeachingArguments
    averaged_over = ("kept",)
    summary = (
        "Co-teaching. Two networks are trained side by side on the raters' consensus labels; at each step each of them"
        " learns only from the clips that the other one finds easiest, because wrong labels are hard to fit. The"
        " first one is the model."
    )
    paper = Paper(
        key="han2018coteaching",
        authors=(
            "Bo Han",
            "Quanming Yao",
            "Xingrui Yu",
            "Gang Niu",
            "Miao Xu",
            "Weihua Hu",
            "Ivor Tsang",
            "Masashi Sugiyama",
        ),
        title="Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels",
        year=2018,
        venue="NeurIPS",
        arxiv="1804.06872",
    )
    # The suite has clean labels and batches of 8; its three epochs keep 8, 7 and 6 utterances of a batch.
    suite_settings = {"forget_rate": 0.25, "ramp_epochs": 2}
    variants = {"whole_epoch": {"select": "epoch"}}

    args: CoTeachingArguments

    def set_up(self) -> None:
        """Make the second network, and columns for both networks' weights and losses."""
        super().set_up()
        self.peer = add_twin(self, "peer", self.args.seed, "second network")
        weight = self.table.columns["weight"]
        self.table.add_column("peer_weight", weight.clone())
        self.table.add_column("loss", torch.zeros_like(weight))
        self.table.add_column("peer_loss", torch.zeros_like(weight))
        if self.args.select == "epoch":
            self.table.add_column("kept", torch.ones_like(weight))
            self.table.add_column("peer_kept", torch.ones_like(weight))
        # Group -> (N,) bool: whether the first ("kept") and the second network learns from an utterance in this step.
        self._kept = {name: torch.ones_like(weight, dtype=torch.bool) for name in ("kept", "peer_kept")}

    # ---- selection ---------------------------------------------------------------------------------------------

    def groups(self, batch: BatchRows) -> dict[str, Tensor]:
        """Add the rows that each network learns from to the groups of the base class."""
        return {**super().groups(batch), **{name: kept[batch.index] for name, kept in self._kept.items()}}

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, None]:
        """Return micro-batches as the base class does; keep them for `_look_ahead` if one is only a part of a step."""
        if self.args.select == "epoch":
            self._kept = {name: self.table.columns[name] > 0 for name in self._kept}
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._selected = self.args.select == "epoch"
        in_parts = len(samples) * world_size() > 1
        self._ahead = samples if in_parts and not self._selected else []
        return samples, None

    @torch.no_grad()
    def _look_ahead(self) -> None:
        """Select from all micro-batches and ranks, with one more forward pass of both networks."""
        model = self.bare_model().train()
        parts = []
        for inputs in self._ahead:
            inputs = self._prepare_inputs(inputs)
            targets = self.table.observed[inputs["index"]]
            logits = [self.balance.logits(logits_of(self, network, inputs)) for network in (model, self.peer)]
            losses = [soft_cross_entropy(z, targets) for z in logits]
            parts.append({"index": inputs["index"], "loss": losses[0], "peer_loss": losses[1]})
        rows = gather_rows({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        self._select(rows["index"], rows["loss"], rows["peer_loss"])

    def _select(self, index: Tensor, loss: Tensor, peer_loss: Tensor) -> None:
        """Give each network's easiest utterances of the effective batch to the other (Algorithm 1, lines 4 to 7)."""
        rate = keep_rate(self.epoch, self.args.forget_rate, self.args.ramp_epochs)
        for name, judged in (("kept", peer_loss), ("peer_kept", loss)):
            self._kept[name] = easiest(index, judged, rate, len(self.table))
            self.effective_counts[name] = float(self._kept[name][index].sum())
        self._selected = True

    def epoch_finished(self, epoch: int) -> None:
        """With `select="epoch"`, select the utterances of the next epoch."""
        if self.args.select == "batch":
            return
        columns = self.table.columns
        rate = keep_rate(epoch + 1, self.args.forget_rate, self.args.ramp_epochs)
        index = torch.arange(len(self.table), device=columns["loss"].device)
        for name, judge in (("kept", "peer_loss"), ("peer_kept", "loss")):
            self.table.write(index, **{name: easiest(index, columns[judge], rate, len(self.table)).float()})

    # ---- losses ------------------------------------------------------------------------------------------------

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        """Return the loss of the base class; in training, first compute the second network's logits."""
        if "votes" not in inputs:
            self._peer_logits = logits_of(self, self.peer, inputs)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Keep the labels; give weight 0 to utterances that the second network does not find easy."""
        targets, weights = super().correct(outputs, batch)
        if not self._selected:
            self._select(batch.index, *self._losses(outputs, batch))
        return targets, weights * self._kept["kept"][batch.index]

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return the second network's cross-entropy, over the utterances that the first one finds easy."""
        targets, kept = self.table.observed[batch.index], self._kept["peer_kept"][batch.index].float()
        loss = self.effective_mean(self.balance.cross_entropy(self._peer_logits, targets, kept), "peer_kept")
        self.record(loss_peer=loss.detach())
        return loss

    def _losses(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Return the cross-entropies `(B,)` of the first and the second network, without class weights."""
        targets = self.table.observed[batch.index]
        logits = [self.balance.logits(z) for z in (outputs.logits, self._peer_logits)]
        return soft_cross_entropy(logits[0], targets), soft_cross_entropy(logits[1], targets)

    def _peer_weight(self, batch: BatchRows) -> Tensor:
        class_weight = self.balance.utterance_weight(self.table.observed[batch.index])
        return class_weight * self._kept["peer_kept"][batch.index]

    # ---- state -------------------------------------------------------------------------------------------------

    def observe(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Add the second network's weights and both networks' losses to the rows of the base class."""
        loss, peer_loss = self._losses(outputs, batch)
        rows = super().observe(outputs, batch, targets, weights)
        return {**rows, "peer_weight": self._peer_weight(batch), "loss": loss, "peer_loss": peer_loss}

    def update_state(self, rows: dict[str, Tensor]) -> None:
        """Write these rows into the label table."""
        super().update_state(rows)
        self.table.write(rows["index"], **{name: rows[name] for name in ("peer_weight", "loss", "peer_loss")})

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Train as the base class does; before the first micro-batch of a step, select from all of them."""
        # This cannot run in get_batch_samples: on a resume the Trainer restores the random state only after it.
        if self._ahead and not self._selected:
            self._look_ahead()
        return super().training_step(*args, **kwargs)
