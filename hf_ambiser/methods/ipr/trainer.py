"""The IPR trainer: which label an ambiguous utterance gets, what moves a prototype, and when."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from hf_ambiser.label_analysis.corrected import pseudo_label_agreement
from hf_ambiser.methods.ipr.arguments import IPRArguments
from hf_ambiser.methods.ipr.figures import (
    judges_figure_3,
    plot_prototype_similarity,
    plot_pseudo_label_agreement,
    where_figure_3_fails,
)
from hf_ambiser.methods.ipr.prototypes import class_sums, moving_average, who_moves_what
from hf_ambiser.run_folder.trajectory import read_tensors, trajectory_epochs
from hf_ambiser.training.collator import Example
from hf_ambiser.training.distributed import gather_rows, gather_with_gradient, rank, world_size
from hf_ambiser.training.losses import instance_contrast, pseudo_label_contrast
from hf_ambiser.training.papers import IPR
from hf_ambiser.training.pseudo_labels import PseudoLabelTrainer
from hf_ambiser.training.sampler import StepKey
from hf_ambiser.training.trainer import BatchRows, Outputs


logger = logging.getLogger(__name__)
# Name of a state: 1 if prototypes are renewed after every epoch, 0 if after those of the warm-up only.
REFRESHES = "refreshes"


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
        "all_views_contrast": {"contrastive": "instance_all_views"},
        "prototype_agreement": {"prototype_update": "prototype_agreement"},
        "proportional": {"prototype_update": "proportional"},
        "never_refreshed": {"prototype_refresh": "never"},
        "labelled_movers": {"prototype_movers": "all", "prototype_refresh": "never"},
        "gamma_by_rate": {"gamma_reference_rate": 1e-3, "gamma": 0.99, "prototype_refresh": "never"},
        "centred": {"model_fields": {"center_embeddings": True}},
        "aligned": {"distribution_alignment": True},
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
        super().set_up()
        n, k = self.table.observed.shape
        if self.is_fsdp_enabled:
            raise ValueError(
                "ipr cannot run under FSDP: the bare model computes the prototypes, and FSDP shards its parameters."
                " Use DDP: train_scripts/accelerate/ddp.yaml."
            )
        if not hasattr(self.bare_model().head, "prototypes"):
            raise ValueError(
                f"ipr needs class prototypes, and a model of {type(self.bare_model().config).__name__} has none. Leave"
                f" model_family out, or begin with a model of the family {self.model_family!r}."
            )
        counts = self.table.observed[: self.data.n_labelled].sum(dim=0)
        if (counts == 0).any():
            empty = [i for i, c in enumerate(counts.tolist()) if c == 0]
            names = [self.bare_model().config.id2label.get(i, i) for i in empty]
            raise ValueError(
                f"there is no labelled utterance of class(es) {names}, so they get no prototype. Build the split with"
                " a quota per class (--d1-quota per_class), with a larger D1, or with fewer classes."
            )
        if self.args.gamma_reference_rate is not None and not self._below_the_embedding():
            raise ValueError(
                f"gamma_reference_rate={self.args.gamma_reference_rate} follows the learning rate of the layers that"
                " make the embedding, and all of them are frozen. Leave it at None, or train the encoder."
            )
        device = self.table.observed.device
        self.table.add_column("soft_label", torch.zeros(n, k, device=device))
        self.table.add_column("classifier_label", torch.full((n,), -1, dtype=torch.int64, device=device))
        # Checkpoints say it, so that a run of a time when prototypes were never renewed goes on as it was begun.
        self.method_state[REFRESHES] = torch.tensor(int(self.args.prototype_refresh == "epoch"))

    # ---- labels ------------------------------------------------------------------------------------------------

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Label ambiguous rows by the nearest prototype (Eq. 3), with weight beta; augmented copies get weight 0."""
        targets, weights = super().correct(outputs, batch)
        nearest = F.one_hot(self.nearest(outputs), targets.shape[-1]).float()
        targets = torch.where(batch.labelled[:, None], targets, nearest)
        weights = self.args.alpha * weights + self.beta * batch.ambiguous
        return targets, weights

    def soft_label(self, outputs: Outputs) -> Tensor:
        """Return the ambiguous soft label `(B, K)` of section 2.2."""
        soft_label: Tensor = outputs.ambiguous_soft_label.detach().float()
        return soft_label

    def nearest(self, outputs: Outputs) -> Tensor:
        """Return the pseudo label `(B,)` of Eq. 3; with alignment, the largest class of the aligned soft label."""
        scores: Tensor = outputs.prototype_similarity.detach()
        if self.args.distribution_alignment:
            scores = self.aligned(self.soft_label(outputs))
        return scores.argmax(dim=-1)

    # ---- contrast ----------------------------------------------------------------------------------------------

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return Eq. 5, times mu, over the ambiguous utterances and copies of all ranks."""
        if self.args.mu == 0 or self.effective_counts["ambiguous"] == 0:
            return 0.0
        embedding = F.normalize(outputs.embedding.float(), dim=-1)
        temperature = self.args.contrast_temperature
        rows = batch.ambiguous | batch.augmented
        if self.args.contrastive == "instance":
            clean, copies = embedding[batch.ambiguous], embedding[batch.augmented]
            bank, start = gather_with_gradient(copies)
            own = start + torch.arange(len(clean), device=clean.device)
            loss = self.effective_mean(instance_contrast(clean, bank, own, temperature), "ambiguous")
        elif self.args.contrastive == "instance_all_views":
            bank, start = gather_with_gradient(embedding[rows])
            place = start + rows.cumsum(dim=0) - 1  # of each row of the batch in the bank
            own, copy = place[batch.ambiguous], place[batch.augmented]
            values = instance_contrast(embedding[batch.ambiguous], bank, copy, temperature, own)
            loss = self.effective_mean(values, "ambiguous")
        else:
            label = self.nearest(outputs)
            bank, start = gather_with_gradient(embedding[rows])
            bank_label = gather_rows({"label": label[rows]})["label"]
            own = start + torch.arange(int(rows.sum()), device=embedding.device)
            values = pseudo_label_contrast(embedding[rows], label[rows], own, bank, bank_label, temperature)
            loss = self.effective_mean(values, "ambiguous") / 2  # each utterance and its copy are anchors
        self.record(loss_contrast=loss.detach())
        return self.args.mu * loss

    # ---- prototypes --------------------------------------------------------------------------------------------

    def observe(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Add what Eq. 4 needs to the rows of the base class."""
        return {
            **super().observe(outputs, batch, targets, weights),
            "embedding": self.bare_model().head.direction(outputs.embedding),
            "soft_label": self.aligned(self.soft_label(outputs)),
            "nearest": self.nearest(outputs),
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
        k = len(self.prototypes)
        moves = who_moves_what(
            self.args.prototype_update,
            clean["classified"],
            copy["classified"],
            clean["nearest"],
            copy["nearest"],
            k,
        )
        self.record(share_moving_a_prototype=moves.any(dim=1).float().mean())
        embedding, share = clean["embedding"], clean["soft_label"]
        if self.args.prototype_movers == "all":
            label = F.one_hot(self.table.observed[rows["index"][batch.labelled]].argmax(dim=-1), k)
            embedding = torch.cat([embedding, rows["embedding"][batch.labelled]])
            share, moves = torch.cat([share, label.float()]), torch.cat([moves, label.bool()])
        self.prototypes = moving_average(self.prototypes, embedding, share, moves, self._gamma())

    def _gamma(self) -> float:
        """Return gamma of Eq. 4 at the present learning rate of what makes the embedding.

        With `gamma_reference_rate` it is gamma^(rate / reference): one step at a hundred times the rate moves the
        encoder about as far as a hundred steps, so the prototypes forget as much as in a hundred steps.
        """
        if self.args.gamma_reference_rate is None:
            return self.args.gamma
        moving = self._below_the_embedding()
        groups = self.optimizer.param_groups  # type: ignore[union-attr]
        rates = [group["lr"] for group in groups if any(id(p) in moving for p in group["params"])]
        return float(self.args.gamma ** (max(rates) / self.args.gamma_reference_rate))

    def _below_the_embedding(self) -> set[int]:
        """Return the ids of the trained parameters on which an embedding depends: all but the classifier's."""
        model = self.bare_model()
        classifier = {id(p) for layer in (model.head.dense, model.head.out_proj) for p in layer.parameters()}
        return {id(p) for p in model.parameters() if p.requires_grad and id(p) not in classifier}

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
        if rows := pseudo_label_agreement(run):
            plot_pseudo_label_agreement(run, out / "pseudo_label_agreement.png")
            figures["pseudo_label_agreement.png"] = (
                "Share of ambiguous training clips whose pseudo label is the raters' consensus, which the model never"
                " sees: labels assigned by prototypes, and the classifier's own."
            )
            if judges_figure_3(run):
                figures["pseudo_label_agreement.png"] += where_figure_3_fails(rows)
        return figures

    def epoch_finished(self, epoch: int) -> None:
        """Set the prototypes to the class means of all labelled utterances (Eq. 1-2).

        After a warm-up epoch always, after a later one with `prototype_refresh="epoch"`.
        """
        if epoch >= self.args.warmup_epochs and self.args.prototype_refresh == "never":
            return
        sums = torch.zeros_like(self.prototypes)
        counts = torch.zeros(len(sums), device=sums.device)
        for index, embedding in self._embeddings():
            s, c = class_sums(embedding, self.table.observed[index].argmax(dim=-1), len(sums))
            sums, counts = sums + s, counts + c
        if world_size() > 1:
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        means, head = sums / counts[:, None], self.bare_model().head
        if head.center is not None:
            with torch.no_grad():
                head.center.copy_(sums.sum(dim=0) / counts.sum())
            means = means - head.center
        self.prototypes = F.normalize(means, dim=-1)

    def _load_all_state(self, saved: Mapping[str, Tensor]) -> None:
        if REFRESHES not in saved:
            if self.args.prototype_refresh != "never":
                logger.warning(
                    "the checkpoint is of a run that was begun when prototypes were never renewed after the warm-up;"
                    " it goes on so (prototype_refresh: never)."
                )
            self.args.prototype_refresh = "never"
            saved = {**saved, REFRESHES: torch.tensor(0)}
        begun = "epoch" if int(saved[REFRESHES]) else "never"
        if self.args.prototype_refresh != begun:
            raise ValueError(
                f"prototype_refresh={self.args.prototype_refresh!r}, but the checkpoint is of a run with {begun!r}."
                f" Resume it with {begun!r}, or start a new run folder."
            )
        super()._load_all_state(saved)

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
