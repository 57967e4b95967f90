"""All figures of one evaluation: accuracy, distance to the raters' votes, calibration, and baselines for comparison.

The single figures are in `classification`, `distribution`, `agreement_with_votes`, `calibration`, `selective`,
`raters`, `panel_ceiling` and `rater_equivalence`. `evaluate_predictions` computes all of them but the last, for all
utterances and separately for those with a consensus label, the clear and the ambiguous ones. Needs only NumPy and
SciPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.agreement_with_votes import mean_r2
from hf_ambiser.metrics.balanced import balanced_lead
from hf_ambiser.metrics.calibration import N_BINS, expected_calibration_error, votes_calibration_error
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_distributions, check_labels, check_votes
from hf_ambiser.metrics.classification import (
    confusion_matrix,
    f1_from_confusion,
    macro_f1,
    per_class_from_confusion,
    ua_from_confusion,
    unweighted_accuracy,
    wa_from_confusion,
    weighted_accuracy,
)
from hf_ambiser.metrics.distribution import (
    KL_SMOOTHING,
    bhattacharyya_coefficient,
    brier_score,
    cosine_similarity,
    entropy_correlation,
    js_divergence,
    kl_divergence,
    top_class,
)
from hf_ambiser.metrics.panel_ceiling import panel_ceiling
from hf_ambiser.metrics.rater_equivalence import rater_equivalence
from hf_ambiser.metrics.raters import rater_confusion, rater_distribution, split_half_js
from hf_ambiser.metrics.selective import detect_no_consensus, risk_coverage


__all__ = [
    "UndefinedMetric",
    "balanced_lead",
    "bhattacharyya_coefficient",
    "brier_score",
    "confusion_matrix",
    "cosine_similarity",
    "entropy_correlation",
    "evaluate_predictions",
    "expected_calibration_error",
    "js_divergence",
    "kl_divergence",
    "macro_f1",
    "metrics_path",
    "panel_ceiling",
    "rater_confusion",
    "rater_distribution",
    "rater_equivalence",
    "split_half_js",
    "top_class",
    "unweighted_accuracy",
    "votes_calibration_error",
    "weighted_accuracy",
]

T = TypeVar("T")
_ACCURACIES = {"wa": wa_from_confusion, "ua": ua_from_confusion, "macro_f1": f1_from_confusion}
_AGREEMENT_TOLERANCE = 1e-6  # agreement is stored as float32: 0.7 comes back as 0.69999999


def metrics_path() -> str:
    """Return the path for `evaluate.load(metrics_path())`, which works offline."""
    return str(Path(__file__).parent.parent / "evaluate_module" / "ambiser_metrics.py")


def evaluate_predictions(
    probabilities: Array,
    votes: Array,
    label: Array,
    classes: Sequence[str],
    *,
    clear: Array | None = None,
    agreement: Array | None = None,
    threshold: float | None = None,
    prior: Array | None = None,
    kl_smoothing: float = KL_SMOOTHING,
    n_bins: int = N_BINS,
) -> dict[str, dict[str, Any]]:
    """Score N predicted distributions against the raters, for all utterances and for three parts of them.

    Args:
        probabilities: `(N, K)` rows that sum to 1.
        votes: `(N, K)` counts, or shares (then the rater ceiling is undefined). A row of zeros is an utterance without
            votes: figures against votes leave it out, and `n_without_votes` counts it.
        label: `(N,)` consensus class, or -1. Utterances with -1 are scored against votes only, never by accuracy.
        classes: K names in index order.
        clear: `(N,)` bool; give either this, or `agreement` and `threshold`.
        agreement: `(N,)`; an utterance is clear if its agreement is at least `threshold` (NaN is ambiguous).
        threshold: In [0, 1].
        prior: `(K,)` class prior from training data, which the majority baseline answers with. None: the baseline uses
            the mean soft label and the most frequent label of the scored utterances, so it knows more than a model
            may.
        kl_smoothing: See `kl_divergence`; `settings` repeats it.
        n_bins: Number of bins of the calibration figures.

    Returns:
        `{"all", "consensus", "clear", "ambiguous"}`; `consensus` are the utterances with a consensus label. Each part
        has `n, n_without_consensus, n_without_votes, wa, ua, macro_f1, per_class, confusion` (rows are the true
        classes), `kl` (nats), `js` (bits), `cosine, brier, bhattacharyya, entropy_pearson, entropy_spearman, ece,
        ece_votes, reliability, class_counts, vote_counts, majority_baseline, rater_ceiling, panel_ceiling, undefined,
        settings`; `squared_correlation, determination` (means of the two R2 over utterances, see `mean_r2`);
        `no_consensus_auroc, no_consensus_aupr, no_consensus_aupr_chance` (see `detect_no_consensus`); `aurc,
        excess_aurc` (see `risk_coverage`: the confidence is the largest probability, the risk is the share of answers
        that are not the consensus label). The rater ceiling's `wa, ua, macro_f1` use the same utterances as `wa`; its
        `every_utterance` and the panel ceiling use all with two votes. Only `all` has a panel ceiling, because the
        votes themselves decide which utterances are in the other parts. A figure without a value is None, and
        `undefined` maps its dotted name to the reason. All values are plain Python types, so `json.dumps` accepts
        them.

    Raises:
        ValueError: If shapes or values do not fit; the message says which.
    """
    n, k = np.shape(probabilities)[0], len(classes)
    for name, values, shape in (
        ("probabilities", probabilities, (n, k)), ("votes", votes, (n, k)), ("label", label, (n,)),
        ("clear", clear, (n,)), ("agreement", agreement, (n,)), ("prior", prior, (k,)),
    ):  # fmt: skip
        if values is not None and np.shape(values) != shape:
            raise ValueError(
                f"{name} has shape {np.shape(values)}; with {n} rows of probabilities and classes {tuple(classes)} "
                f"it must be {shape}."
            )
    if n:
        probabilities, votes = check_distributions(probabilities, "probabilities"), check_votes(votes)
    else:
        probabilities = votes = np.zeros((0, k))
    label = check_labels(label, k, "label", lowest=-1)
    if prior is not None:
        prior = check_distributions(np.asarray(prior)[None], "prior")[0]
    is_clear = _clear_mask(clear, agreement, threshold)
    parts = {"all": np.ones(n, dtype=bool), "consensus": label >= 0, "clear": is_clear, "ambiguous": ~is_clear}
    made = {name: _Part(tuple(classes), prior, kl_smoothing, n_bins, name != "all") for name in parts}
    return {name: made[name].score(probabilities[rows], votes[rows], label[rows]) for name, rows in parts.items()}


def _clear_mask(clear: Array | None, agreement: Array | None, threshold: float | None) -> Array:
    if clear is not None:
        if agreement is not None or threshold is not None:
            raise ValueError("Give either `clear` or `agreement` and `threshold`, not both.")
        return np.asarray(clear).astype(bool)
    if agreement is None or threshold is None:
        raise ValueError(
            "Clear and ambiguous utterances are scored separately: give `clear`, or `agreement` and `threshold`."
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it must be a share of votes, from 0 to 1.")
    return np.asarray(agreement, dtype=np.float64) >= threshold - _AGREEMENT_TOLERANCE


class _Part:
    """The figures of one set of utterances, and the reasons for figures that have no value."""

    def __init__(
        self, classes: tuple[str, ...], prior: Array | None, kl_smoothing: float, n_bins: int, chosen: bool
    ) -> None:
        self.classes, self.prior, self.kl_smoothing, self.n_bins = classes, prior, kl_smoothing, n_bins
        self.chosen = chosen  # whether the raters' agreement decides which utterances are in it
        self.undefined: dict[str, str] = {}

    def attempt(self, names: Sequence[str], figure: Callable[[], T]) -> T | None:
        """Compute a figure; if it has no value, return None and note the reason under each of the names."""
        try:
            return figure()
        except UndefinedMetric as reason:
            self.undefined.update(dict.fromkeys(names, str(reason)))
            return None

    def score(self, probabilities: Array, votes: Array, label: Array) -> dict[str, Any]:
        labelled, voted = label >= 0, votes.sum(axis=1) > 0
        predicted = probabilities.argmax(axis=1)
        confusion = confusion_matrix(label[labelled], predicted[labelled], len(self.classes))
        p, q = soft_labels(votes[voted]), probabilities[voted]
        correlation = self.attempt(["entropy_pearson", "entropy_spearman"], lambda: entropy_correlation(p, q))
        ece = self.attempt(
            ["ece"], lambda: expected_calibration_error(probabilities[labelled], label[labelled], self.n_bins)
        )
        ece_votes = self.attempt(["ece_votes"], lambda: votes_calibration_error(q, votes[voted], self.n_bins))
        return {
            "n": len(label),
            "n_without_consensus": int((~labelled).sum()),
            "n_without_votes": int((~voted).sum()),
            **self.accuracies(confusion),
            "per_class": self.per_class(confusion),
            "confusion": confusion.tolist(),
            **self.distances(p, q),
            **self.r2(p, q),
            "entropy_pearson": correlation and correlation[0],
            "entropy_spearman": correlation and correlation[1],
            "ece": ece and ece[0],
            "ece_votes": ece_votes and ece_votes[0],
            **self.no_consensus(probabilities[voted], label[voted]),
            **self.selection(probabilities[labelled], label[labelled]),
            "reliability": {"label": ece[1] if ece else [], "votes": ece_votes[1] if ece_votes else []},
            "class_counts": dict(zip(self.classes, confusion.sum(axis=1).tolist(), strict=True)),
            "vote_counts": dict(zip(self.classes, votes.sum(axis=0).tolist(), strict=True)),
            "majority_baseline": self.majority_baseline(label[labelled], p),
            "rater_ceiling": self.rater_ceiling(votes, labelled),
            "panel_ceiling": self.panel_ceiling(votes),
            "undefined": self.undefined,
            "settings": {"kl_smoothing": self.kl_smoothing, "n_bins": self.n_bins, "kl_unit": "nat", "js_unit": "bit"},
        }

    def accuracies(self, confusion: Array, prefix: str = "") -> dict[str, float | None]:
        return {
            name: self.attempt([prefix + name], partial(figure, confusion)) for name, figure in _ACCURACIES.items()
        }

    def per_class(self, confusion: Array) -> dict[str, dict[str, float | int | None]]:
        scores = dict(zip(self.classes, per_class_from_confusion(confusion), strict=True))
        reasons = {"precision": "never predicted", "recall": "no utterance has this label", "f1": "never occurs"}
        for name, row in scores.items():
            missing = {f"per_class.{name}.{figure}": reasons[figure] for figure in reasons if row[figure] is None}
            self.undefined.update(missing)
        return scores

    def distances(self, p: Array, q: Array, prefix: str = "") -> dict[str, float | None]:
        figures: dict[str, Callable[[Array, Array], Array]] = {
            "kl": partial(kl_divergence, smoothing=self.kl_smoothing),
            "js": js_divergence,
            "cosine": cosine_similarity,
            "brier": brier_score,
            "bhattacharyya": bhattacharyya_coefficient,
        }

        def mean(figure: Callable[[Array, Array], Array]) -> float:
            return float(figure(p, q).mean())

        return {name: self.attempt([prefix + name], partial(mean, figure)) for name, figure in figures.items()}

    def r2(self, p: Array, q: Array) -> dict[str, float | None]:
        names = ["squared_correlation", "determination"]
        return _values(self.attempt(names, lambda: mean_r2(p, q)), names, names)

    def no_consensus(self, q: Array, label: Array) -> dict[str, float | None]:
        names = ["no_consensus_auroc", "no_consensus_aupr", "no_consensus_aupr_chance"]
        found = self.attempt(names, lambda: detect_no_consensus(q, label))
        return _values(found, names, ["auroc", "aupr", "aupr_baseline"])

    def selection(self, q: Array, label: Array) -> dict[str, float | None]:
        names = ["aurc", "excess_aurc"]
        wrong = (q.argmax(axis=1) != label).astype(np.float64)
        return _values(self.attempt(names, lambda: risk_coverage(q.max(axis=1), wrong)), names, names)

    def majority_baseline(self, label: Array, p: Array) -> dict[str, Any]:
        """Score the same answer for every utterance: the prior and its largest class (on a tie, the lowest index)."""
        k = len(self.classes)
        if self.prior is not None:
            prior: Array | None = self.prior
            answer, known = int(self.prior.argmax()), True
        else:
            prior = p.mean(axis=0) if len(p) else None
            answer, known = int(np.bincount(label, minlength=k).argmax()), len(label) > 0
        confusion = confusion_matrix(label, np.full(len(label), answer), k)
        always = np.broadcast_to(np.zeros(k) if prior is None else prior, p.shape)
        return {
            "answer": self.classes[answer] if known else None,
            "prior": None if prior is None else dict(zip(self.classes, prior.tolist(), strict=True)),
            "prior_from": "the utterances scored" if self.prior is None else "given",
            **self.accuracies(confusion, "majority_baseline."),
            **self.distances(p, always, "majority_baseline."),
        }

    def rater_ceiling(self, votes: Array, labelled: Array) -> dict[str, Any]:
        enough = votes.sum(axis=1) >= 2

        def hard(rows: Array, prefix: str) -> dict[str, Any]:
            names = [prefix + name for name in _ACCURACIES]
            confusion = self.attempt(names, lambda: rater_confusion(votes[rows]))
            figures = dict.fromkeys(_ACCURACIES) if confusion is None else self.accuracies(confusion, prefix)
            return {"n": int((rows & enough).sum()), "n_too_few_votes": int((rows & ~enough).sum()), **figures}

        every = np.ones(len(votes), dtype=bool)
        soft = ["js", "cosine", "brier"]
        distribution = self.attempt([f"rater_ceiling.{name}" for name in soft], lambda: rater_distribution(votes))
        return {
            **hard(labelled, "rater_ceiling."),
            "every_utterance": hard(every, "rater_ceiling.every_utterance."),
            **(distribution or dict.fromkeys(soft)),
            "split_half_js": self.attempt(["rater_ceiling.split_half_js"], lambda: split_half_js(votes)),
        }

    def panel_ceiling(self, votes: Array) -> dict[str, Any]:
        names = [*_ACCURACIES, "js", "n_compared", "n_without_consensus", "panel_size", "rule"]

        def found() -> Any:
            # Panels of utterances on which all raters agree always agree, and those of a tie nearly never do.
            if self.chosen:
                raise UndefinedMetric("there is no panel ceiling of utterances that were chosen by their votes")
            return panel_ceiling(votes)

        return _values(self.attempt([f"panel_ceiling.{name}" for name in names], found), names, names)


def _values(found: Any, names: Sequence[str], fields: Sequence[str]) -> dict[str, Any]:
    """The fields of what was computed, under the given names; None for each if it has no value."""
    return {name: None if found is None else getattr(found, field) for name, field in zip(names, fields, strict=True)}
