"""Label distribution learning (Geng 2016) on the shares of the votes."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_ambiser.methods.label_distribution.arguments import LabelDistributionArguments
from hf_ambiser.methods.label_distribution.divergences import (
    class_distances,
    jensen_shannon,
    kl,
    reverse_kl,
    sinkhorn_cost,
)
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.objective_trainer import ObjectiveTrainer
from hf_ambiser.training.papers import Paper


class LabelDistributionTrainer(ObjectiveTrainer):
    """Makes a divergence between the answer and the soft label (vote shares) small."""

    name = "label_distribution"
    arguments_class = LabelDistributionArguments
    target = "soft_label"
    summary = (
        "Label distribution learning: the answer is drawn towards the shares of the raters' votes by a divergence of"
        " choice, for example Jensen-Shannon, or the cost of moving one distribution to the other."
    )
    paper = Paper(
        key="geng2016label",
        authors=("Xin Geng",),
        title="Label Distribution Learning",
        year=2016,
        venue="IEEE Transactions on Knowledge and Data Engineering",
        arxiv="1408.6027",
    )
    variants = {
        "kl": {"divergence": "kl"},
        "reverse_kl": {"divergence": "reverse_kl"},
        "transport": {"divergence": "optimal_transport", "transport_steps": 20},
        "transport_equal": {"divergence": "optimal_transport", "class_distance": "equal", "transport_steps": 20},
    }

    args: LabelDistributionArguments

    def set_up(self) -> None:
        """Compute the distances between classes from the votes of the training utterances."""
        super().set_up()
        shares = self.table.observed
        n_classes = shares.shape[1]
        equal = 1 - torch.eye(n_classes, device=shares.device)
        self._distance = class_distances(shares) if self.args.class_distance == "votes" else equal

    def objective(self, logits: Tensor, targets: Tensor, batch: BatchRows) -> Tensor:
        """Return the divergence of each row, `(B,)`: in nats, or as a cost in [0, 1]."""
        args = self.args
        if args.divergence == "kl":
            return kl(logits, targets)
        if args.divergence == "reverse_kl":
            return reverse_kl(logits, targets, args.target_smoothing)
        if args.divergence == "js":
            return jensen_shannon(logits, targets)
        return sinkhorn_cost(logits, targets, self._distance, args.transport_blur, args.transport_steps)
