"""`hf_ambiser.metrics.evaluate_predictions` as an `evaluate` metric.

Load it offline with `evaluate.load(hf_ambiser.metrics.metrics_path())`, or import the class:
`AmbiserMetrics().compute(...)`.
"""

# One import per line, with one name each: the import scanner of `evaluate` takes "a, b" for a package named "a,".
import datasets
import evaluate
import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics import evaluate_predictions


_DESCRIPTION = "Predicted emotion distributions against raters' votes: accuracy, distances, calibration, baselines."
_KWARGS_DESCRIPTION = """
Args:
    predictions: (N, K) probabilities.
    references: (N, K) votes.
    classes: K names; default "0", "1", ...
    label: (N,) consensus class or -1; default: the class with the most votes, -1 on a tie.
    threshold: an utterance is clear if its top class has at least this share of the votes; default 2/3, as in runs.
    prior, kl_smoothing, n_bins: see `hf_ambiser.metrics.evaluate_predictions`.
Returns:
    "all", "clear" and "ambiguous", each a dict of figures.
"""


class AmbiserMetrics(evaluate.Metric):
    """All figures of `evaluate_predictions` under the interface of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        rows = datasets.Sequence(datasets.Value("float32"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": rows, "references": rows}),
        )

    def _compute(self, predictions, references, classes=None, label=None, threshold=2 / 3, **options):  # type: ignore[no-untyped-def]
        votes = np.asarray(references, dtype=np.float64)
        if votes.ndim != 2:
            raise ValueError(f"references have shape {votes.shape}; they must be votes, (utterances, classes).")
        top = votes.max(axis=1, keepdims=True)
        if label is None:
            single = ((votes == top).sum(axis=1) == 1) & (top[:, 0] > 0)
            label = np.where(single, votes.argmax(axis=1), -1)
        if classes is None:
            classes = [str(index) for index in range(votes.shape[1])]
        return evaluate_predictions(
            np.asarray(predictions),
            votes,
            np.asarray(label),
            classes,
            agreement=soft_labels(votes).max(axis=1),
            threshold=threshold,
            **options,
        )
