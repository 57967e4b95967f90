"""A Trainer of transformers that takes the splits of a built data set directly."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer

from hf_ambiser.models import class_names
from hf_ambiser.run_folder.decision import DECISION
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.collator import UtteranceCollator
from hf_ambiser.training.dataset import EvaluationSet, TrainingSet
from hf_ambiser.training.frame_cache import FrameCache
from hf_ambiser.training.inherited_arguments import (
    METRICS,
    check_at_start,
    check_inherited,
    check_without_validation,
)
from hf_ambiser.training.losses import shares, soft_cross_entropy
from hf_ambiser.training.preparation import (
    check_labelled_augmentation,
    evaluation_set,
    fit_frames,
    is_split,
    segment_seconds,
    training_set,
    with_cached_frames,
)
from hf_ambiser.training.validation import ValidationMetrics


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


class SplitTrainer(Trainer):
    """Prepares splits for training and scoring; see `AmbiSERTrainer` for the arguments.

    `data_collator`, `processing_class` and, for splits, `compute_metrics` are set here.
    """

    args: AmbiSERTrainingArguments

    def __init__(
        self,
        model: nn.Module,
        args: AmbiSERTrainingArguments,
        train_dataset: TrainingSet | Dataset | None,
        eval_dataset: EvaluationSet | Dataset | None,
        feature_extractor: Any,
        ambiguous_dataset: Dataset | None,
        **kwargs: Any,
    ) -> None:
        check_inherited(args)  # again: they may have been changed since they were made
        if is_split(train_dataset) or is_split(eval_dataset):
            feature_extractor = feature_extractor or cast(Any, model).make_feature_extractor()
            kwargs.setdefault("compute_metrics", ValidationMetrics(class_names(cast(Any, model).config)))
            how: Any = (type(self), args, model, feature_extractor)
            # The first rank computes; the other ranks read its cache.
            with args.main_process_first(desc="data sets and features"):
                if is_split(train_dataset):
                    train_dataset = training_set(cast(Any, train_dataset), ambiguous_dataset, *how)
                if is_split(eval_dataset):
                    eval_dataset = evaluation_set(cast(Any, eval_dataset), *how)
        check_labelled_augmentation(args, train_dataset)
        if eval_dataset is None:
            check_without_validation(args)
            args.eval_strategy = "no"
        self.collate = UtteranceCollator(feature_extractor)
        self.training_metrics: dict[str, float] = {}
        self.training_log: list[dict[str, float]] = []
        super().__init__(
            model=cast(Any, model),
            args=args,
            data_collator=self.collate,
            train_dataset=cast(Any, train_dataset),
            eval_dataset=cast(Any, eval_dataset),
            processing_class=feature_extractor,
            **kwargs,
        )
        fit_frames(self.bare_model(), cast(Any, train_dataset), self.collate, args)

    def bare_model(self) -> Any:
        """Return the model without the wrappers of accelerate and peft."""
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def evaluation_set(self, split: EvaluationSet | Dataset) -> EvaluationSet:
        """Return a split as this trainer scores it: whole utterances, with its own feature extractor."""
        if not is_split(split):
            return cast(EvaluationSet, split)
        how: Any = (type(self), self.args, self.bare_model(), self.processing_class)
        with self.args.main_process_first(desc="data sets and features"):
            return evaluation_set(cast(Any, split), *how)

    def test_sets(self, splits: Mapping[str, Any]) -> dict[str, EvaluationSet]:
        """Splits as this trainer scores them; of a model that answers piece by piece, its pieces too.

        Pieces of the split `d3` are named `d3_segments`. They are left out where no utterance is longer than a piece.
        """
        sets = {name: self.evaluation_set(split) for name, split in splits.items()}
        size = segment_seconds(self.bare_model())
        for name, split in splits.items() if size else ():
            pieces = EvaluationSet(split, self.args.max_seconds, segment_seconds=size)
            if len(pieces) > len(sets[name]):
                how: Any = (self.args, self.bare_model(), self.processing_class)
                sets[f"{name}_segments"] = with_cached_frames(pieces, *how)
        return sets

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does. A decision of the model that it begins with is dropped: it was of that model."""
        self._check_frames()
        config = self.bare_model().config
        if getattr(config, DECISION, None) is not None:
            logger.warning(
                "The model has a decision (temperature, threshold, sets, balance), which is dropped: calibrate again."
            )
            delattr(config, DECISION)
        output = super().train(*args, **kwargs)
        self.training_metrics = dict(output.metrics)
        self.training_log = list(self.state.log_history)  # what is evaluated from now on is no part of the training
        return output

    def check_arguments(self, begins: bool) -> None:
        """Refuse arguments that cannot act, see `check_at_start`; `begins`: the training begins, or it goes on."""
        ours = {type(None): ("loss",), ValidationMetrics: METRICS}
        check_at_start(self.args, ours.get(type(self.compute_metrics)), begins)

    def check_not_finished(self) -> None:
        """Refuse to train in the folder of a finished run.

        Raises:
            ValueError: If there is one, whose label trajectory and checkpoints would be lost.
        """
        folder = RunFolder(str(self.args.output_dir))
        if folder.is_finished:
            raise ValueError(
                f"output_dir={str(folder.path)!r} holds a finished run. Give another output_dir, or delete"
                " that folder."
            )

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_checkpoint(*args, **kwargs)
        if not (
            self.is_fsdp_enabled or self.is_deepspeed_enabled
        ):  # these have divided the weights among ranks by now
            self._check_frames()  # a checkpoint holds an encoder, too

    def _check_frames(self) -> None:
        """Refuse to train on the frames of another encoder than the one that the model has now."""
        frames: FrameCache | None = getattr(self.train_dataset, "frames", None)
        if frames is not None:
            frames.check_encoder(self.bare_model())

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader:
        # `dataloader_drop_last` is for training steps. Every utterance of an evaluation is answered.
        drop = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = drop and kwargs.get("is_training", False)
        try:
            return super()._get_dataloader(*args, **kwargs)
        finally:
            self.args.dataloader_drop_last = drop

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate as the Trainer does; `eval_dataset` may also be a split from `load_split`."""
        if is_split(eval_dataset):
            eval_dataset = self.evaluation_set(eval_dataset)
        return super().evaluate(eval_dataset, *args, **kwargs)

    def predict(self, test_dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Predict as the Trainer does; `test_dataset` may also be a split from `load_split`."""
        return super().predict(self.evaluation_set(test_dataset), *args, **kwargs)  # type: ignore[arg-type]

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, prediction_loss_only: bool | None = None, *args: Any, **kw: Any
    ) -> Any:
        """Evaluate as the Trainer does, but leave the random state alone and average the loss over the utterances.

        So no result depends on when and how often one evaluates, or on the number of ranks. (The Trainer's own loss
        also counts the utterances that fill up the last batch of each rank.)
        """
        with torch.random.fork_rng():
            output: Any = super().evaluation_loop(dataloader, description, False, *args, **kw)
        prefix = kw.get("metric_key_prefix", "eval")
        logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        losses = soft_cross_entropy(torch.as_tensor(logits), shares(torch.as_tensor(output.label_ids[0])))
        output.metrics[f"{prefix}_loss"] = float(losses.mean())
        return output

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: the Trainer's push would send `training_args.bin`, a pickle. See `hf_ambiser.runs.push`.

        Raises:
            ValueError: Always; it names the command that pushes a finished run.
        """
        raise ValueError(
            "push_to_hub() of the Trainer would send pickles. Push the finished run instead:"
            " `hf-ambiser push RUN <account>/<name>`."
        )
