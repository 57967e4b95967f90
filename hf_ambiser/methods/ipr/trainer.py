"""The IPR trainer: which label an ambiguous clip gets, what moves a prototype, and when."""

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
    """Class prototypes label the ambiguous clips, and the clips refine the prototypes.

    Warm-up: labelled clips only; prototypes are class means of their embeddings (Eq. 1-2). Then each step also holds
    ambiguous clips, clean and augmented: the nearest prototype is the clip's pseudo label (Eq. 3), clips whose two
    copies agree move a prototype (Eq. 4), and a contrastive loss draws clips of one pseudo label together (Eq. 5).

    Requires a model with prototypes (`PrototypeForAudioClassification`), a labelled split with every class in it and
    an ambiguous split, whose labels are never read. Changes `correct`, `extra_loss`, `update_state`, `epoch_finished`.
    Its relations: `self_training` has the same schedule with the classifier's own labels and no prototypes.
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
            "the contrastive loss compares the clips of one forward pass with each other, so two micro-batches have"
            " other negatives than one batch of both; it holds with mu=0, which is what is tested",
            {"mu": 0.0},
        )
    }

    args: IPRArguments

    def set_up(self) -> None:
        """Columns for what the method says of each ambiguous clip: soft label and the classifier's own label."""
        n, k = self.table.observed.shape
        if self.is_fsdp_enabled:
            raise ValueError(
                "ipr cannot run under FSDP: prototypes are computed by the bare model, whose parameters are sharded"
                " there. Use train_scripts/accelerate/ddp.yaml."
            )
        counts = self.table.observed[: self.data.n_labelled].sum(dim=0)
        if (counts == 0).any():
            empty = [i for i, c in enumerate(counts.tolist()) if c == 0]
            names = [self.bare_model().config.id2label.get(i, i) for i in empty]
            raise ValueError(
                f"no labelled utterance of class(es) {names}: they can have no prototype. Build the split with a quota"
                " per class (--d1-quota per_class), with a larger D1, or with fewer classes."
            )
        device = self.table.observed.device
        self.table.add_column("soft_label", torch.zeros(n, k, device=device))
        self.table.add_column("classifier_label", torch.full((n,), -1, dtype=torch.int64, device=device))

    # ---- labels ------------------------------------------------------------------------------------------------

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Eq. 3: the nearest prototype is an ambiguous clip's label, weight beta; augmented copies weigh nothing."""
        targets, weights = super().correct(outputs, batch)
        nearest = F.one_hot(outputs.prototype_similarity.argmax(dim=-1), targets.shape[-1]).float()
        targets = torch.where(batch.labelled[:, None], targets, nearest)
        weights = self.args.alpha * weights + self.beta * batch.ambiguous
        return targets, weights

    # ---- contrast ----------------------------------------------------------------------------------------------

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Eq. 5, weighted by mu, over the ambiguous clips and their copies of all ranks."""
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
            loss = self.effective_mean(values, "ambiguous") / 2  # two copies of each clip
        self.record(loss_contrast=loss.detach())
        return self.args.mu * loss

    # ---- prototypes --------------------------------------------------------------------------------------------

    def observe(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """What Eq. 4 needs of each row."""
        return {
            **super().observe(outputs, batch, targets, weights),
            "embedding": F.normalize(outputs.embedding.float(), dim=-1),
            "soft_label": outputs.ambiguous_soft_label.float(),
            "nearest": outputs.prototype_similarity.argmax(dim=-1),
            "classified": outputs.logits.argmax(dim=-1),
        }

    def update_state(self, rows: dict[str, Tensor]) -> None:
        """Eq. 4 for this step's clips, and their labels into the table."""
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
        """The prototypes `(K, D)`, for the paper's Figure 2."""
        return {"prototypes": self.prototypes}

    @classmethod
    def draw_figures(cls, run: Path, out: Path, classes: list[str]) -> dict[str, str]:
        """The paper's Figures 2 and 3, where the run got as far as to have them."""
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
        """End of a warm-up epoch: prototypes are the class means of all labelled clips (Eq. 1-2)."""
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
        """This rank's share of the labelled clips' embeddings, in evaluation mode, in batches of similar length."""
        model = self.bare_model()
        model.eval()
        size = self.args.per_device_eval_batch_size
        order = self.data.labelled_durations.argsort(kind="stable")
        for start in range(rank() * size, len(order), world_size() * size):
            items: list[list[Example]] = [self.data[StepKey(0, int(i), ())] for i in order[start : start + size]]
            batch = self._prepare_inputs(self.collate(items))
            outputs = model(input_values=batch["input_values"], attention_mask=batch["attention_mask"])
            yield batch["index"], outputs.embedding
