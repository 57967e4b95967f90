"""The FreeMatch trainer: moving averages of the model's answers set a threshold for each class."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_ambiser.methods.freematch.arguments import FreeMatchArguments
from hf_ambiser.methods.freematch.fairness import fairness
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.confident_labels import ConfidentLabelTrainer
from hf_ambiser.training.distributed import gather_with_gradient
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import Outputs


class FreeMatchTrainer(ConfidentLabelTrainer):
    """FixMatch with thresholds that rise as the model becomes sure, lower ones for classes that it seldom gives.

    `method_state` has the moving averages over the clean views of ambiguous utterances: `confidence` (tau_t, Eq. 5),
    `expectation` (p~_t, Eq. 6) and `histogram` (h~_t, Eq. 10). They move after each optimiser step.
    """

    name = "freematch"
    arguments_class = FreeMatchArguments
    summary = (
        "FreeMatch. As in FixMatch, the model's confident answers to ambiguous clips, whose votes it never sees,"
        " become the labels of noisy copies. What counts as confident follows the model itself, for each emotion, and"
        " a second loss keeps the answers from gathering in a few emotions."
    )
    paper = Paper(
        key="wang2023freematch",
        authors=(
            "Yidong Wang",
            "Hao Chen",
            "Qiang Heng",
            "Wenxin Hou",
            "Yue Fan",
            "Zhen Wu",
            "Jindong Wang",
            "Marios Savvides",
            "Takahiro Shinozaki",
            "Bhiksha Raj",
            "Bernt Schiele",
            "Xing Xie",
        ),
        title="FreeMatch: Self-adaptive Thresholding for Semi-supervised Learning",
        year=2023,
        venue="ICLR",
        arxiv="2205.07246",
    )
    # A smaller decay than the paper's, so that nine steps move the averages by more than rounding.
    suite_settings = {"average_decay": 0.9}
    variants = {"capped": {"largest_threshold": 0.5}, "fairer": {"fairness_weight": 0.1}}
    exceptions = {
        "accumulation": (
            "fairness is a function of the mean answer to the copies of one forward pass, and its values in two"
            " micro-batches have another mean than that of both; with fairness_weight=0 the property holds and is"
            " tested",
            {"fairness_weight": 0.0},
        )
    }

    args: FreeMatchArguments

    def set_up(self) -> None:
        """Begin the moving averages at 1/K (Eq. 5, 6, 10)."""
        super().set_up()
        k, device = self.table.observed.shape[1], self.table.observed.device
        self.method_state |= {
            "confidence": torch.tensor(1 / k, device=device),
            "expectation": torch.full((k,), 1 / k, device=device),
            "histogram": torch.full((k,), 1 / k, device=device),
        }

    def thresholds(self) -> Tensor:
        """Return `p~(c) / max_c p~(c) tau` for each class c, `(K,)`, Eq. 7."""
        state = self.method_state
        largest = state["confidence"].clamp(max=self.args.largest_threshold)
        return state["expectation"] / state["expectation"].max() * largest

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return the fairness (Eq. 11) of the copies of all ranks, times w_f."""
        if self.args.fairness_weight == 0 or self.effective_counts["augmented"] == 0:
            return 0.0
        _, confident = self.confident(outputs, batch)
        copies = torch.softmax(outputs.logits.float()[batch.augmented], dim=-1)
        answers, _ = gather_with_gradient(copies[confident])
        state = self.method_state
        # Without a confident utterance on any rank there is nothing to compare, and all ranks see that.
        loss = fairness(state["expectation"], state["histogram"], answers) if len(answers) else 0.0 * answers.sum()
        self.record(loss_fairness=loss.detach())
        return self.args.fairness_weight * loss

    def observe(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Add the probabilities to the rows of the base class."""
        rows = super().observe(outputs, batch, targets, weights)
        return {**rows, "probability": torch.softmax(outputs.logits.float(), dim=-1)}

    def update_state(self, rows: dict[str, Tensor]) -> None:
        """Move the averages by the ambiguous utterances of this step (Eq. 5, 6, 10)."""
        super().update_state(rows)
        given = rows["probability"][BatchRows(rows["index"], rows["role"]).ambiguous]
        if not len(given):
            return
        shares = torch.bincount(given.argmax(dim=-1), minlength=given.shape[-1]).to(given.dtype) / len(given)
        moved = {"confidence": given.max(dim=-1).values.mean(), "expectation": given.mean(dim=0), "histogram": shares}
        for name, value in moved.items():
            average = self.method_state[name]
            average.copy_(torch.lerp(value, average, self.args.average_decay))
        self.record(threshold=self.method_state["confidence"].clone())
