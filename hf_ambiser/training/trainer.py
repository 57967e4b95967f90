"""The trainer that all methods share: what a step sees, how its loss is averaged, when a method's state changes.

A method is a subclass. It overrides `correct` (targets and weights of a batch) and, where it needs them,
`extra_loss`, `observe` and `update_state` (what it learns from an optimiser step) and `epoch_finished`.
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
from hf_ambiser.training.class_weights import ClassBalance
from hf_ambiser.training.collator import AUGMENTED
from hf_ambiser.training.dataset import EvaluationSet, TrainingSet
from hf_ambiser.training.distributed import gather_objects, gather_rows, world_size
from hf_ambiser.training.dropped_raters import dropped_raters
from hf_ambiser.training.label_table import LabelTable
from hf_ambiser.training.loop_state import LoopState
from hf_ambiser.training.losses import shares, soft_cross_entropy
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.sampler import StepSampler
from hf_ambiser.training.weight_average import AveragingTrainer


if TYPE_CHECKING:
    from datasets import Dataset

Outputs = Any  # a transformers ModelOutput; which fields it has depends on the model family
STATE_FILE = "method_state.safetensors"
_TABLE = "table."


class AmbiSERTrainer(AveragingTrainer):
    """Trains on utterances whose labels may change: labelled ones and, for some methods, ambiguous ones.

    The base class learns from the labels as they are. These rules hold for every method:

    - One forward pass per micro-batch holds labelled, ambiguous and augmented rows.
    - A loss is the sum over a group of rows, divided by the group's size in the *effective* batch (all micro-batches
      and ranks of an optimiser step). So accumulation and the number of ranks do not change it,
      as long as there is no dropout and no masking, whose random numbers depend on how a step is divided.
    - State (the label table and `method_state`) changes once per optimiser step. The change is computed from the
      rows of the whole effective batch and is equal on all ranks; a step that the gradient scaler skipped changes
      nothing. State is float32 or int64. Every checkpoint saves it, and a resume restores it.
    - `epoch_finished` runs exactly once per epoch, however often the run was interrupted.

    Args:
        model: A model of `hf_ambiser.models` (or one with its outputs); peft may wrap it.
        args: Arguments of the method's `arguments_class`.
        train_dataset: Labelled utterances to learn from: a split from `load_split`, or a prepared `TrainingSet`,
            which also holds the ambiguous ones.
        eval_dataset: Validation utterances: a split, or an `EvaluationSet`. Without them there is no evaluation
            during training (`eval_strategy` becomes `"no"`).
        feature_extractor: Prepares audio; it is saved beside the model. None: the model's own.
        ambiguous_dataset: A split of ambiguous utterances, whose labels are not read. Methods that do not learn from
            such utterances ignore it.
        **kwargs: Passed to `Trainer`. The default `compute_metrics` gives WA, UA, macro-F1 and the distances from
            the votes.
    """

    name: ClassVar[str] = "base"
    arguments_class: ClassVar[type[AmbiSERTrainingArguments]] = AmbiSERTrainingArguments
    target: ClassVar[str] = "label"
    model_family: ClassVar[str] = "prototype"  # a family of the models folder: the default of this method
    needs_ambiguous: ClassVar[bool] = False
    ambiguous_target: ClassVar[str | None] = None  # label column of ambiguous utterances that is read; None: none
    averaged_over: tuple[str, ...] = ("labelled", "ambiguous")  # groups; the loss adds up their mean cross-entropies
    needs_augmented: ClassVar[bool] = False
    # What a model card says of the method: a sentence or two for somebody who has never heard of it, and its paper.
    summary: ClassVar[str] = ""
    paper: ClassVar[Paper | None] = None
    # The shared test suite reads these three. `suite_settings`: small arguments under which every phase of the method
    # occurs in three epochs. `variants`: what a user may choose, by name. `exceptions`: a property that the method's
    # mathematics rule out -> (the reason, arguments under which it holds after all and is tested, or None).
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
                f"one process sees {args.n_gpu} GPUs, so the Trainer would use DataParallel, which makes per-utterance"
                " state wrong. Start with `accelerate launch` (one process per GPU) or set CUDA_VISIBLE_DEVICES=0."
            )
        if args.push_to_hub:
            raise ValueError(
                "push_to_hub=True would let the Trainer push; it sends pickles and leaves out the model's code. Push"
                " the finished run instead: `hf-ambiser push RUN <account>/<name>`, or `--push_to_hub` when you train"
                " on the command line."
            )
        super().__init__(model, args, train_dataset, eval_dataset, feature_extractor, ambiguous_dataset, **kwargs)
        # forward() takes no loss kwargs, and `effective_mean` divides by the effective batch. With True the Trainer
        # would count soft labels as B*K items and skip the division by accumulation steps.
        self.model_accepts_loss_kwargs = False
        self.method_state: dict[str, Tensor] = {"epochs_finished": torch.tensor(0)}
        self.effective_counts: dict[str, float] = {}
        self._observed: list[dict[str, Tensor]] = []
        if self.train_dataset is not None:
            self.data = cast(TrainingSet, self.train_dataset)
            observed = torch.as_tensor(self.data.observed, dtype=torch.float32)
            self.table = LabelTable(self.data.ids, observed).to(self.args.device)
            if args.drop_raters:
                draw = dropped_raters(self.data, self.name, args.drop_raters, args.seed)
                self.table.draw_each_epoch(draw)
            # An ambiguous utterance whose label the method does not read has a row of zeros.
            learnt = self.table.observed[: None if self.needs_ambiguous else self.data.n_labelled]
            balance = (self.args.class_weights, self.args.class_weight_form, self.args.logit_adjustment)
            self.balance = ClassBalance.of(learnt.sum(dim=0), *balance)
            self.set_up()
        self.add_callback(StateCallback(self))
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(early_stopping_patience=args.early_stopping_patience))

    # ---- what a method overrides -------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Add columns to `self.table` and tensors to `self.method_state`. Called once, before training."""

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Return targets `(B, K)` and weights `(B,)` of a batch: the one place where a method changes labels.

        It is called without gradient. The base class returns the raters' targets, with weight 0 for rows that have
        none.
        """
        targets = self.table.observed_in(self.epoch)[batch.index]
        return targets, (targets.sum(dim=1) > 0).float() * batch.labelled

    def row_loss(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> Tensor:
        """Return each row's loss `(B,)` against what `correct` returned, balanced by class: cross-entropy.

        `ObjectiveTrainer` is for methods with another loss.
        """
        return self.balance.cross_entropy(outputs.logits, targets, weights, self.balanced_rows(batch))

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return the part of the loss that is not cross-entropy, averaged with `effective_mean`."""
        return 0.0

    def observe(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Return the rows `(n, ...)` of this micro-batch that `update_state` needs, with `index` and `role`."""
        return {"index": batch.index, "role": batch.role, "target": targets, "weight": weights}

    def update_state(self, rows: dict[str, Tensor]) -> None:
        """Change the method's state after an optimiser step, from all rows of the effective batch.

        The rows come from all micro-batches and ranks. They are sorted by (index, role), and none occurs twice, so
        every rank computes the same. The base class writes the step's targets and weights into the label table.
        """
        first = rows["role"] != AUGMENTED
        self.table.show(rows["index"][first], self.epoch)
        self.table.write(rows["index"][first], target=rows["target"][first], weight=rows["weight"][first])

    def epoch_finished(self, epoch: int) -> None:
        """Called once after each epoch (0, 1, ...), on all ranks, before its evaluation and checkpoint."""

    def balanced_rows(self, batch: BatchRows) -> Tensor:
        """Return the rows `(B,)` whose cross-entropy is balanced by class: the labelled ones.

        Ambiguous rows are not: a model that was trained with balanced classes made their labels.
        """
        return batch.labelled

    def trajectory_tensors(self) -> dict[str, Tensor]:
        """Return what the label trajectory keeps of each epoch beside the label table, for example prototypes."""
        return {}

    @classmethod
    def draw_figures(cls, run: Path, out: Path, classes: list[str]) -> dict[str, str]:
        """Draw the method's own figures of a run folder into `out`; return file name -> caption, for the card."""
        return {}

    def takes_ambiguous(self, epoch: int) -> bool:
        """Whether this epoch draws ambiguous utterances; False during a warm-up."""
        return self.needs_ambiguous

    # ---- tools for methods -------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Index of the running epoch, from 0."""
        return int(self.state.epoch or 0)

    def effective_mean(self, values: Tensor, group: str) -> Tensor:
        """Divide the sum of `values` `(n,)` by the size of `group` in the effective batch; an empty group gives 0.

        The result is scaled, because the Trainer divides by the number of micro-batches and averages gradients over
        ranks.
        """
        total = self.effective_counts[group]
        scale = self.current_gradient_accumulation_steps * world_size()
        return values.float().sum() * (scale / total if total else 0.0)

    def record(self, **figures: float | Tensor) -> None:
        """Add numbers of a micro-batch to the training log, where their means stand beside the loss."""
        for name, value in figures.items():
            self.unlogged.setdefault(name, []).append(value)  # becomes a number when logged: no wait for the GPU

    # ---- loss --------------------------------------------------------------------------------------------------

    def groups(self, batch: BatchRows) -> dict[str, Tensor]:
        """Return the groups of rows, `(B,)` bool each, over which losses may be averaged."""
        return {"labelled": batch.labelled, "ambiguous": batch.ambiguous, "all": batch.labelled | batch.ambiguous}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss of a micro-batch; in evaluation, the mean cross-entropy against the soft labels."""
        inputs = dict(inputs)
        batch = BatchRows(inputs.pop("index"), inputs.pop("role"))
        votes, _ = inputs.pop("votes", None), inputs.pop("consensus", None)
        outputs = model(**inputs)
        if votes is not None:
            loss = soft_cross_entropy(outputs.logits, shares(votes)).mean()
        else:
            loss = self._training_loss(outputs, batch)
        # In evaluation the model's `keys_to_ignore_at_inference` drops the embedding, unless a caller asks for it.
        kept = {"loss": loss, "logits": outputs.logits, "embedding": outputs.embedding}
        return (loss, kept) if return_outputs else loss

    def _training_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor:
        with torch.no_grad():
            targets, weights = self.correct(outputs, batch)
        row_loss = self.row_loss(outputs, batch, targets, weights)
        weights = weights * self.balance.utterance_weight(targets, self.balanced_rows(batch))
        loss = torch.zeros((), device=row_loss.device)
        groups = self.groups(batch)
        for group in self.averaged_over:
            term = self.effective_mean(row_loss[groups[group]], group)
            self.record(**{f"loss_{group}": term.detach()})
            loss = loss + term
        loss = loss + self.extra_loss(outputs, batch)
        with torch.no_grad():
            rows = self.observe(outputs, batch, targets, weights)
        self._observed.append({name: tensor.detach() for name, tensor in rows.items()})
        return loss

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, None]:
        """Return the micro-batches of one optimiser step, and count its groups over micro-batches and ranks."""
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
        """Hand the rows of the effective batch to the method, after the optimiser's step."""
        observed, self._observed = self._observed, []
        if self.accelerator.optimizer_step_was_skipped or not observed:
            return
        rows = gather_rows({name: torch.cat([part[name] for part in observed]) for name in observed[0]})
        self.update_state(sorted_unique(rows))

    def finish_epochs(self, until: int) -> None:
        """Run `epoch_finished` for every finished epoch before `until` that has not had it."""
        done = self.method_state["epochs_finished"]
        # The random state is put back, because on a resume this may run before or after the Trainer restores it.
        with torch.random.fork_rng():
            while int(done) < until:
                self.epoch_finished(int(done))
                done += 1
                every = self.args.trajectory_every
                if self.args.should_save and every and int(done) % every == 0:
                    tensors = {name: t.detach().cpu().numpy() for name, t in self.trajectory_tensors().items()}
                    write_trajectory(Path(str(self.args.output_dir)), int(done), self.table.arrays(), tensors)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial))
        checkpoint = folder / f"{CHECKPOINT}{self.state.global_step}"
        if self.args.should_save:
            checkpoints.unmark(checkpoint)
        loop = LoopState.of(self)
        # The Trainer must delete no older checkpoint, because the new one is not complete yet.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            save_file({k: v.contiguous().cpu() for k, v in self._all_state().items()}, checkpoint / STATE_FILE)
            loop.write(checkpoint)
        self.accelerator.wait_for_everyone()  # every rank has written its random state
        if self.args.should_save:
            checkpoints.mark_complete(checkpoint)
            self.keep_leg()
            checkpoints.rotate(folder, limit, keep=self.state.best_model_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # Every way of resuming (plain, DDP, FSDP, DeepSpeed) calls this hook, and no other hook is called by all.
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._load_all_state(load_file(Path(checkpoint) / STATE_FILE))

    def _all_state(self) -> dict[str, Tensor]:
        return {**{_TABLE + k: v for k, v in self.table.state().items()}, **self.method_state, **self.own_weights()}

    def _load_all_state(self, saved: Mapping[str, Tensor]) -> None:
        self.table.load_state({k.removeprefix(_TABLE): v for k, v in saved.items() if k.startswith(_TABLE)})
        missing = sorted(set(self.method_state) - set(saved))
        if missing:
            raise ValueError(
                f"the checkpoint lacks the method's state {missing}: it was saved with other arguments. Resume with"
                " the arguments that it was begun with, or start a new run folder."
            )
        for name, tensor in self.method_state.items():
            tensor.copy_(saved[name])
        self.take_own_weights(saved)

    # ---- data --------------------------------------------------------------------------------------------------

    def ambiguous_per_step(self, epoch: int) -> int:
        """Return the number of ambiguous utterances in each optimiser step of an epoch."""
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
        """Return a loader of batches of `per_device_train_batch_size` labelled utterances and their ambiguous ones."""
        return self._get_dataloader(
            self.data,
            description="Training",
            batch_size=self._train_batch_size,
            sampler_fn=self._get_train_sampler,
            is_training=True,
        )

    def begin_epoch(self) -> None:
        """Tell the sampler the epoch before its order is read (also on a resume inside the epoch)."""
        self._sampler.set_epoch(self.epoch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to the training log what `record` was given, as means over micro-batches and ranks."""
        if "loss" in logs:
            means: dict[str, list[float]] = {}
            for figures in gather_objects({name: list(map(float, v)) for name, v in self.unlogged.items()}):
                for name, values in figures.items():
                    means.setdefault(name, []).extend(values)
            logs.update({name: sum(values) / len(values) for name, values in means.items()})
            self.unlogged = {}
        super().log(logs, start_time)
