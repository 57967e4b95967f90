"""The IPR trainer: which label an ambiguous utterance gets, what moves a prototype, and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from hf_ambiser.label_analysis.corrected import pseudo_label_agreement
from hf_ambiser.methods.ipr.arguments import IPRArguments
from hf_ambiser.methods.ipr.figures import plot_prototype_similarity, plot_pseudo_label_agreement
from hf_ambiser.methods.ipr.prototypes import class_sums, moving_average, who_moves_what
from hf_ambiser.run_folder.trajectory import read_tensors, trajectory_epochs
from hf_ambiser.training.collator import Example
from hf_ambiser.training.distributed import gather_rows, gather_with_gradient, rank, world_size
from hf_ambiser.training.losses import instance_contrast, pseudo_label_contrast
from hf_ambiser.training.papers import IPR
from hf_ambiser.training.pseudo_labels import PseudoLabelTrainer
from hf_ambiser.training.sampler import StepKey
from hf_ambiser.training.trainer import BatchRows, Outputs


class IPRTrainer(PseudoLabelTrainer):
    """Class prototypes label the ambiguous utterances, and these refine the prototypes.

    The warm-up uses labelled utterances only; prototypes are the class means of their embeddings (Eq. 1-2). After it,
    each step also holds ambiguous utterances and their augmented copies. The nearest prototype gives an utterance its
    pseudo label (Eq. 3). If utterance and copy agree, they move a prototype (Eq. 4). A contrastive loss draws
    utterances of one pseudo label together (Eq. 5).

    It requires a model with prototypes (`PrototypeForAudioClassification`), a labelled split with every class, and an
    ambiguous split, whose labels are never read. It overrides `correct`, `extra_loss`, `update_state`,
    `epoch_finished`. `self_training` has the same schedule, the classifier's own labels and no prototypes.
    """

    name = "ipr"
    arguments_class = IPRArguments
    needs_augmented = True
    summary = (
        "Iterative Prototype Refinement. The model first learns from clips on which the raters agree and takes each"
        " class's mean embedding as its prototype. Ambiguous clips, whose votes it never sees, then get the label of"
        " the nearest prototype, move the prototypes, and are drawn together by a contrastive loss."
    )
    paper = IPR
    # A smaller gamma than the paper's, so that nine steps move a prototype by more than rounding.
    suite_settings = {"warmup_epochs": 1, "gamma": 0.9}
    variants = {
        "instance_contrast": {"contrastive": "instance"},
        "prototype_agreement": {"prototype_update": "prototype_agreement"},
        "proportional": {"prototype_update": "proportional"},
    }
    exceptions = {
        "accumulation": (
            "the contrastive loss compares the utterances of one forward pass with each other, so two micro-batches"
            " have other negatives than one batch of both; with mu=0 the property holds and is tested",
            {"mu": 0.0},
        )
    }

    args: IPRArguments

    def set_up(self) -> None:
        """Add columns for the soft label and the classifier's own label of each ambiguous utterance."""
        n, k = self.table.observed.shape
        if self.is_fsdp_enabled:
            raise ValueError(
                "ipr cannot run under FSDP: the bare model computes the prototypes, and FSDP shards its parameters."
                " Use DDP: train_scripts/accelerate/ddp.yaml."
            )
        counts = self.table.observed[: self.data.n_labelled].sum(dim=0)
        if (counts == 0).any():
            empty = [i for i, c in enumerate(counts.tolist()) if c == 0]
            names = [self.bare_model().config.id2label.get(i, i) for i in empty]
            raise ValueError(
                f"there is no labelled utterance of class(es) {names}, so they get no prototype. Build the split with"
                " a quota per class (--d1-quota per_class), with a larger D1, or with fewer classes."
            )
        device = self.table.observed.device
        self.table.add_column("soft_label", torch.zeros(n, k, device=device))
        self.table.add_column("classifier_label", torch.full((n,), -1, dtype=torch.int64, device=device))

    # ---- labels ------------------------------------------------------------------------------------------------

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Label ambiguous rows by the nearest prototype (Eq. 3), with weight beta; augmented copies get weight 0."""
        targets, weights = super().correct(outputs, batch)
        nearest = F.one_hot(outputs.prototype_similarity.argmax(dim=-1), targets.shape[-1]).float()
        targets = torch.where(batch.labelled[:, None], targets, nearest)
        weights = self.args.alpha * weights + self.beta * batch.ambiguous
        return targets, weights

    # ---- contrast ----------------------------------------------------------------------------------------------

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return Eq. 5, times mu, over the ambiguous utterances and copies of all ranks."""
        if self.args.mu == 0 or self.effective_counts["ambiguous"] == 0:
            return 0.0
        embedding = F.normalize(outputs.embedding.float(), dim=-1)
        label = outputs.prototype_similarity.detach().argmax(dim=-1)
        if self.args.contrastive == "instance":
            clean, copies = embedding[batch.ambiguous], embedding[batch.augmented]
            bank, start = gather_with_gradient(copies)
            own = start + torch.arange(len(clean), device=clean.device)
            loss = self.effective_mean(
                instance_contrast(clean, bank, own, self.args.contrast_temperature), "ambiguous"
            )
        else:
            rows = batch.ambiguous | batch.augmented
            bank, start = gather_with_gradient(embedding[rows])
            bank_label = gather_rows({"label": label[rows]})["label"]
            own = start + torch.arange(int(rows.sum()), device=embedding.device)
            values = pseudo_label_contrast(
                embedding[rows], label[rows], own, bank, bank_label, self.args.contrast_temperature
            )
            loss = self.effective_mean(values, "ambiguous") / 2  # each utterance and its copy are anchors
        self.record(loss_contrast=loss.detach())
        return self.args.mu * loss

    # ---- prototypes --------------------------------------------------------------------------------------------

    def observe(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Add what Eq. 4 needs to the rows of the base class."""
        return {
            **super().observe(outputs, batch, targets, weights),
            "embedding": F.normalize(outputs.embedding.float(), dim=-1),
            "soft_label": outputs.ambiguous_soft_label.float(),
            "nearest": outputs.prototype_similarity.argmax(dim=-1),
            "classified": outputs.logits.argmax(dim=-1),
        }

    def update_state(self, rows: dict[str, Tensor]) -> None:
        """Apply Eq. 4 to the utterances of this step, and write their labels into the table."""
        super().update_state(rows)
        batch = BatchRows(rows["index"], rows["role"])
        clean = {name: tensor[batch.ambiguous] for name, tensor in rows.items()}
        copy = {name: tensor[batch.augmented] for name, tensor in rows.items()}
        if len(clean["index"]) == 0:
            return
        self.table.write(clean["index"], soft_label=clean["soft_label"], classifier_label=clean["classified"])
        prototypes = self.prototypes
        moves = who_moves_what(
            self.args.prototype_update,
            clean["classified"],
            copy["classified"],
            clean["nearest"],
            copy["nearest"],
            len(prototypes),
        )
        self.prototypes = moving_average(prototypes, clean["embedding"], clean["soft_label"], moves, self.args.gamma)
        self.record(share_moving_a_prototype=moves.any(dim=1).float().mean())

    @property
    def prototypes(self) -> Tensor:
        """`(K, D)` float32 unit vectors, the buffer of the model's head."""
        return self.bare_model().head.prototypes

    @prototypes.setter
    def prototypes(self, values: Tensor) -> None:
        with torch.no_grad():
            self.bare_model().head.prototypes.copy_(values)

    def trajectory_tensors(self) -> dict[str, Tensor]:
        """Return the prototypes `(K, D)`, for the paper's Figure 2."""
        return {"prototypes": self.prototypes}

    @classmethod
    def draw_figures(cls, run: Path, out: Path, classes: list[str]) -> dict[str, str]:
        """Draw the paper's Figures 2 and 3, if the run went far enough to have them."""
        figures = {}
        if any(read_tensors(run, epoch) for epoch in trajectory_epochs(run)):
            plot_prototype_similarity(run, out / "prototype_similarity.png", classes)
            figures["prototype_similarity.png"] = "Cosine similarity of each pair of class prototypes over the epochs."
        if pseudo_label_agreement(run):
            plot_pseudo_label_agreement(run, out / "pseudo_label_agreement.png")
            figures["pseudo_label_agreement.png"] = (
                "Share of ambiguous training clips whose pseudo label is the raters' consensus, which the model never"
                " sees: labels assigned by prototypes, and the classifier's own."
            )
        return figures

    def epoch_finished(self, epoch: int) -> None:
        """After a warm-up epoch, set the prototypes to the class means of all labelled utterances (Eq. 1-2)."""
        if epoch >= self.args.warmup_epochs:
            return
        sums = torch.zeros_like(self.prototypes)
        counts = torch.zeros(len(sums), device=sums.device)
        for index, embedding in self._embeddings():
            s, c = class_sums(embedding, self.table.observed[index].argmax(dim=-1), len(sums))
            sums, counts = sums + s, counts + c
        if world_size() > 1:
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        self.prototypes = F.normalize(sums / counts[:, None], dim=-1)

    @torch.no_grad()
    def _embeddings(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this rank's share of the labelled embeddings, in evaluation mode, in batches of similar length."""
        model = self.bare_model()
        model.eval()
        size = self.args.per_device_eval_batch_size
        order = self.data.labelled_durations.argsort(kind="stable")
        for start in range(rank() * size, len(order), world_size() * size):
            items: list[list[Example]] = [self.data[StepKey(0, int(i), ())] for i in order[start : start + size]]
            batch = self._prepare_inputs(self.collate(items))
            index, _ = batch.pop("index"), batch.pop("role")
            yield index, model(**batch).embedding
