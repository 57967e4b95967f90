"""Answers of a run to the rest of its test side, so that every utterance with votes of held-out speakers is answered.

A run is scored on its `test_splits`, which often leave out the utterances without a consensus label. Published figures
of distributions are on all utterances with votes. So a run also answers the other splits of its test side. Only these
answers are stored; cards and reports score the whole side with them (`run_scores`).

The splits of the test side should be held out, and a run may learn from them all the same: `learnt_from` finds that.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from hf_ambiser.data.loading import dataset_config, load_split, read_dataset_info
from hf_ambiser.data.splits import held_out_splits
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.runs.scoring import save_predictions
from hf_ambiser.training.preparation import frames_once


if TYPE_CHECKING:
    import numpy as np

    from hf_ambiser.data.split_source import SplitSource
    from hf_ambiser.training.dataset import EvaluationSet
    from hf_ambiser.training.trainer import AmbiSERTrainer


logger = logging.getLogger(__name__)


def answer_rest(trainer: AmbiSERTrainer, tests: Mapping[str, EvaluationSet], folder: RunFolder) -> list[str]:
    """Answer the splits of the test side that are not among the test sets, and write these answers.

    Args:
        trainer: A trainer on splits of `load_split`.
        tests: The test sets of the run, whose answers are written already.
        folder: Its folder.

    Returns:
        The names of the predictions that together are every utterance with votes of the held-out speakers; empty if
        the configuration holds out no speaker, or if a test set has the name of another split.
    """
    source = trainer.data.labelled_sources[0]
    side = _side(source, tests)
    missing = [split for split, name in side.items() if name is None]
    if any(split in tests for split in missing):
        return []
    # All folds share their utterances, so the frames of a slow feature extractor are added to all of them at once.
    add = frames_once(trainer.args, trainer.bare_model(), trainer.processing_class)
    for split in missing:
        with trainer.args.main_process_first(desc="data sets and features"):
            loaded = load_split(source.dataset, source.config, split, add=add)
        data = trainer.evaluation_set(loaded)
        logits, _ = trainer.predict(data, ignore_keys=[]).predictions
        if trainer.is_world_process_zero():
            save_predictions(folder.predictions_of(split), data, logits)
    return [name or split for split, name in side.items()]


def learnt_from(
    trainer: AmbiSERTrainer, answered: Mapping[str, np.ndarray], before: Collection[str] = ()
) -> dict[str, int]:
    """Return how many utterances of each answered split the run has learnt from, for the splits that have any.

    Args:
        trainer: A trained trainer.
        answered: Answered split -> the ids of its utterances.
        before: Ids of the utterances that the trained model has learnt from with which the run began.
    """
    learnt, found = {*trainer.data.ids, *before}, {}
    for name, ids in answered.items():
        if n := sum(one in learnt for one in ids):
            found[name] = n
            logger.warning(
                "%d of the %d utterances of the test split %r are in the training set%s: its figures say nothing about"
                " voices that the model has not heard.",
                n,
                len(ids),
                name,
                " of this run or of the model that it began with" if before else "",
            )
    return found


def heard_before(begun: Mapping[str, Any] | None, corpus: str) -> list[str]:
    """The utterances of a corpus that the trained model of `begun_with.json` is known to have learnt from."""
    return list(((begun or {}).get("learnt_from") or {}).get(corpus, ()))


def validation_learnt_from(trainer: AmbiSERTrainer, before: Collection[str]) -> int:
    """Return how many validation utterances the run learns from, or the trained model with which it begins has.

    Args:
        trainer: The run's trainer.
        before: Ids of the utterances that the trained model has learnt from.
    """
    learnt = {*trainer.data.ids, *before}
    return sum(one in learnt for one in getattr(trainer.eval_dataset, "ids", ()))


def warn_of_known_validation(trainer: AmbiSERTrainer, before: Collection[str]) -> None:
    """Say it if validation utterances are learnt from; see `validation_learnt_from`."""
    if n := validation_learnt_from(trainer, before):
        logger.warning(
            "%d of the %d validation utterances are in the training set%s: their figures, and an epoch that is chosen"
            " by them, say nothing about voices that the model has not heard.",
            n,
            len(trainer.eval_dataset),  # type: ignore[arg-type]
            " of this run or of the model that it begins with" if before else "",
        )


def _side(source: SplitSource, tests: Mapping[str, EvaluationSet]) -> dict[str, str | None]:
    """The splits of the test side -> the test set that is the whole split, or None; of two ways, the shorter one."""
    splits = dataset_config(read_dataset_info(source.dataset), source.dataset, source.config)["splits"]
    answered = {}
    for name, data in tests.items():
        # A part of a split, or its pieces, are not the split.
        if len(data.sources) == 1 and len(data) == splits[data.sources[0].split]["rows"]:
            answered[data.sources[0].split] = name
    ways = [
        {split: answered.get(split) for split in way if split in splits and splits[split]["rows"]}
        for way in held_out_splits(source.config)
    ]
    return min(ways, key=lambda way: list(way.values()).count(None), default={})
