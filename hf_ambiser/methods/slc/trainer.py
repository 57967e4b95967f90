"""The SLC trainer: the label of an ambiguous utterance at each step, and the loss that separates its classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import set_seed

from hf_ambiser.methods.slc.arguments import SLCArguments
from hf_ambiser.methods.slc.figures import plot_correction, plot_moved_labels, read_corrected
from hf_ambiser.methods.slc.finetuning import adam, finetuned_branch, temporal_branch
from hf_ambiser.run_folder.trajectory import trajectory_epochs
from hf_ambiser.training.inter_class import inter_class_difference
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import AmbiSERTrainer, BatchRows, Outputs


class SLCTrainer(AmbiSERTrainer):
    """The label of an ambiguous utterance is a mixture of its votes and the model's prediction at the same step.

    In Algorithm 1, the temporal branch is first fine-tuned on clear utterances and copied into the whole model. This
    model then learns from all utterances: from clear ones with their consensus label, from ambiguous ones with the
    corrected label of Eq. 6. The loss is cross-entropy over all utterances plus the inter-class difference over
    ambiguous ones (Eq. 7-11).

    It takes a labelled split of clear utterances and a split of ambiguous ones, whose votes it reads. It is made for
    the model family "fusion" and runs with any other, whose encoder then is the temporal branch. It overrides
    `correct`, `extra_loss`, `before_training`. With alpha=0, objective="cross_entropy" and finetune_epochs=0 it
    learns from fixed soft labels.
    """

    name = "slc"
    arguments_class = SLCArguments
    model_family = "fusion"
    needs_ambiguous = True
    ambiguous_target = "soft_label"
    summary = (
        "Real-time soft-label correction. The temporal branch first learns from clips on which the raters agree. Then"
        " the whole model learns from all clips, and at every step the label of an ambiguous clip is the shares of its"
        " votes mixed with what the model says of it at that very step."
    )
    paper = Paper(
        key="gan2025improving",
        authors=(
            "Chenquan Gan",
            "Daitao Zhou",
            "Qingyi Zhu",
            "Xibin Wang",
            "Deepak Kumar Jain",
            "Vitomir Štruc",
        ),
        title="Improving Emotion Recognition from Ambiguous Speech via Spatio-Temporal Spectrum Analysis and Real-Time"
        " Soft-Label Correction",
        year=2025,
        venue="preprint",
    )
    # The rate is smaller than the suite's, because Eq. 30 is steep: steps of 0.01 would amplify rounding too much.
    suite_settings = {"finetune_epochs": 1, "learning_rate": 1e-3}
    variants = {
        "cross_entropy": {"objective": "cross_entropy"},
        # The first stage is longer here: without cross-entropy, only it moves the answers towards the labels.
        "inter_class": {"objective": "inter_class", "finetune_epochs": 3},
        "as_printed": {"inter_class_form": "y_j", "inter_class_label": "votes"},
        "accumulating": {"correct_from": "last"},
        "without_finetuning": {"finetune_epochs": 0},
    }

    args: SLCArguments

    def __init__(self, model: Any, args: SLCArguments, *data: Any, **kwargs: Any) -> None:
        if isinstance(args, SLCArguments):
            kwargs.setdefault("optimizer_cls_and_kwargs", adam(args))
        super().__init__(model, args, *data, **kwargs)

    def set_up(self) -> None:
        """Choose the rows that the cross-entropy is averaged over: all together (Eq. 7), or none."""
        if self.is_fsdp_enabled:
            raise ValueError(
                "slc cannot run under FSDP: it copies the temporal branch into another model, and FSDP shards that"
                " model's parameters. Use DDP: train_scripts/accelerate/ddp.yaml."
            )
        self.averaged_over = () if self.args.objective == "inter_class" else ("all",)

    def before_training(self, checkpoint: Path | None) -> None:
        """Run the first stage of Algorithm 1, unless the second one has begun. The first finds its own checkpoint."""
        epochs = self.args.num_train_epochs if self.args.finetune_epochs is None else self.args.finetune_epochs
        model: Any = self.model
        if checkpoint is None and epochs > 0 and temporal_branch(model):
            model.load_state_dict(finetuned_branch(self, self.args, epochs), strict=False)
        super().before_training(checkpoint)
        # The random numbers from here on must not depend on whether this process ran the first stage or read it.
        set_seed(self.args.seed)

    # ---- labels ------------------------------------------------------------------------------------------------

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Keep the labels of clear rows; mix those of ambiguous rows with the prediction (Eq. 6)."""
        observed = self.table.observed_in(self.epoch)[batch.index]
        start = observed if self.args.correct_from == "votes" else self.table.columns["target"][batch.index]
        predicted = torch.softmax(outputs.logits.float(), dim=-1)
        corrected = (1 - self.args.alpha) * start + self.args.alpha * predicted
        targets = torch.where(batch.ambiguous[:, None], corrected, observed)
        return targets, torch.ones_like(targets[:, 0])

    def balanced_rows(self, batch: BatchRows) -> Tensor:
        """Return all rows: raters gave the labels of ambiguous utterances, too (section V-A)."""
        return batch.labelled | batch.ambiguous

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return the inter-class difference (Eq. 9), mean over ambiguous rows, or over all if it is the only loss."""
        if self.args.objective == "cross_entropy":
            return 0.0
        alone = self.args.objective == "inter_class"
        rows = batch.labelled | batch.ambiguous if alone else batch.ambiguous
        if self.args.inter_class_label == "corrected":
            with torch.no_grad():
                labels, _ = self.correct(outputs, batch)
        else:
            labels = self.table.observed_in(self.epoch)[batch.index]
        probability = torch.softmax(outputs.logits.float(), dim=-1)[rows]
        values = inter_class_difference(probability, labels[rows], self.args.beta, self.args.inter_class_form)
        loss = self.effective_mean(values, "all" if alone else "ambiguous")
        self.record(loss_inter_class=loss.detach())
        return loss

    @classmethod
    def draw_figures(cls, run: Path, out: Path, classes: list[str]) -> dict[str, str]:
        """Draw how far labels were corrected over the epochs, and which classes gained and lost."""
        epochs = trajectory_epochs(run)
        if not epochs or not len(read_corrected(run, epochs[-1])[0]):
            return {}  # there is no trajectory, or no ambiguous utterance whose label could be corrected
        plot_correction(run, out / "correction.png")
        plot_moved_labels(run, out / "moved_labels.png", classes)
        return {
            "correction.png": "Mean entropy of the ambiguous training clips' corrected labels and their distance from"
            " the raters' votes (Jensen-Shannon divergence), over the epochs.",
            "moved_labels.png": "Share of the votes of ambiguous training clips by class, and of their corrected"
            " labels after the last epoch.",
        }
