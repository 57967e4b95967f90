"""Chooses what a trained model answers, and when, on its validation utterances: see `metrics.decision`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.cards import write_card
from hf_ambiser.cards.figures import RISK_COVERAGE
from hf_ambiser.data.loading import dataset_config, load_split, read_dataset_info
from hf_ambiser.files.read import exists, read_json
from hf_ambiser.metrics.decision import Decision, check_asked, choose_decision, decision_figures
from hf_ambiser.metrics.risk_threshold import CONFIDENCE, RULE
from hf_ambiser.run_folder.adapter_base import put_beside
from hf_ambiser.run_folder.decision import DECISION, in_config, write_decision
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.predictions import read_ids
from hf_ambiser.run_folder.published import check_no_links
from hf_ambiser.run_folder.reference import read_reference
from hf_ambiser.run_folder.run_lock import held
from hf_ambiser.run_scores.complete import complete_runs
from hf_ambiser.runs.data_of_run import changed_data, fingerprints
from hf_ambiser.runs.held_out import heard_before
from hf_ambiser.runs.renewed_pipeline import renew_pipeline
from hf_ambiser.runs.scoring import load_with_classes, predict_logits
from hf_ambiser.training.dataset import EvaluationSet
from hf_ambiser.training.validation import softmax


# Of each side, the utterances without a consensus label are a split of their own.
_VALIDATION, _NO_CONSENSUS = "validation", "_no_consensus"


def calibrate_run(
    run: Path | str,
    *,
    risk: float | None = None,
    set_coverage: float | None = None,
    temperature: bool = False,
    balance: float | None = None,
    rule: str | None = None,
    confidence: float | None = None,
    splits: Sequence[str] | None = None,
    dataset: Path | str | None = None,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Choose a run's decision, write it into its model's configuration and its results, and write its card again.

    A decision that is there is replaced. Weights, stored predictions and all other figures stay as they are.

    Args:
        run: The folder of a finished run.
        risk: Wanted share of wrong answers; see `metrics.risk_threshold.threshold_for_risk`. None: the model always
            answers.
        set_coverage: Wanted share of votes in the prediction sets; see `metrics.prediction_sets`. None: no sets.
        temperature: Whether to choose a temperature, too; otherwise it is 1.
        balance: Tau of a balanced decision, which answers rare classes more often; see `metrics.balanced_lead`. The
            shares are the mean of the answers that it is chosen on. 0: they are stored, and the leading class is
            answered until a caller of the model gives a tau. None: there are none.
        rule: How the threshold of a risk is chosen, `bound` (the default) or `empirical`. Only with a risk.
        confidence: Of the rule `bound`; the default is `CONFIDENCE`.
        splits: On which splits to choose; None: on the run's validation split, and on the part of the validation side
            without a consensus label, if the data set has it.
        dataset: Folder of the data set; None: the one that was given to the run.
        batch_size: Of the answers.

    Returns:
        `decision` of `results.json`; see `run_folder.decision`.

    Raises:
        ValueError: If the run is not finished, the data is not the run's, the run (or the trained model that it began
            with) has learnt from an utterance or the run is tested on it, or what is asked for cannot be reached. Then
            nothing is written.
    """
    check_asked(risk, set_coverage, temperature, balance, rule, confidence)
    finished = FinishedRun.read(Path(run))
    check_no_links(finished.files)
    place = Path(dataset or finished.dataset)
    config = str(finished.data.get("dataset_config", finished.data["split_family"]))
    _check_data(finished, place, config)
    names = _validation_splits(place, config, str(finished.arguments.get("validation_split", _VALIDATION)), splits)
    chosen = {"risk": risk, "set_coverage": set_coverage, "temperature": temperature, "balance": balance}
    how = {"rule": rule, "confidence": confidence}
    answers = _Answers.of(str(finished.files.model), place, config, names, finished.max_seconds, batch_size, finished)
    decision, stored = answers.decide(chosen, how)
    stored["test"] = _on_test_splits(finished, decision)
    _write(finished, stored)
    return stored


def remove_decision(run: Path | str) -> bool:
    """Take a run's decision out of its model's configuration and its results, and write its card again.

    Returns:
        Whether it had one.

    Raises:
        ValueError: If the run is not finished, or a file of it cannot be used.
    """
    finished = FinishedRun.read(Path(run))
    check_no_links(finished.files)
    had = DECISION in finished.results or DECISION in read_json(finished.model_config, finished.files.cure)
    _write(finished, None)
    return had


def calibrate_model(
    model: Path | str,
    dataset: Path | str,
    config: str,
    splits: Sequence[str],
    *,
    risk: float | None = None,
    set_coverage: float | None = None,
    temperature: bool = False,
    balance: float | None = None,
    rule: str | None = None,
    confidence: float | None = None,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Choose the decision of a model that has no run folder, and write it into its configuration.

    What the model has learnt from is not known here: choose on speakers that it has not heard.

    Args:
        model: Folder of a whole model.
        dataset: Folder of a built data set with the same classes.
        config: Its configuration.
        splits: On which splits to choose.
        risk, set_coverage, temperature, balance, rule, confidence, batch_size: As for `calibrate_run`.

    Returns:
        As `calibrate_run`, with an empty `test`.

    Raises:
        ValueError: If it is no folder of a whole model, if it belongs to a run, or as `calibrate_run`.
    """
    check_asked(risk, set_coverage, temperature, balance, rule, confidence)
    folder = Path(model)
    run = RunFolder(folder.absolute().parent)
    if run.is_finished and run.model.samefile(folder):
        raise ValueError(f"{folder} is the model of the run {run.path}: calibrate {run.path}, which also has a card.")
    path = folder / "config.json"
    if not exists(path) or exists(folder / "adapter_config.json"):
        raise ValueError(f"{folder} is no folder of a whole model. Give one that has a config.json, or a run folder.")
    chosen = {"risk": risk, "set_coverage": set_coverage, "temperature": temperature, "balance": balance}
    answers = _Answers.of(str(folder), Path(dataset), config, list(splits), None, batch_size, None)
    _, stored = answers.decide(chosen, {"rule": rule, "confidence": confidence})
    if stored["balance"] is not None:
        renew_pipeline(folder, {})
    write_decision(path, in_config(stored), "Save the model again.")
    return stored


def removed_by(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, float]:
    """What an earlier decision had and a new one does not: its name -> its value; of a balance its tau."""
    had, has = _parts(before or {}), _parts(now)
    return {name: value for name, value in had.items() if name not in has}


def _parts(decision: Mapping[str, Any]) -> dict[str, float]:
    """The parts that act: of which a threshold, or a balance, is one."""
    parts = {name: decision.get(name) for name in ("threshold", "set_threshold", "temperature", "balance")}
    if isinstance(parts["balance"], Mapping):
        parts["balance"] = parts["balance"].get("tau")
    # An earlier decision may be spoilt: it is replaced, and only what was a number is worth a word.
    numbers = {name: value for name, value in parts.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if (name, value) != ("temperature", 1)}


class _Answers:
    """A model's logits for the utterances that its decision is chosen on, beside the raters' votes."""

    def __init__(self, chosen_on: dict[str, Any], logits: np.ndarray, sets: Sequence[EvaluationSet]) -> None:
        self.chosen_on = chosen_on
        self.logits = logits
        self.votes = np.concatenate([one.votes for one in sets])
        self.consensus = np.concatenate([one.consensus for one in sets])

    @classmethod
    def of(
        cls,
        model: str,
        dataset: Path,
        config: str,
        splits: Sequence[str],
        max_seconds: float | None,
        batch_size: int,
        run: FinishedRun | None,
    ) -> _Answers:
        """Answer the splits; utterances that the run has learnt from, or is tested on, are refused first."""
        info = read_dataset_info(dataset)
        content = str(info["content"])
        sets = [EvaluationSet(load_split(dataset, config, name), max_seconds) for name in splits]
        _check_utterances(run, splits, sets)
        loaded, extractor, _ = load_with_classes(model, dataset)
        logits = np.concatenate([predict_logits(loaded, extractor, one, batch_size) for one in sets if len(one)])
        n = sum(int((one.votes.sum(axis=1) > 0).sum()) for one in sets)
        chosen_on = {"content": content, "dataset_config": config, "split": " + ".join(splits), "utterances": n}
        return cls(chosen_on, logits, sets)

    def decide(self, chosen: Mapping[str, Any], how: Mapping[str, Any]) -> tuple[Decision, dict[str, Any]]:
        """The decision, and what `results.json` holds of it."""
        decision = choose_decision(self.logits, self.votes, self.consensus, **chosen, **how)
        figures = decision_figures(softmax(self.logits), self.votes, self.consensus, decision)
        rule = (how["rule"] or RULE) if decision.threshold is not None else None
        return decision, {
            **decision.to_dict(),
            "chosen_on": self.chosen_on,
            "rule": rule,
            "confidence": (how["confidence"] or CONFIDENCE) if rule == "bound" else None,
            "validation": figures,
            "test": {},
        }


def _on_test_splits(run: FinishedRun, decision: Decision) -> dict[str, dict[str, Any]]:
    """What a decision gives on each test split, and on the whole test side, by the stored predictions."""
    (scored,), _ = complete_runs([run])
    found = {}
    for split in scored.splits:
        if scored.has_predictions(split) and scored.scores(split)["n"] > scored.scores(split)["n_without_votes"]:
            table = scored.predictions(split)
            found[split] = decision_figures(table["probabilities"], table["votes"], table["consensus"], decision)
    return found


def _write(run: FinishedRun, stored: Mapping[str, Any] | None) -> None:
    """Write configuration, results and card, in this order, each of them whole.

    After a stop between two of them the card is refused until the run is calibrated again.
    """
    with held(run.folder):
        # Before the configuration: a balance beside a pipeline that does not know it would be ignored without a word.
        code = run.results["code"]
        if stored is not None and stored["balance"] is not None:
            code = renew_pipeline(run.model_config.parent, code)
        write_decision(run.model_config, in_config(stored), run.files.cure)
        if run.base_model is not None:
            put_beside(run.files.model, run.base_model)
        rest = {name: value for name, value in run.files.read_results().items() if name != DECISION}
        rest["code"] = code
        run.files.write_results(rest if stored is None else {**rest, DECISION: stored})
        if stored is None:
            run.files.figure_of(RISK_COVERAGE).unlink(missing_ok=True)
        write_card(run.folder)


def _check_data(run: FinishedRun, dataset: Path, config: str) -> None:
    """Check that a data set is the one that a run was made with.

    Raises:
        ValueError: If it is not there, or another one.
    """
    if changed := changed_data(run.data, fingerprints(str(dataset), config)):
        raise ValueError(
            f"{dataset} is not the data set that the run {run.folder} was made with ({', '.join(changed)} differ)."
            " Give that one with --dataset (in Python: dataset=)."
        )


def _validation_splits(dataset: Path, config: str, validation: str, asked: Sequence[str] | None) -> list[str]:
    """The splits to choose on.

    Raises:
        ValueError: If the data set has no validation split, and none was asked for.
    """
    if asked:
        return list(asked)
    splits = dataset_config(read_dataset_info(dataset), dataset, config)["splits"]
    there = [name for name in (validation, f"{validation}{_NO_CONSENSUS}") if splits.get(name, {}).get("rows")]
    if validation not in there:
        raise ValueError(
            f"{dataset}, config {config!r}, has no utterances in the split {validation!r} to choose on; its splits are"
            f" {sorted(splits)}. Name one of other speakers than those of training and test with --split."
        )
    return there


def _check_utterances(run: FinishedRun | None, splits: Sequence[str], sets: Sequence[EvaluationSet]) -> None:
    """Check that there are utterances, each once, that the run has not learnt from and is not tested on.

    Raises:
        ValueError: If not.
    """
    ids = [name for one in sets for name in one.ids]
    shown = ", ".join(splits)
    if not ids:
        raise ValueError(f"there is no utterance in {shown}. Give a split that has some.")
    if len(set(ids)) < len(ids):
        raise ValueError(f"--split {shown}: an utterance is in two of these splits. Give each utterance once.")
    if run is None:
        return
    learnt = {*read_reference(run.folder)["row"], *heard_before(run.begun_with, run.data["corpus"])}
    stored = [*run.splits, *run.results.get("held_out_splits", ())]
    there = [split for split in dict.fromkeys(stored) if run.has_predictions(split)]
    tested = {str(name) for names in read_ids(run.files, there).values() for name in names}
    for what, known in (("has learnt from", learnt), ("is tested on", tested)):
        if n := sum(name in known for name in ids):
            raise ValueError(
                f"the run {run.folder} {what} {n} of the {len(ids)} utterances of {shown}: what is chosen on them"
                " would promise too much. Choose on a split of other speakers, such as validation of a strict"
                " configuration."
            )
