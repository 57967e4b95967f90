"""How good the labels of ambiguous utterances are: their agreement with the raters, their distance from the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ambiser.files.read import read_json
from hf_ambiser.label_analysis.changed_labels import changed_labels, labels_of
from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.classification import wa_and_ua
from hf_ambiser.metrics.distribution import js_divergence
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.reference import read_reference
from hf_ambiser.run_folder.trajectory import read_trajectory, trajectory_epochs


# Shares of the uniform distribution to mix into raw votes: a correction that needs no learning.
SMOOTHING = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class EpochAgreement:
    """Agreement of labels with the raters' consensus after one epoch, over ambiguous utterances that have one.

    `prototype` and `classifier` are the shares of utterances whose label equals the consensus, and `..._recall` the
    same as a mean over the classes of the consensus (the WA and the UA of the labels). `class_shares` and
    `rater_shares` are the shares of each class among the prototypes' labels and in the consensus.
    """

    epoch: int
    n: int
    prototype: float
    classifier: float
    prototype_recall: float
    classifier_recall: float
    class_shares: tuple[float, ...]
    rater_shares: tuple[float, ...]


def pseudo_label_agreement(run: Path) -> list[EpochAgreement]:
    """IPR's Figure 3: agreement of prototype labels and of classifier labels with the consensus, epoch by epoch.

    Only utterances count that have a consensus and a soft label of the method.
    """
    epochs = trajectory_epochs(run)
    return list(_agreement(run, epochs, read_reference(run))) if epochs else []


def first_and_last_agreement(run: Path) -> tuple[EpochAgreement, EpochAgreement] | None:
    """`pseudo_label_agreement` after the first and after the last epoch that gave labels; None if none did."""
    epochs = trajectory_epochs(run)
    if not epochs:
        return None
    reference = read_reference(run)
    first = next(_agreement(run, epochs, reference), None)
    if first is None:  # a method that gives no labels: nothing more is read
        return None
    last = next(_agreement(run, epochs[::-1], reference), None)
    return None if last is None else (first, last)


def _agreement(run: Path, epochs: Sequence[int], reference: dict[str, np.ndarray]) -> Iterator[EpochAgreement]:
    """Yield the agreement of those of the epochs that gave labels; `reference` is that of the run."""
    for epoch in epochs:
        table = read_trajectory(run, epoch)
        if "soft_label" not in table:
            return
        label = np.array([reference["reference_label"][reference["row"][i]] for i in table["id"]])
        seen = (table["soft_label"].sum(axis=1) > 0) & (label >= 0)
        if seen.any():
            nearest, label = table["soft_label"][seen].argmax(axis=1), label[seen]
            k, n = table["soft_label"].shape[1], int(seen.sum())
            prototype, prototype_recall = wa_and_ua(label, nearest, k)
            classifier, classifier_recall = wa_and_ua(label, table["classifier_label"][seen], k)
            yield EpochAgreement(
                epoch,
                n,
                prototype,
                classifier,
                prototype_recall,
                classifier_recall,
                tuple((np.bincount(nearest, minlength=k) / n).tolist()),
                tuple((np.bincount(label, minlength=k) / n).tolist()),
            )


def distance_from_truth(run: Path) -> dict[str, float | int]:
    """Mean JS (bit) between the true distribution of a simulated corpus and several labels of the same utterances.

    The utterances are those whose label the method changed.

    Returns:
        `n`: number of utterances; `votes`: distance of the raw vote shares; `votes_smoothed`: distance of the shares
        mixed with uniform, where `smoothing` is the amount that is best on these very utterances, which favours them;
        `method`: distance of the method's labels after the last epoch; `uniform`: that of the uniform distribution.

    Raises:
        ValueError: If the corpus has no true distribution or the method changed no label.
    """
    truth, votes, method = _beliefs(run)
    k = truth.shape[1]
    smoothed = {share: _mean_js(truth, (1 - share) * votes + share / k) for share in SMOOTHING}
    best = min(smoothed, key=lambda share: smoothed[share])
    return {
        "n": len(truth),
        "votes": _mean_js(truth, votes),
        "votes_smoothed": smoothed[best],
        "smoothing": best,
        "method": _mean_js(truth, method),
        "uniform": _mean_js(truth, np.full_like(truth, 1 / k)),
    }


def distance_by_temperature(run: Path, temperatures: Sequence[float]) -> dict[float, float]:
    """Mean JS (bit) of the method's soft labels from the truth, as if prototypes had other temperatures.

    The saved labels suffice: a softmax at temperature T, to the power T/T' and scaled to sum to 1, is the softmax at
    temperature T'. The prototypes stay those of the run, although its temperature also enters Eq. 4.

    Raises:
        ValueError: As `distance_from_truth`.
    """
    truth, _, method = _beliefs(run)
    folder = RunFolder(run)
    trained = read_json(folder.model / "config.json", folder.cure)["prototype_temperature"]
    logarithm = np.log(method.clip(1e-30))
    distances = {}
    for temperature in temperatures:
        scaled = logarithm * trained / temperature
        distances[temperature] = _mean_js(truth, soft_labels(np.exp(scaled - scaled.max(axis=1, keepdims=True))))
    return distances


def _beliefs(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The truth, vote shares and the method's labels, each `(n, K)`, of the utterances whose label it changed."""
    reference = read_reference(run)
    epochs = trajectory_epochs(run)
    table = read_trajectory(run, epochs[-1]) if epochs else {}
    if not table:
        raise ValueError(f"{run} has no label trajectory (trajectory_every: 0).")
    given = labels_of(table)
    rows = np.array([reference["row"][i] for i in table["id"]])
    truth = reference["true_distribution"][rows]
    if not (truth.sum(axis=1) > 0).any():
        raise ValueError(f"{run}: this corpus has no true distribution; only a simulated one has.")
    seen = changed_labels(given, table["observed"])
    if not seen.any():
        raise ValueError(
            f"{run}: no label was corrected by epoch {epochs[-1]}: its method corrects none, or the run ended in the"
            " warm-up. Give a longer run of a method that corrects labels, such as ipr."
        )
    # Rows stored as float32 sum to 1 only nearly, so all are normalised.
    parts = (truth[seen], reference["reference_votes"][rows][seen], given[seen])
    return soft_labels(parts[0]), soft_labels(parts[1]), soft_labels(parts[2])


def _mean_js(p: np.ndarray, q: np.ndarray) -> float:
    return float(js_divergence(p, q).mean())
