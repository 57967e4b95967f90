"""The BNM trainer: answers to ambiguous utterances become decided and stay diverse."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.distributed import gather_with_gradient
from hf_ambiser.training.domains import DomainArguments, DomainTrainer
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import Outputs


DIVISORS = ("utterances", "singular_values", "none")


@dataclass
class BNMArguments(DomainArguments):
    """Arguments of `BNMTrainer`.

    Raises:
        ValueError: If a value is not allowed.
    """

    nuclear_norm_over: str = field(
        default="utterances",
        metadata={
            "help": "By what the nuclear norm is divided: the number of `utterances` or of `singular_values` (public"
            " code has either), or `none` (the sum, as on the page of the authors' code). The paper was not at hand."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices({"nuclear_norm_over": DIVISORS})


def nuclear_norm(probability: Tensor) -> Tensor:
    """Return the sum of the singular values of answers `(B, K)`, float32.

    It is computed in float64, because the gradient at small singular values has few digits, and on the CPU, because
    not every device has float64 and the matrix is small.
    """
    return torch.linalg.svdvals(probability.cpu().double()).sum().float().to(probability.device)


class BNMTrainer(DomainTrainer):
    """Makes the nuclear norm of the answers to ambiguous utterances large."""

    name = "bnm"
    arguments_class = BNMArguments
    summary = (
        "Batch nuclear-norm maximisation. The model learns from clips on which the raters agree; its answers to"
        " ambiguous clips, whose votes it never sees, are made decided, each by itself, and diverse, all together."
    )
    paper = Paper(
        key="cui2020towards",
        authors=("Shuhao Cui", "Shuhui Wang", "Junbao Zhuo", "Liang Li", "Qingming Huang", "Qi Tian"),
        title=(
            "Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label Insufficient"
            " Situations"
        ),
        year=2020,
        venue="CVPR",
        arxiv="2003.12237",
    )
    variants = {
        "mean_singular_value": {"nuclear_norm_over": "singular_values"},
        "growing": {"domain_schedule": "growing"},
    }
    exceptions = {
        "accumulation": (
            "the nuclear norm is that of the answers of one forward pass, and the norms of two micro-batches do not"
            " add up to that of both; with domain_weight=0 the property holds and is tested",
            {"domain_weight": 0.0},
        )
    }

    args: BNMArguments

    def domain_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor:
        """Return minus the nuclear norm of the answers of all ranks, divided as asked, times the weight."""
        answers, _ = gather_with_gradient(torch.softmax(outputs.logits.float()[batch.ambiguous], dim=-1))
        if not len(answers):
            return 0.0 * answers.sum()
        divisor = {"utterances": len(answers), "singular_values": min(answers.shape), "none": 1}
        return -self.domain_weight * nuclear_norm(answers) / divisor[self.args.nuclear_norm_over]
