"""One run from its arguments to its run folder: data, model, trainer, training, scores.

The run folder (`output_dir`) holds `arguments.yaml`, `data.json`, `environment.json`, checkpoints, `trajectory/`,
`model/` (the trained model with its code, feature extractor, card and figures), `predictions/`, `reference.parquet`
(what the raters said of the training utterances) and, written last, `results.json`. A report reads nothing else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from transformers import set_seed

from hf_ambiser import checkpoints
from hf_ambiser.cards import CARD, write_card
from hf_ambiser.data.augment import Augmenter
from hf_ambiser.data.card import REPLACED
from hf_ambiser.data.frames import with_frames
from hf_ambiser.data.loading import dataset_config, load_split, read_dataset_info
from hf_ambiser.data.splits import split_family
from hf_ambiser.data.training_set import EvaluationSet, TrainingSet, describe
from hf_ambiser.distributed import rank
from hf_ambiser.methods import load_method
from hf_ambiser.progress import use_one_bar
from hf_ambiser.run_folder import ARGUMENTS, RESULTS, write_whole
from hf_ambiser.runs.arguments import DataArguments, RunArguments
from hf_ambiser.runs.build_model import build_model
from hf_ambiser.runs.environment import describe_environment
from hf_ambiser.runs.scoring import ValidationMetrics, score, write_predictions
from hf_ambiser.trainer import AmbiSERTrainer


logger = logging.getLogger(__name__)
REFERENCE = "reference.parquet"
BASE_MODEL = "base_model"
_PLACES = ("dataset", "output_dir")


def run(arguments: RunArguments) -> dict[str, Any]:
    """Train and score one run; a run that was stopped goes on, a finished one is only read.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: If the run folder belongs to a run with other arguments.
    """
    folder = Path(str(arguments.training.output_dir))
    check_folder(folder, arguments.given)
    if (folder / RESULTS).is_file():
        logger.info("%s is finished; nothing to do. Its results are returned.", folder)
        if rank() == 0 and not (folder / "model" / CARD).is_file():
            write_card(folder)  # the run was killed between its results and its card
        return json.loads((folder / RESULTS).read_text())

    trainer, tests = prepare(arguments)
    data, environment = _describe_data(arguments, trainer), describe_environment()
    _check_data(folder, data)
    use_one_bar(trainer)
    writes = trainer.is_world_process_zero()
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.drop_incomplete(folder)
        write_whole(folder / ARGUMENTS, yaml.safe_dump(arguments.given, sort_keys=False))
        write_whole(folder / "data.json", json.dumps(data, indent=1))
        write_whole(folder / "environment.json", json.dumps(environment, indent=1))
        _write_reference(folder / REFERENCE, arguments.data, trainer)
    trainer.accelerator.wait_for_everyone()

    last = checkpoints.last_complete(folder)
    if last is not None:
        logger.info("going on from %s.", last)
    outcome = trainer.train(resume_from_checkpoint=str(last) if last else None)
    results = {
        "system": arguments.system,
        "method": arguments.method,
        "seed": arguments.training.seed,
        "data": data,
        "environment": environment,
        "training": {k: v for k, v in outcome.metrics.items() if k != "total_flos"},
        "parameters": sum(p.numel() for p in trainer.bare_model().parameters()),
        "log": trainer.state.log_history,
        # A name: results are compared and published elsewhere, where this machine's paths say nothing.
        "best_checkpoint": Path(best).name if (best := trainer.state.best_model_checkpoint) else None,
        "scores": score_splits(trainer, tests, folder),
        "scored_clips_cut_at_max_seconds": {name: test.n_cut for name, test in tests.items()},
    }
    trainer.save_model(str(folder / "model"))
    if writes:
        # A pickle that loading does not need, and a card that peft writes about nothing.
        (folder / "model" / "training_args.bin").unlink(missing_ok=True)
        (folder / "model" / CARD).unlink(missing_ok=True)
        # Written last and whole: a folder with results is a finished run. Its card is made from it.
        write_whole(folder / RESULTS, json.dumps(results, indent=1))
        write_card(folder)
    trainer.accelerator.wait_for_everyone()
    return results


def prepare(arguments: RunArguments) -> tuple[AmbiSERTrainer, dict[str, EvaluationSet]]:
    """Trainer and test sets of a run."""
    data, training = arguments.data, arguments.training
    method = load_method(arguments.method)
    classes = read_dataset_info(data.dataset)["classes"]
    # The seed is set before the model is made: its initial weights are part of a run's seed.
    set_seed(training.seed)
    model, feature_extractor = build_model(
        arguments.model, method.model_family, classes, Path(str(training.output_dir)) / BASE_MODEL
    )
    # A model that answers about long clips piece by piece also learns from pieces.
    segment_seconds = getattr(model.config, "segment_seconds", None)
    add: Callable[[Any], Any] | None = None
    if hasattr(feature_extractor, "extract") and not method.needs_augmented and segment_seconds is None:
        # Computed once for all epochs and runs; what is augmented anew in each epoch cannot be.
        add = partial(with_frames, extractor=feature_extractor, max_seconds=training.max_seconds)
    names = [data.validation_split] if data.validation_split else []
    if not names:
        training.eval_strategy = "no"
    names += [name for name in data.test_splits if name not in names]
    # The other ranks find what the first one has computed.
    with training.main_process_first(desc="data sets and features"):
        labelled = _join(data, data.train_splits, add)
        ambiguous = _join(data, data.ambiguous_splits, add) if method.needs_ambiguous else None
        scored = {name: EvaluationSet(_load(data, name, add), training.max_seconds) for name in names}
    train_set = TrainingSet(
        labelled,
        ambiguous,
        target=training.target or method.target,
        augment=Augmenter(training.augmentation) if method.needs_augmented else None,  # type: ignore[arg-type]
        seed=training.seed,
        max_seconds=training.max_seconds,
        cache_gb=training.audio_cache_gb,
        ambiguous_target=method.ambiguous_target,
        segment_seconds=segment_seconds,
    )
    if hasattr(feature_extractor, "fit"):
        _fit(feature_extractor, train_set)
    trainer = method(
        model,
        training,
        train_set,
        scored[data.validation_split] if data.validation_split else None,
        feature_extractor=feature_extractor,
        compute_metrics=ValidationMetrics(classes),
    )
    tests = {name: scored[name] for name in data.test_splits}
    for name in data.test_splits if segment_seconds else []:
        pieces = EvaluationSet(_load(data, name), training.max_seconds, segment_seconds=segment_seconds)
        if len(pieces) > len(tests[name]):
            tests[f"{name}_segments"] = pieces
    return trainer, tests


def _fit(extractor: Any, train_set: TrainingSet) -> None:
    """Give an extractor the statistics of the training clips, which it is saved with."""
    first = next(train_set.clips())
    (extractor.fit if first.ndim == 1 else extractor.fit_features)(train_set.clips())


def score_splits(trainer: AmbiSERTrainer, tests: dict[str, EvaluationSet], folder: Path) -> dict[str, Any]:
    """Figures of every test split; predictions are written beside them, so that runs can be compared clip by clip."""
    classes = list(trainer.bare_model().config.id2label.values())
    scores = {}
    for name, data in tests.items():
        # Nothing to ignore: the embedding comes along, for a report to draw.
        predicted: Any = trainer.predict(data, ignore_keys=[]).predictions  # type: ignore[arg-type]
        logits, embedding = predicted
        scores[name] = score(logits, data.votes, data.consensus, classes, data.agreement)
        if trainer.is_world_process_zero():
            write_predictions(folder / "predictions" / f"{name}.parquet", data, logits, embedding)
    return scores


def _load(data: DataArguments, split: str, add: Callable[[Any], Any] | None = None) -> Any:
    return load_split(data.dataset, data.dataset_config, split, reveal=split in data.reveal_splits, add=add)


def _join(data: DataArguments, splits: list[str], add: Callable[[Any], Any] | None) -> Any:
    """Several splits as one; their columns are alike."""
    from datasets import concatenate_datasets

    if not splits:
        raise ValueError("a method that learns from ambiguous utterances needs `ambiguous_splits`, for example [d2].")
    parts = [_load(data, split, add) for split in splits]
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts)


def _describe_data(arguments: RunArguments, trainer: AmbiSERTrainer) -> dict[str, Any]:
    """What the run was trained on: fingerprints, protocol, counts, and whose hidden labels were revealed."""
    data = arguments.data
    return {
        **_fingerprints(data.dataset, data.dataset_config),
        "train_splits": data.train_splits,
        "ambiguous_splits": data.ambiguous_splits if trainer.needs_ambiguous else [],
        "revealed_splits": data.reveal_splits,
        **describe(trainer.data),
    }


def _fingerprints(dataset: str, name: str) -> dict[str, Any]:
    """What the data is, from the data set's report alone: nothing is loaded."""
    if not dataset:
        raise ValueError("a run needs `dataset`: the folder that a dataset script made.")
    info = read_dataset_info(dataset)
    config = dataset_config(info, dataset, name)
    family, fold = split_family(name)
    return {
        "corpus": info["corpus"],
        "classes": info["classes"],
        "dataset_config": name,
        "split_family": family,
        "fold": fold,
        "protocol": config["protocol"],
        "content": info["content"],
        "split_fingerprint": config["fingerprint"],
        "policy": info["policy"]["name"],
        "policy_fingerprint": info["policy_fingerprint"],
        "aggregation": info["policy"].get("aggregation", "shares"),
        **({REPLACED: info[REPLACED]} if REPLACED in info else {}),
    }


def _check_data(folder: Path, data: dict[str, Any]) -> None:
    """A run goes on with the data it began with: rows of its label table are utterances."""
    path = folder / "data.json"
    before = json.loads(path.read_text()) if path.is_file() else data
    changed = sorted(name for name in data if before.get(name) != data[name])
    if changed:
        raise ValueError(
            f"{folder} was made with other data ({', '.join(changed)} differ): the data set was built anew. Give"
            " another output_dir, or delete that folder."
        )


def _write_reference(path: Path, data: DataArguments, trainer: AmbiSERTrainer) -> None:
    """The raters' answer to every training utterance, and so to its segments; the trainer never opens this file."""
    splits = [*data.train_splits, *(data.ambiguous_splits if trainer.needs_ambiguous else [])]
    columns = ["id", "reference_votes", "reference_label", "true_distribution"]
    parts = [_load(data, split).select_columns(columns).with_format("arrow")[:] for split in splits]
    table = pa.concat_tables(parts)
    row = {name: i for i, name in enumerate(table["id"].to_pylist())}
    segments = [name for name in trainer.data.ids if name not in row]
    if segments:
        cut = table.take([row[name.rpartition("#")[0]] for name in segments])
        table = pa.concat_tables([table, cut.set_column(0, table.schema.field("id"), pa.array(segments))])
    part = path.with_suffix(".part")
    pq.write_table(table, part)
    part.replace(path)


def check_folder(folder: Path, given: Mapping[str, Any]) -> None:
    """Check that a run folder, if it is one already, belongs to the run with these fields and their data.

    Raises:
        ValueError: If its arguments or its data were others, or the data set is not there.
    """
    defaults = DataArguments()
    dataset = given.get("dataset", defaults.dataset)
    _check_data(folder, _fingerprints(dataset, given.get("dataset_config", defaults.dataset_config)))
    path = folder / ARGUMENTS
    if not path.is_file():
        return
    before = yaml.safe_load(path.read_text())
    # Where folder and data set lie does not matter, so that both may be moved; what the data is was checked.
    changed = sorted(k for k in {**before, **given} if k not in _PLACES and before.get(k) != given.get(k))
    if changed:
        raise ValueError(
            f"{folder} holds a run with other arguments ({', '.join(changed)} differ). Give another output_dir, or"
            " delete that folder."
        )
