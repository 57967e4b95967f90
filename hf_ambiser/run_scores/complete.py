"""Add to the scores of a finished run what its predictions give: figures of later versions, and the whole test side.

Nothing that a run stored is changed. A figure that cannot be computed any more is None, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from hf_ambiser.data.splits import CLEAR_AGREEMENT
from hf_ambiser.labels.votes import top_shares
from hf_ambiser.metrics import evaluate_predictions
from hf_ambiser.metrics.display import DISTRIBUTION_AND_SELECTION, PARTS
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.predictions import WITHOUT_EMBEDDING
from hf_ambiser.run_scores.held_out import HeldOut, held_out, name_of_sides, shared_held_out


# Figures that runs of an earlier version did not store.
LATER = (*DISTRIBUTION_AND_SELECTION, "panel_ceiling")
NO_PREDICTIONS = "the run is older than this figure, and its predictions are gone"
NOT_THE_SAME = "the run is older than this figure, and its predictions do not tell which utterances are clear"


def complete_runs(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], str]:
    """Complete the scores of runs that stand in one table.

    The set of all test utterances is made of the splits that all runs of a fold have answered, so that systems are
    compared on the same utterances.

    Returns:
        The runs, with all figures of each split and with the scores of that set (first); and the set's name, which may
        be that of a split. "" if there is no such set.
    """
    folds: dict[str | None, list[HeldOut]] = {}
    for run in runs:
        folds.setdefault(run.fold, []).append(held_out(run))
    sides = {fold: shared_held_out(found) for fold, found in folds.items()}
    name = name_of_sides(list(sides.values()))
    return [_complete(run, name, sides[run.fold].splits) for run in runs], name


def _complete(run: FinishedRun, name: str, splits: tuple[str, ...]) -> FinishedRun:
    scores = {split: _with_later_figures(run, split) for split in run.splits}
    if name in ("", *scores):
        return replace(run, results=_with_scores(run, scores))
    together = replace(run, joined={**run.joined, name: splits})
    return replace(together, results=_with_scores(run, {name: score_again(together, name), **scores}))


def _with_scores(run: FinishedRun, scores: dict[str, Any]) -> dict[str, Any]:
    results = copy(run.results)  # of the same kind: it names the file where something is missing
    results["scores"] = scores
    return results


def score_again(run: FinishedRun, split: str) -> dict[str, dict[str, Any]]:
    """Compute all figures of a split from the stored predictions.

    Clear are utterances with an agreement of 2/3. The agreement is the data set's own; runs of earlier versions did
    not store it, and for them it is the top share of the votes.
    """
    table = run.columns(split, (*WITHOUT_EMBEDDING, "agreement"))
    votes = np.asarray(table["votes"], dtype=np.float64)
    agreement = table.get("agreement", top_shares(votes))
    answers = (table["probabilities"], votes, table["consensus"], run.classes)
    return evaluate_predictions(*answers, agreement=agreement, threshold=CLEAR_AGREEMENT)


def _with_later_figures(run: FinishedRun, split: str) -> dict[str, dict[str, Any]]:
    stored = run.results["scores"][split]
    if all(part in stored and set(LATER) <= set(stored[part]) for part in PARTS):
        return stored
    again = score_again(run, split) if run.has_predictions(split) else {}
    scores = {part: _fill(stored[part], again.get(part)) for part in PARTS if part in stored}
    # The part is new, so nothing stored can tell whether it is right but the whole that it is a part of.
    if "consensus" not in stored and again and _same(stored["all"], again["all"]):
        scores["consensus"] = again["consensus"]
    return scores


def _fill(stored: dict[str, Any], again: dict[str, Any] | None) -> dict[str, Any]:
    missing = [name for name in LATER if name not in stored]
    if again is None or not _same(stored, again):
        reason = NO_PREDICTIONS if again is None else NOT_THE_SAME
        nothing: dict[str, Any] = {name: {} if name == "panel_ceiling" else None for name in missing}
        return {**stored, **nothing, "undefined": {**stored["undefined"], **dict.fromkeys(missing, reason)}}
    why = {name: reason for name, reason in again["undefined"].items() if name.split(".")[0] in missing}
    return {**stored, **{name: again[name] for name in missing}, "undefined": {**stored["undefined"], **why}}


def _same(stored: dict[str, Any], again: dict[str, Any]) -> bool:
    """Whether two scores are of the same utterances and answers, as far as counts tell."""
    return all(stored[name] == again[name] for name in ("n", "n_without_consensus", "confusion")) and np.allclose(
        list(stored["vote_counts"].values()), list(again["vote_counts"].values())
    )
