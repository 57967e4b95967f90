"""What a run made of labels that were replaced on purpose (`data.replaced_labels`): restored, broken, told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from hf_ambiser.data.card import REPLACED
from hf_ambiser.run_folder.reference import read_reference
from hf_ambiser.run_folder.trajectory import read_trajectory, trajectory_epochs


@dataclass(frozen=True)
class Restored:
    """The labels of one run after one of its epochs. Shares are of 1; None where they are of nothing.

    Args:
        n_replaced: Labels whose class is not the raters' consensus.
        n_kept: The others.
        restored: Share of the replaced whose target's top class is the raters'.
        broken: Share of the kept whose target's top class is not the raters' any more.
        right: Share of all whose target's top class is the raters'; before training it is that of the kept.
        auroc: Chance that a replaced label has a lower `weight` than a kept one, equal ones counting half: 0.5 where
            weights tell nothing. `weight` is what an utterance counts in the loss, whatever the method (meta's w
            divides the loss, and 1 / w stands in that column).
        auroc_within: The same over the pairs that the data give one class, whose weights do not differ by a class's.
        found: Of the `n_replaced` labels that count least, the share that were replaced: precision, and recall, of
            looking again at as many as are wrong. Equal weights are drawn by lot (the expectation); chance gives the
            share of the replaced.
    """

    n_replaced: int
    n_kept: int
    restored: float | None
    broken: float | None
    right: float
    auroc: float | None
    auroc_within: float | None
    found: float | None


def restored_labels(run: Path, data: Mapping[str, Any], epoch: int | None = None) -> Restored:
    """Compare a run's labels with the raters', of those training utterances that have a consensus.

    Args:
        run: A finished run's folder.
        data: Its data, as in `results.json`.
        epoch: After which epoch (from 1), or the next that the trajectory has; by default the last.

    Raises:
        ValueError: If its labels were not replaced, it has no label trajectory, or trajectory and data do not agree
            about how many were replaced.
    """
    if REPLACED not in data:
        raise ValueError(f"{run} was not trained on replaced labels; make some with `hf-ambiser add-label-noise`.")
    epochs = trajectory_epochs(run)
    if not epochs:
        raise ValueError(f"{run} has no label trajectory (trajectory_every: 0).")
    at = epochs[-1] if epoch is None else next((e for e in epochs if e >= epoch), epochs[-1])
    table, reference = read_trajectory(run, at), read_reference(run)
    # Labelled utterances come first in the table; ambiguous ones were not given a label that could be replaced.
    table = {name: column[: data["labelled"]] for name, column in table.items()}
    raters = reference["reference_label"][[reference["row"][i] for i in table["id"]]]
    observed, target, weight = (table[name][raters >= 0] for name in ("observed", "target", "weight"))
    raters = raters[raters >= 0]
    given, now = observed.argmax(axis=1), target.argmax(axis=1)
    replaced = given != raters
    _check_count(run, data, int(replaced.sum()))
    return Restored(
        n_replaced=int(replaced.sum()),
        n_kept=int((~replaced).sum()),
        restored=_mean((now == raters)[replaced]),
        broken=_mean((now != raters)[~replaced]),
        right=float((now == raters).mean()),
        auroc=auroc(-weight, replaced),
        auroc_within=auroc(-weight, replaced, given),
        found=found_among_lowest(weight, replaced),
    )


def auroc(score: np.ndarray, positive: np.ndarray, stratum: np.ndarray | None = None) -> float | None:
    """Chance that a positive has a higher score than a negative, equal scores counting half (Mann-Whitney's U / mn).

    Args:
        score: `(N,)`.
        positive: `(N,)` bool.
        stratum: `(N,)`; only pairs of one stratum count. None: all pairs.

    Returns:
        None where there is no pair.
    """
    stratum = np.zeros(len(score), dtype=int) if stratum is None else stratum
    won, pairs = 0.0, 0
    for value in np.unique(stratum):
        inside = stratum == value
        rank, good = rankdata(score[inside]), positive[inside]
        m = int(good.sum())
        won += float(rank[good].sum()) - m * (m + 1) / 2
        pairs += m * (len(good) - m)
    return won / pairs if pairs else None


def found_among_lowest(weight: np.ndarray, replaced: np.ndarray) -> float | None:
    """Share of replaced labels among the as many of lowest weight, expected where equal weights are drawn by lot.

    Args:
        weight: `(N,)`.
        replaced: `(N,)` bool.

    Returns:
        None where none was replaced.
    """
    m = int(replaced.sum())
    if m == 0:
        return None
    last = np.sort(weight)[m - 1]
    below, tied = weight < last, weight == last
    of_tied = replaced[tied].mean() * (m - below.sum())
    return float((replaced[below].sum() + of_tied) / m)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _check_count(run: Path, data: Mapping[str, Any], found: int) -> None:
    """Rows are utterances unless these were cut into segments; then there is nothing to count against."""
    counts = data[REPLACED]["counts"]
    expected = sum(counts[name]["replaced"] for name in data["train_splits"] if name in counts)
    if "utterances_before_cutting" not in data and found != expected:
        raise ValueError(
            f"{run}: {found} labels differ from the raters', but {expected} were replaced in"
            f" {', '.join(data['train_splits'])}; run it again on the data set as it was made."
        )
