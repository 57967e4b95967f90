"""The trainer all methods share: what a step sees, how its loss is averaged, when a method's state changes.

A method is a subclass that overrides `correct` (targets and weights of a batch) and, where it needs them,
`extra_loss`, `observe` / `update_state` (what it learns from a step, once per optimiser step) and `epoch_finished`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers.trainer_callback import EarlyStoppingCallback

from hf_ambiser.run_folder.layout import CHECKPOINT
from hf_ambiser.run_folder.trajectory import write_trajectory
from hf_ambiser.training import checkpoints
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.batch_rows import BatchRows, sorted_unique
from hf_ambiser.training.callbacks import StateCallback
from hf_ambiser.training.collator import AUGMENTED
from hf_ambiser.training.dataset import EvaluationSet, TrainingSet
from hf_ambiser.training.distributed import gather_objects, gather_rows, world_size
from hf_ambiser.training.label_table import LabelTable
from hf_ambiser.training.losses import shares, soft_cross_entropy
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.sampler import StepSampler
from hf_ambiser.training.split_trainer import SplitTrainer


if TYPE_CHECKING:
    from datasets import Dataset

Outputs = Any  # a transformers ModelOutput; which fields it has depends on the model family
STATE_FILE = "method_state.safetensors"
_TABLE = "table."


class AmbiSERTrainer(SplitTrainer):
    """Trains on labelled and, for methods that take them, ambiguous utterances, with labels that may change.

    The base class learns from the labels as they are. What is fixed for every method:

    - One forward pass per micro-batch holds labelled, ambiguous and augmented rows.
    - A loss is a sum over a group of rows divided by the group's size in the *effective* batch (all micro-batches and
      ranks of an optimiser step), so accumulation and ranks do not change it.
    - State (the label table and `method_state`) changes once per optimiser step, from the rows of the whole effective
      batch, equally on all ranks, and not at all where the gradient scaler skipped the step. It is float32 or int64,
      is saved with every checkpoint and restored from it.
    - `epoch_finished` runs exactly once per epoch however often the run was interrupted.

    Args:
        model: A model of `hf_ambiser.models` (or one with its outputs), possibly wrapped by peft.
        args: Arguments of the method's `arguments_class`.
        train_dataset: Utterances that are learnt from with labels: a split as `load_split` gives it, or a prepared
            `TrainingSet`, which holds the ambiguous ones, too.
        eval_dataset: Validation utterances: a split, or an `EvaluationSet`. Without them nothing is evaluated while
            training (`eval_strategy` becomes `"no"`).
        feature_extractor: Prepares audio; saved beside the model. None: the model's own.
        ambiguous_dataset: A split of ambiguous utterances, whose labels are not read. Methods that do not learn from
            such utterances leave it out.
        **kwargs: Passed to `Trainer`. `compute_metrics` is by default WA, UA, macro-F1 and the distances from the
            votes.
    """

    name: ClassVar[str] = "base"
    arguments_class: ClassVar[type[AmbiSERTrainingArguments]] = AmbiSERTrainingArguments
    target: ClassVar[str] = "label"
    model_family: ClassVar[str] = "prototype"  # of the models folder; what is built where nothing else is asked for
    needs_ambiguous: ClassVar[bool] = False
    ambiguous_target: ClassVar[str | None] = None  # what is read of ambiguous utterances' labels: nothing
    averaged_over: tuple[str, ...] = ("labelled", "ambiguous")  # groups; the loss adds up their mean cross-entropies
    needs_augmented: ClassVar[bool] = False
    # What a model card says of the method: a sentence or two for somebody who has never heard of it, and its paper.
    summary: ClassVar[str] = ""
    paper: ClassVar[Paper | None] = None
    # Read by the shared test suite: small arguments under which every phase of the method occurs in three epochs; what
    # a user may choose, by name; property -> (why the method cannot have it by its mathematics, the arguments under
    # which it has it after all and is tested, or None).
    suite_settings: ClassVar[Mapping[str, Any]] = {}
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    exceptions: ClassVar[Mapping[str, tuple[str, Mapping[str, Any] | None]]] = {}

    args: AmbiSERTrainingArguments
    data: TrainingSet
    table: LabelTable

    def __init__(
        self,
        model: nn.Module,
        args: AmbiSERTrainingArguments,
        train_dataset: TrainingSet | Dataset | None = None,
        eval_dataset: EvaluationSet | Dataset | None = None,
        feature_extractor: Any = None,
        ambiguous_dataset: Dataset | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(args, self.arguments_class):
            raise TypeError(f"method {self.name!r} takes {self.arguments_class.__name__}, got {type(args).__name__}.")
        if args.n_gpu > 1:
            raise ValueError(
                f"one process sees {args.n_gpu} GPUs and would run DataParallel, under which per-utterance state is"
                " wrong. Start with `accelerate launch` (one process per GPU) or set CUDA_VISIBLE_DEVICES=0."
            )
        if args.push_to_hub:
            raise ValueError(
                "push_to_hub would make the Trainer itself push, with pickles and without the model's code. Push the"
                " finished run: `hf-ambiser push RUN <account>/<name>`, or train.py --push_to_hub."
            )
        super().__init__(model, args, train_dataset, eval_dataset, feature_extractor, ambiguous_dataset, **kwargs)
        # forward() takes no loss kwargs and `effective_mean` divides by the effective batch itself; without this the
        # Trainer counts soft labels as B*K items and skips the division by accumulation steps.
        self.model_accepts_loss_kwargs = False
        self.method_state: dict[str, Tensor] = {"epochs_finished": torch.tensor(0)}
        self.effective_counts: dict[str, float] = {}
        self._observed: list[dict[str, Tensor]] = []
        self._figures: dict[str, list[Tensor | float]] = {}
        if self.train_dataset is not None:
            self.data = cast(TrainingSet, self.train_dataset)
            observed = torch.as_tensor(self.data.observed, dtype=torch.float32)
            self.table = LabelTable(self.data.ids, observed).to(self.args.device)
            self.class_weight = self._class_weight()
            self.set_up()
        self.add_callback(StateCallback(self))
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(early_stopping_patience=args.early_stopping_patience))

    # ---- what a method overrides -------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Add columns to `self.table` and tensors to `self.method_state`. Called once, before training."""

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Targets `(B, K)` and weights `(B,)` of a batch: the one place where a method changes labels in training.

        Called without gradient. The base class returns the annotators' targets, weight 0 where there are none.
        """
        targets = self.table.observed[batch.index]
        return targets, (targets.sum(dim=1) > 0).float() * batch.labelled

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """What the loss has beside cross-entropy, averaged with `effective_mean`."""
        return 0.0

    def observe(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Rows `(n, ...)` that `update_state` needs of this micro-batch; must hold `index` and `role`."""
        return {"index": batch.index, "role": batch.role, "target": targets, "weight": weights}

    def update_state(self, rows: dict[str, Tensor]) -> None:
        """Change the method's state after an optimiser step, from all rows of the effective batch.

        The rows come from all micro-batches and ranks, sorted by (index, role) and without repetitions, so every rank
        computes the same. The base class writes what was trained on into the label table.
        """
        first = rows["role"] != AUGMENTED
        self.table.write(rows["index"][first], target=rows["target"][first], weight=rows["weight"][first])

    def epoch_finished(self, epoch: int) -> None:
        """Called once after each epoch (0, 1, ...), on all ranks, before its evaluation and checkpoint."""

    def trajectory_tensors(self) -> dict[str, Tensor]:
        """What the label trajectory keeps of each epoch beside the label table, for example prototypes."""
        return {}

    @classmethod
    def draw_figures(cls, run: Path, out: Path, classes: list[str]) -> dict[str, str]:
        """Draw the method's own figures of a run folder into `out`; file name -> caption, for its model card."""
        return {}

    def takes_ambiguous(self, epoch: int) -> bool:
        """Whether ambiguous utterances are drawn in this epoch; a warm-up says no."""
        return self.needs_ambiguous

    # ---- tools for methods -------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Index of the running epoch, from 0."""
        return int(self.state.epoch or 0)

    def effective_mean(self, values: Tensor, group: str) -> Tensor:
        """Sum of `values` `(n,)` over the size of `group` in the effective batch; 0 where the group is empty.

        Scaled for the Trainer, which divides by the number of micro-batches and averages gradients over ranks.
        """
        total = self.effective_counts[group]
        scale = self.current_gradient_accumulation_steps * world_size()
        return values.float().sum() * (scale / total if total else 0.0)

    def record(self, **figures: float | Tensor) -> None:
        """Numbers of a micro-batch, averaged and logged with the loss."""
        for name, value in figures.items():
            self._figures.setdefault(name, []).append(value)  # made a number when logged: no wait for the GPU

    # ---- loss --------------------------------------------------------------------------------------------------

    def groups(self, batch: BatchRows) -> dict[str, Tensor]:
        """The groups `(B,)` bool over which losses may be averaged."""
        return {"labelled": batch.labelled, "ambiguous": batch.ambiguous, "all": batch.labelled | batch.ambiguous}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Loss of a micro-batch; in evaluation the mean cross-entropy against the votes' shares."""
        inputs = dict(inputs)
        batch = BatchRows(inputs.pop("index"), inputs.pop("role"))
        votes, _ = inputs.pop("votes", None), inputs.pop("consensus", None)
        outputs = model(**inputs)
        if votes is not None:
            loss = soft_cross_entropy(outputs.logits, shares(votes)).mean()
        else:
            loss = self._training_loss(outputs, batch)
        # The embedding is left out of evaluations by the model's `keys_to_ignore_at_inference`, unless asked for.
        kept = {"loss": loss, "logits": outputs.logits, "embedding": outputs.embedding}
        return (loss, kept) if return_outputs else loss

    def _training_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor:
        with torch.no_grad():
            targets, weights = self.correct(outputs, batch)
        # A method's own labels of ambiguous rows come from a model that was trained with balanced classes already.
        weights = weights * torch.where(batch.labelled, (targets * self.class_weight).sum(dim=1), 1.0)
        cross_entropy = weights * soft_cross_entropy(outputs.logits, targets)
        loss = torch.zeros((), device=cross_entropy.device)
        groups = self.groups(batch)
        for group in self.averaged_over:
            term = self.effective_mean(cross_entropy[groups[group]], group)
            self.record(**{f"loss_{group}": term.detach()})
            loss = loss + term
        loss = loss + self.extra_loss(outputs, batch)
        with torch.no_grad():
            rows = self.observe(outputs, batch, targets, weights)
        self._observed.append({name: tensor.detach() for name, tensor in rows.items()})
        return loss

    def _class_weight(self) -> Tensor:
        """`(K,)` N / (K n_c) over the targets, whose mean over them is 1; ones where not asked for."""
        n = self.table.observed[: None if self.needs_ambiguous else self.data.n_labelled].sum(dim=0)
        if self.args.class_weights == "none":
            return torch.ones_like(n)
        return n.sum() / (len(n) * n.clamp(min=1))

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, None]:
        """The micro-batches of one optimiser step; counts its groups over micro-batches and ranks on the way."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts: dict[str, Tensor] = {}
        for inputs in samples:
            for group, mask in self.groups(BatchRows(inputs["index"], inputs["role"])).items():
                counts[group] = counts.get(group, 0) + mask.sum()
        names = sorted(counts)
        if names:
            total = torch.stack([counts[name] for name in names]).to(device)
            if world_size() > 1:
                torch.distributed.all_reduce(total)
            self.effective_counts = dict(zip(names, total.tolist(), strict=True))
        self._observed = []
        return samples, None

    # ---- state -------------------------------------------------------------------------------------------------

    def step_taken(self) -> None:
        """After the optimiser's step: hand the effective batch's rows to the method."""
        observed, self._observed = self._observed, []
        if self.accelerator.optimizer_step_was_skipped or not observed:
            return
        rows = gather_rows({name: torch.cat([part[name] for part in observed]) for name in observed[0]})
        self.update_state(sorted_unique(rows))

    def finish_epochs(self, until: int) -> None:
        """Run `epoch_finished` for every finished epoch before `until` that has not had it."""
        done = self.method_state["epochs_finished"]
        # Random state is put back: on a resume this may run before or after the checkpoint's is restored.
        with torch.random.fork_rng():
            while int(done) < until:
                self.epoch_finished(int(done))
                done += 1
                every = self.args.trajectory_every
                if self.args.should_save and every and int(done) % every == 0:
                    tensors = {name: t.detach().cpu().numpy() for name, t in self.trajectory_tensors().items()}
                    write_trajectory(Path(str(self.args.output_dir)), int(done), self.table.arrays(), tensors)

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, prediction_loss_only: bool | None = None, *args: Any, **kw: Any
    ) -> Any:
        """As the Trainer's, but leaves the random state alone, and its loss is the mean over the clips.

        When and how often one evaluates then changes no result, nor does the number of ranks: the Trainer's own loss
        counts the clips that fill the last batch of each rank.
        """
        with torch.random.fork_rng():
            output: Any = super().evaluation_loop(dataloader, description, False, *args, **kw)
        prefix = kw.get("metric_key_prefix", "eval")
        logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        losses = soft_cross_entropy(torch.as_tensor(logits), shares(torch.as_tensor(output.label_ids[0])))
        output.metrics[f"{prefix}_loss"] = float(losses.mean())
        return output

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # Older checkpoints must not be deleted before the new one is whole, so the Trainer deletes none.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        folder = Path(self._get_output_dir(trial=trial))
        checkpoint = folder / f"{CHECKPOINT}{self.state.global_step}"
        if self.args.should_save:
            save_file({k: v.contiguous().cpu() for k, v in self._all_state().items()}, checkpoint / STATE_FILE)
        self.accelerator.wait_for_everyone()  # every rank has written its random state
        if self.args.should_save:
            checkpoints.mark_complete(checkpoint)
            checkpoints.rotate(folder, limit, keep=self.state.best_model_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # The one hook that every way of resuming (plain, DDP, FSDP, DeepSpeed) passes through.
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._load_all_state(load_file(Path(checkpoint) / STATE_FILE))

    def _all_state(self) -> dict[str, Tensor]:
        return {**{_TABLE + k: v for k, v in self.table.state().items()}, **self.method_state}

    def _load_all_state(self, saved: Mapping[str, Tensor]) -> None:
        self.table.load_state({k.removeprefix(_TABLE): v for k, v in saved.items() if k.startswith(_TABLE)})
        for name, tensor in self.method_state.items():
            tensor.copy_(saved[name])

    # ---- data --------------------------------------------------------------------------------------------------

    def ambiguous_per_step(self, epoch: int) -> int:
        """Ambiguous utterances in each optimiser step of an epoch."""
        data = self.data
        if not self.takes_ambiguous(epoch) or data.n_ambiguous == 0:
            return 0
        batch = self._effective_batch()
        if self.args.ambiguous_per_labelled is None:
            return math.ceil(data.n_ambiguous / math.ceil(data.n_labelled / batch))
        return round(batch * self.args.ambiguous_per_labelled)

    def _effective_batch(self) -> int:
        return self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * world_size()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        self._sampler = StepSampler(
            self.data.labelled_durations,
            self.data.ambiguous_durations,
            effective_batch=self._effective_batch(),
            ambiguous_per_step=self.ambiguous_per_step,
            seed=self.args.seed,
            length_grouping=self.args.length_grouping,
        )
        return self._sampler

    def get_train_dataloader(self) -> DataLoader:
        """Loader whose batches hold `per_device_train_batch_size` labelled utterances and what travels with them."""
        return self._get_dataloader(
            self.data,
            description="Training",
            batch_size=self._train_batch_size,
            sampler_fn=self._get_train_sampler,
            is_training=True,
        )

    def begin_epoch(self) -> None:
        """Before an epoch's loader is asked for its order (also when resuming inside the epoch)."""
        self._sampler.set_epoch(self.epoch)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Not the Trainer's: that one would send `training_args.bin`, a pickle. See `hf_ambiser.runs.push`."""
        raise ValueError("push the finished run instead: `hf-ambiser push RUN <account>/<name>`.")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means over micro-batches and ranks of what `record` was given to the training log."""
        if "loss" in logs:
            means: dict[str, list[float]] = {}
            for figures in gather_objects({name: list(map(float, v)) for name, v in self._figures.items()}):
                for name, values in figures.items():
                    means.setdefault(name, []).extend(values)
            logs.update({name: sum(values) / len(values) for name, values in means.items()})
            self._figures = {}
        super().log(logs, start_time)
