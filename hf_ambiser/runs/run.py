"""One run, from its arguments to its run folder: data, model, trainer, training, scores.

`hf_ambiser.run_folder.layout` lists the files of a run folder. The command line calls `run`, Python users `save_run`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import set_seed

from hf_ambiser.cards import write_card
from hf_ambiser.cards.facts import argument_defaults
from hf_ambiser.data.loading import dataset_config, load_split, read_dataset_info
from hf_ambiser.data.speakers import read_speakers
from hf_ambiser.data.split_source import SplitSource, sources_of
from hf_ambiser.files.read import exists
from hf_ambiser.methods import load_method
from hf_ambiser.models import class_names
from hf_ambiser.run_folder.adapter_base import put_beside
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.predictions import read_ids
from hf_ambiser.run_folder.published import code_digests
from hf_ambiser.run_folder.reference import COLUMNS, write_reference
from hf_ambiser.run_folder.run_lock import held
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.base_model import keep_base_of
from hf_ambiser.runs.begun_model import beginning_of
from hf_ambiser.runs.build_model import build_model
from hf_ambiser.runs.data_of_run import changed_data, describe_data, fingerprints
from hf_ambiser.runs.environment import describe_environment
from hf_ambiser.runs.given import beginning_by, given_by
from hf_ambiser.runs.held_out import (
    answer_rest,
    heard_before,
    learnt_from,
    validation_learnt_from,
    warn_of_known_validation,
)
from hf_ambiser.runs.scoring import save_predictions
from hf_ambiser.runs.train_splits import EARLIER, check_named_once, choose_train_splits, leave_out_empty
from hf_ambiser.training import checkpoints
from hf_ambiser.training.callbacks import use_one_bar
from hf_ambiser.training.data_arguments import DataArguments
from hf_ambiser.training.dataset import EvaluationSet
from hf_ambiser.training.distributed import rank
from hf_ambiser.training.preparation import frames_once, is_split, training_frames
from hf_ambiser.training.trainer import AmbiSERTrainer
from hf_ambiser.training.validation import best_epochs, score


logger = logging.getLogger(__name__)
_PLACES = ("dataset", "output_dir")


def run(arguments: RunArguments) -> dict[str, Any]:
    """Train and score one run; resume it if it was interrupted, and only read its results if it is finished.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: If the run folder belongs to a run with other arguments, or another process works in it.
    """
    folder = RunFolder(str(arguments.training.output_dir))
    check_folder(folder.path, arguments.given)
    _keep_earlier_defaults(arguments, folder)
    if folder.is_finished:
        logger.info("%s is finished, so its results are returned.", folder.path)
        if rank() == 0 and not folder.card.is_file():
            write_card(folder.path)  # the run was killed between its results and its card
        return folder.read_results()
    if rank() != 0:
        return _train(arguments, folder)
    with held(folder.path):
        # Another process may have finished it since the first look.
        return folder.read_results() if folder.is_finished else _train(arguments, folder)


def _train(arguments: RunArguments, folder: RunFolder) -> dict[str, Any]:
    """Train, or resume, and score one run that is not finished."""
    trainer, tests = prepare(arguments)
    if not folder.is_begun:
        trainer.check_length()  # before there is a folder, which would be one of a run with these arguments
    begin(trainer, arguments.given, arguments.data.reveal_splits)
    use_one_bar(trainer)
    trainer.train(resume_from_checkpoint=True)
    return finish(trainer, tests, arguments.system)


def save_run(
    trainer: AmbiSERTrainer,
    tests: Mapping[str, Any],
    system: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score a trained trainer on test splits and write its run folder: model, predictions, results, card.

    The folder is the trainer's `output_dir`. `hf-ambiser report`, `card`, `push` and `push_run` accept it like a run
    of the command line.

    Args:
        trainer: A trainer of splits from `load_split` whose `train()` has ended in this process.
        tests: Test splits from `load_split`, by name.
        system: Name of the run in tables; the default is the method's name.
        given: Arguments to show on the card; the default is those of the trainer that differ from their defaults.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: If the trainer was not trained, its data does not come from `load_split` or not from one
            configuration, or its folder holds another run.
    """
    if not trainer.training_metrics:
        raise ValueError("save_run needs a trained trainer, and this one has not trained yet: call train() first.")
    describe_data(trainer)  # says first what is wrong with its data
    _check_tests(trainer, tests)
    given = _said(trainer, given_by(trainer, tests) if given is None else {**beginning_by(trainer), **given})
    folder = RunFolder(str(trainer.args.output_dir))
    check_folder(folder.path, given)
    begin(trainer, given)
    keep_base_of(trainer, folder.base_model)
    return finish(trainer, trainer.test_sets(tests), system or trainer.name)


def _check_tests(trainer: AmbiSERTrainer, tests: Mapping[str, Any]) -> None:
    """Check that test splits are of the configuration that a trainer has learnt from.

    Raises:
        ValueError: If one is of another, which may hold training utterances, or is no split of `load_split`.
    """
    own = trainer.data.labelled_sources[0]
    for name, split in tests.items():
        sources = sources_of(split) if is_split(split) else []
        found = sorted({(source.dataset, source.config) for source in sources})
        if found != [(own.dataset, own.config)]:
            raise ValueError(
                f"test split {name!r} is of {found or 'no built data set'}, and this trainer has learnt from"
                f" {own.config!r} of {own.dataset}. Give load_split({own.dataset!r}, {own.config!r}, ...)."
            )


def _said(trainer: AmbiSERTrainer, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` with the arguments whose default has changed: a folder that lacks them was begun before."""
    said = {name: getattr(trainer.args, name) for name in trainer.args.earlier_defaults}
    return {**given, **{name: value for name, value in said.items() if name not in given}}


def _keep_earlier_defaults(arguments: RunArguments, folder: RunFolder) -> None:
    """Let a run that was begun before a default changed go on with the default that it was begun with."""
    earlier = arguments.training.earlier_defaults
    before = {**earlier, **folder.read_arguments()} if folder.is_begun else {}
    for name in earlier:
        if name in before and name not in arguments.given:
            setattr(arguments.training, name, before[name])


def prepare(arguments: RunArguments) -> tuple[AmbiSERTrainer, dict[str, EvaluationSet]]:
    """Return the trainer and the test sets of a run."""
    choose_train_splits(arguments)
    check_named_once(arguments)
    leave_out_empty(arguments)
    data, training = arguments.data, arguments.training
    method = load_method(arguments.method)
    classes = read_dataset_info(data.dataset)["classes"]
    # Set the seed before the model is made, because it also decides the initial weights.
    set_seed(training.seed)
    base = RunFolder(str(training.output_dir)).base_model
    model, extractor = build_model(arguments.model, method.model_family, classes, base)
    # Add frames here, to the utterances of all folds at once; a trainer would add them to one split at a time.
    add = frames_once(training, model, extractor)
    add_to_training = training_frames(method, training, model, extractor)
    # The first rank computes; the other ranks read its cache.
    with training.main_process_first(desc="data sets and features"):
        if not data.train_splits:
            raise ValueError("a run needs `train_splits`, splits to learn from with labels, for example [train].")
        labelled = _join(data, data.train_splits, add_to_training)
        ambiguous = _join(data, data.ambiguous_splits, add_to_training) if method.needs_ambiguous else None
        name = _validation_split(arguments)
        validation = _load(data, name, add) if name else None
        tests = {name: _load(data, name, add) for name in data.test_splits}
    trainer = method(model, training, labelled, validation, feature_extractor=extractor, ambiguous_dataset=ambiguous)
    return trainer, trainer.test_sets(tests)


def _validation_split(arguments: RunArguments) -> str | None:
    """The split that validates; None if the data set was built without one and none was asked for by name.

    Raises:
        ValueError: If the best epoch shall be chosen on it.
    """
    data = arguments.data
    splits = dataset_config(read_dataset_info(data.dataset), data.dataset, data.dataset_config)["splits"]
    if data.validation_split in splits or "validation_split" in arguments.given:
        return data.validation_split
    if arguments.training.load_best_model_at_end:
        raise ValueError(
            f"load_best_model_at_end=True needs validation utterances to choose the best epoch by, and {data.dataset},"
            f" config {data.dataset_config!r}, has no split {data.validation_split!r}. Set it to False, or build a"
            " data set that has one. Utterances without a consensus label are not in it, so all of its side may"
            " be without; ipr-paper has one with a validation_share above 0."
        )
    logger.warning(
        "%s, config %r, has no split %r, so nothing is evaluated while the run trains.",
        data.dataset,
        data.dataset_config,
        data.validation_split,
    )
    return None


def begin(trainer: AmbiSERTrainer, given: Mapping[str, Any], revealed: list[str] | None = None) -> None:
    """Write the files of a run folder that come before training: arguments, data, environment, speakers, votes.

    Args:
        trainer: The run's trainer.
        given: The fields that were given to the run.
        revealed: Splits whose hidden labels were requested; the default is those among the training splits.

    Raises:
        ValueError: If the folder belongs to a run on other data.
    """
    folder = RunFolder(str(trainer.args.output_dir))
    data, environment = describe_data(trainer, revealed), describe_environment()
    _check_data(folder, data)
    begun = _beginning(trainer, given)
    if begun is not None:
        _check_beginning(folder, begun)
    warn_of_known_validation(trainer, heard_before(begun, data["corpus"]))
    if trainer.is_world_process_zero():
        folder.path.mkdir(parents=True, exist_ok=True)
        if begun is not None and not exists(folder.begun_with):
            folder.write_begun_with(begun)
        checkpoints.drop_incomplete(folder.path)
        folder.write_arguments(_said(trainer, given))
        folder.write_data(data)
        folder.write_environment(environment)
        if speakers := read_speakers(trainer.data.labelled_sources[0].dataset):
            folder.write_speakers(speakers)
        write_reference(folder.path, _reference(trainer))
    trainer.accelerator.wait_for_everyone()


def finish(trainer: AmbiSERTrainer, tests: Mapping[str, EvaluationSet], system: str) -> dict[str, Any]:
    """Score a trained run and write the rest of its folder, with the results last; return the results."""
    folder = RunFolder(str(trainer.args.output_dir))
    results = {
        "system": system,
        "method": trainer.name,
        "seed": trainer.args.seed,
        "data": folder.read_data(),
        "environment": folder.read_environment(),
        "defaults": argument_defaults(type(trainer.args)),
        "training": {k: v for k, v in trainer.training_metrics.items() if k != "total_flos"} | _legs(trainer),
        "parameters": sum(p.numel() for p in trainer.bare_model().parameters()),
        "log": trainer.training_log,
        "best_epochs": best_epochs(trainer.training_log, trainer.counted_after),
        # Only the name, because a path of this machine has no meaning where results are compared and published.
        "best_checkpoint": Path(best).name if (best := trainer.state.best_model_checkpoint) else None,
        "scores": score_splits(trainer, tests, folder),
        "scored_clips_cut_at_max_seconds": {name: test.n_cut for name, test in tests.items()},
        "held_out_splits": answer_rest(trainer, tests, folder),
    }
    trainer.save_model(str(folder.model))
    if trainer.is_world_process_zero():
        folder.tidy_model()
        put_beside(folder.model, folder.base_model)
        folder.card.unlink(missing_ok=True)  # the one that peft writes is empty
        answered = read_ids(folder, [*tests, *results["held_out_splits"]])
        results["held_out_rows"] = {split: len(answered[split]) for split in results["held_out_splits"]}
        begun = folder.read_begun_with()
        heard = heard_before(begun, results["data"]["corpus"])
        if begun is not None and begun["learnt_from"] is None:
            results["learnt_before"] = "unknown"
        if learnt := learnt_from(trainer, answered, heard):
            results["learnt_from"] = learnt
        if n := validation_learnt_from(trainer, heard):
            results["validation_learnt_from"] = n
        # The results are written last and whole, because they mark a finished run; the card is made from them.
        results["code"] = code_digests(folder)
        folder.write_results(results)
        write_card(folder.path)
    trainer.accelerator.wait_for_everyone()
    return results


def _beginning(trainer: AmbiSERTrainer, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what is known of the trained model that a run begins with; None if there is none."""
    begun: Mapping[str, Any] | None = trainer.bare_model().begun_with
    if begun is None and given.get("pretrained") is not None:
        return beginning_of(str(given["pretrained"]))
    return begun


def _check_beginning(folder: RunFolder, begun: Mapping[str, Any]) -> None:
    """Check that a run goes on with the weights that it was begun with; say it if what they have heard is not known.

    Raises:
        ValueError: If they are others.
    """
    before = folder.read_begun_with()
    if before is None:
        if begun["learnt_from"] is None:
            logger.warning(
                "which utterances the model of pretrained=%r has learnt from is not known here: figures on test"
                " utterances that are among them say nothing about voices that the model has not heard.",
                begun["place"],
            )
    elif begun["weights"] is not None and before["weights"] not in (None, begun["weights"]):
        raise ValueError(
            f"{folder.path} was begun with other weights of pretrained={begun['place']!r} than it has now."
            " Restore those weights, or give another output_dir."
        )


def _legs(trainer: AmbiSERTrainer) -> dict[str, Any]:
    """Return the legs of a run that was resumed; its seconds are their sum."""
    return {"legs": trainer.legs} if len(trainer.legs) > 1 else {}


def score_splits(trainer: AmbiSERTrainer, tests: Mapping[str, EvaluationSet], folder: RunFolder) -> dict[str, Any]:
    """Return the figures of every test split; write predictions, too, so that runs can be compared by utterance."""
    classes = class_names(trainer.bare_model().config)
    scores = {}
    for name, data in tests.items():
        # Ignore no output, so that the embedding is kept for figures in a report.
        logits, embedding = trainer.predict(data, ignore_keys=[]).predictions
        scores[name] = score(logits, data.votes, data.consensus, classes, data.agreement)
        if trainer.is_world_process_zero():
            save_predictions(folder.predictions_of(name), data, logits, embedding)
    return scores


def _load(data: DataArguments, split: str, add: Callable[[Any], Any] | None = None) -> Any:
    return load_split(data.dataset, data.dataset_config, split, reveal=split in data.reveal_splits, add=add)


def _join(data: DataArguments, splits: list[str], add: Callable[[Any], Any] | None) -> Any:
    """Return several splits as one; they have the same columns."""
    from datasets import concatenate_datasets

    if not splits:
        raise ValueError("a method that learns from ambiguous utterances needs `ambiguous_splits`, for example [d2].")
    parts = [_load(data, split, add) for split in splits]
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts)


def _check_data(folder: RunFolder, data: dict[str, Any]) -> None:
    """Check that a run resumes with the same data, because the rows of its label table are its utterances."""
    if changed := changed_data(folder.read_data() or data, data):
        raise ValueError(
            f"{folder.path} was made with other data ({', '.join(changed)} differ): the data set was built again. Give"
            " another output_dir, or delete that folder."
        )


def _reference(trainer: AmbiSERTrainer) -> pa.Table:
    """Return the raters' votes on every training utterance and its segments; the trainer never opens this file."""
    sources: list[SplitSource] = [*trainer.data.labelled_sources, *trainer.data.ambiguous_sources]
    splits = [load_split(source.dataset, source.config, source.split, source.revealed) for source in sources]
    table = pa.concat_tables([split.select_columns(list(COLUMNS)).with_format("arrow")[:] for split in splits])
    row = {name: i for i, name in enumerate(table["id"].to_pylist())}
    segments = [name for name in trainer.data.ids if name not in row]
    if segments:
        cut = table.take([row[name.rpartition("#")[0]] for name in segments])
        table = pa.concat_tables([table, cut.set_column(0, table.schema.field("id"), pa.array(segments))])
    return table


def check_folder(path: Path, given: Mapping[str, Any]) -> None:
    """Check that an existing run folder belongs to the run with these fields and this data.

    Raises:
        ValueError: If the folder has other arguments or other data, or there is no such data set.
    """
    folder, defaults = RunFolder(path), DataArguments()
    dataset = given.get("dataset", defaults.dataset)
    _check_data(folder, fingerprints(dataset, given.get("dataset_config", defaults.dataset_config)))
    if not folder.is_begun:
        return
    own = load_method(given["method"]).arguments_class.earlier_defaults if "method" in given else {}
    earlier: dict[str, Any] = {**EARLIER, **own}
    before = {**earlier, **folder.read_arguments()}
    given = {**{name: before[name] for name in earlier}, **given}
    # The places of folder and data set are not compared, so that both may be moved; the data itself was checked.
    changed = sorted(k for k in {**before, **given} if k not in _PLACES and before.get(k) != given.get(k))
    if changed:
        raise ValueError(
            f"{path} holds a run with other arguments ({', '.join(changed)} differ). Give another output_dir, or"
            " delete that folder."
        )
