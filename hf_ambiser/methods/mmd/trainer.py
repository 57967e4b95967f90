"""The MMD trainer: clear and ambiguous utterances get embeddings of one distribution."""

from __future__ import annotations

from torch import Tensor

from hf_ambiser.methods.mmd.arguments import MMDArguments
from hf_ambiser.methods.mmd.discrepancy import squared_discrepancy
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.distributed import gather_with_gradient
from hf_ambiser.training.domains import DomainTrainer
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import Outputs


class MMDTrainer(DomainTrainer):
    """Adds the squared maximum mean discrepancy between labelled and ambiguous embeddings to the loss."""

    name = "mmd"
    arguments_class = MMDArguments
    summary = (
        "Maximum mean discrepancy (DaNN). The model learns from clips on which the raters agree, and its embeddings of"
        " ambiguous clips, whose votes it never sees, are held to the same distribution."
    )
    paper = Paper(
        key="ghifary2014domain",
        authors=("Muhammad Ghifary", "W. Bastiaan Kleijn", "Mengjie Zhang"),
        title="Domain Adaptive Neural Networks for Object Recognition",
        year=2014,
        venue="PRICAI",
        arxiv="1409.6041",
    )
    variants = {
        "five_kernels": {"kernels": 5},
        "fixed_bandwidth": {"bandwidth": 1.0},
        "growing": {"domain_schedule": "growing"},
    }
    exceptions = {
        "accumulation": (
            "the discrepancy compares the utterances of one forward pass with each other, so two micro-batches compare"
            " other pairs than one batch of both; with domain_weight=0 the property holds and is tested",
            {"domain_weight": 0.0},
        )
    }

    args: MMDArguments

    def domain_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor:
        """Return the squared discrepancy of the embeddings of all ranks, times the weight."""
        embedding = self.embedding(outputs)
        clear, _ = gather_with_gradient(embedding[batch.labelled])
        ambiguous, _ = gather_with_gradient(embedding[batch.ambiguous])
        if not len(clear) or not len(ambiguous):
            return 0.0 * (clear.sum() + ambiguous.sum())
        args = self.args
        return self.domain_weight * squared_discrepancy(clear, ambiguous, args.bandwidth, args.kernels)
