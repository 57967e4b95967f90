"""What a run made of label noise that was added on purpose (`data.label_noise`): corrected, corrupted, told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from hf_ambiser.data.noise_record import LABEL_NOISE, N_NOISY
from hf_ambiser.run_folder.reference import read_reference
from hf_ambiser.run_folder.trajectory import read_trajectory, trajectory_epochs


@dataclass(frozen=True)
class NoiseRecovery:
    """The labels of one run after one of its epochs. Shares are of 1, and None where there is no label to count.

    Args:
        n_noisy: Labels of the data whose class is not the raters' consensus.
        n_clean: Labels of the data whose class is the raters' consensus.
        correction_rate: Share of noisy labels whose target's top class is the raters' consensus now.
        corruption_rate: Share of clean labels whose target's top class is not the raters' consensus any more.
        label_accuracy: Share of all labels whose target's top class is the raters' consensus. Before training it is
            the share of clean labels.
        auroc: Chance that a noisy label has a lower `weight` than a clean one, where equal weights count half: 0.5 if
            weights tell nothing. `weight` is what an utterance counts in the loss, whatever the method (meta's w
            divides the loss, so the column holds 1 / w).
        auroc_within_class: The same over the pairs that have one class in the data. How the weights of classes differ
            does not enter.
        precision_at_k: Share of noisy labels among the k labels of lowest weight, with k = `n_noisy`, so that it is
            the recall as well. Where weights are equal it is the expectation under drawing by lot; chance gives the
            noise rate.
    """

    n_noisy: int
    n_clean: int
    correction_rate: float | None
    corruption_rate: float | None
    label_accuracy: float
    auroc: float | None
    auroc_within_class: float | None
    precision_at_k: float | None


def noise_recovery(run: Path, data: Mapping[str, Any], epoch: int | None = None) -> NoiseRecovery:
    """Compare a run's labels with the raters' consensus, on the training utterances that have one.

    Args:
        run: A finished run's folder.
        data: Its data, as in `results.json`.
        epoch: After which epoch (from 1), or the next one that the trajectory has; None: the last.

    Raises:
        ValueError: If the run's data have no label noise, it has no label trajectory, or trajectory and data disagree
            about the number of noisy labels.
    """
    if LABEL_NOISE not in data:
        raise ValueError(f"{run} was not trained on label noise; make such data with `hf-ambiser add-label-noise`.")
    epochs = trajectory_epochs(run)
    if not epochs:
        raise ValueError(f"{run} has no label trajectory (trajectory_every: 0).")
    at = epochs[-1] if epoch is None else next((e for e in epochs if e >= epoch), epochs[-1])
    table, reference = read_trajectory(run, at), read_reference(run)
    # Labelled utterances come first in the table; ambiguous ones have no label in the data that could be noisy.
    table = {name: column[: data["labelled"]] for name, column in table.items()}
    raters = reference["reference_label"][[reference["row"][i] for i in table["id"]]]
    observed, target, weight = (table[name][raters >= 0] for name in ("observed", "target", "weight"))
    raters = raters[raters >= 0]
    given, now = observed.argmax(axis=1), target.argmax(axis=1)
    noisy = given != raters
    _check_count(run, data, int(noisy.sum()))
    return NoiseRecovery(
        n_noisy=int(noisy.sum()),
        n_clean=int((~noisy).sum()),
        correction_rate=_mean((now == raters)[noisy]),
        corruption_rate=_mean((now != raters)[~noisy]),
        label_accuracy=float((now == raters).mean()),
        auroc=auroc(-weight, noisy),
        auroc_within_class=auroc(-weight, noisy, given),
        precision_at_k=precision_at_k(weight, noisy),
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


def precision_at_k(weight: np.ndarray, noisy: np.ndarray) -> float | None:
    """Share of noisy labels among the k labels of lowest weight, k being the number of noisy ones.

    Where equal weights leave open which labels are among the k, this is the expectation under drawing by lot.

    Args:
        weight: `(N,)`.
        noisy: `(N,)` bool.

    Returns:
        None where no label is noisy.
    """
    k = int(noisy.sum())
    if k == 0:
        return None
    last = np.sort(weight)[k - 1]
    below, tied = weight < last, weight == last
    of_tied = noisy[tied].mean() * (k - below.sum())
    return float((noisy[below].sum() + of_tied) / k)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _check_count(run: Path, data: Mapping[str, Any], found: int) -> None:
    """Check that the trajectory has as many noisy labels as the data say.

    Utterances that were cut into segments have several rows each, so there is no number to compare with.
    """
    counts = data[LABEL_NOISE]["counts"]
    expected = sum(counts[name][N_NOISY] for name in data["train_splits"] if name in counts)
    if "utterances_before_cutting" not in data and found != expected:
        raise ValueError(
            f"{run}: {found} labels differ from the raters', but {expected} are noisy in"
            f" {', '.join(data['train_splits'])}; run it again on the data set as it was made."
        )
