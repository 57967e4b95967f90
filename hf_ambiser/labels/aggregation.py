"""Models of raters: estimate a distribution over classes from who answered what (`pip install ".[crowd]"`).

crowd-kit fits the models; `labels.votes.tally` uses their posterior as the soft label.

- `dawid_skene` (Dawid and Skene 1979): one confusion matrix per rater and class frequencies, by EM from the vote
  shares.
- `glad` (Whitehill et al. 2009): one ability per rater and one difficulty per utterance.
- `mace` (Hovy et al. 2013): a rater either answers truly or spams in their own way; the best of several random starts.

All three assume that an utterance has *one* true class and that disagreement is the raters' error. Their posterior
says how certain that class is. It does not say how people would divide over the utterance: if raters disagree because
the speech is ambiguous, the posterior is more certain than the people are (`train_scripts/label_sources.py` measures
this).

A model learns about a rater from all answers of that rater, also from those about test utterances (it never sees
audio). So a training label depends a little on test answers. The option `within="group"` fits one model per speaker or
session: under a strict split, no training label then depends on an answer about a test utterance. Scores never depend
on a model: they compare with the votes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Literal, get_args

import numpy as np


Array = np.ndarray
Aggregation = Literal["shares", "dawid_skene", "glad", "mace"]
Within = Literal["corpus", "group"]

# The options of each aggregation and their defaults, which are crowd-kit's own. Iterations are a maximum.
DEFAULTS: dict[str, dict[str, int | str]] = {
    "shares": {},
    "dawid_skene": {"iterations": 100, "within": "corpus"},
    "glad": {"iterations": 100, "within": "corpus"},
    "mace": {"iterations": 50, "restarts": 10, "seed": 0, "within": "corpus"},
}
# The smallest values allowed. After one iteration, crowd-kit's GLAD has not yet learnt anything about the raters.
_LOWEST = {"iterations": 2, "restarts": 1, "seed": 0}


class AggregationError(ValueError):
    """No distribution can be estimated from these answers as requested; the message says what to change."""


def checked_options(aggregation: str, options: Mapping[str, Any]) -> dict[str, int | str]:
    """Check the options of an aggregation and fill in the defaults.

    Raises:
        ValueError: If the aggregation or an option does not exist, or if a value is outside its range.
    """
    if aggregation not in get_args(Aggregation):
        raise ValueError(f"aggregation={aggregation!r} is not one of {list(get_args(Aggregation))}.")
    known = DEFAULTS[aggregation]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"aggregation={aggregation!r} has no option {unknown}; its options are {list(known)}.")
    for name, value in options.items():
        if name == "within":
            if value not in get_args(Within):
                raise ValueError(f"aggregation option within={value!r} is not one of {list(get_args(Within))}.")
        elif isinstance(value, bool) or not isinstance(value, int) or not _LOWEST[name] <= value < 2**32:
            raise ValueError(f"aggregation option {name}={value!r} must be a whole number from {_LOWEST[name]} on.")
    return {**known, **options}


def crowd_kit_version() -> str:
    """The version of crowd-kit that is installed.

    Raises:
        AggregationError: If crowd-kit is not installed.
    """
    try:
        return metadata.version("crowd-kit")
    except metadata.PackageNotFoundError:
        raise AggregationError(
            "modelling raters (dawid_skene, glad, mace) needs crowd-kit, which is not installed: pip install crowd-kit"
            " (or the extra [crowd] of this package), or use aggregation='shares'."
        ) from None


def posterior(
    aggregation: str,
    options: Mapping[str, Any],
    utterance: Array,
    rater: Array,
    answer: Array,
    shape: tuple[int, int],
    block: Array | None = None,
) -> Array:
    """Estimate the posterior over the categories for each utterance that has an answer.

    The order of the rows and the numbering of the utterances change the result by rounding only. MACE draws its random
    starts in the order of the raters' numbers, so these numbers must follow something that does not change (the name).

    Args:
        aggregation: `dawid_skene`, `glad` or `mace`.
        options: See `DEFAULTS`.
        utterance: `(A,)` int in [0, N).
        rater: `(A,)` int >= 0, the number of the rater who answered.
        answer: `(A,)` int in [0, C).
        shape: (N, C).
        block: `(N,)` int, needed by the option `within="group"`: each block gets a model of its own, so that no
            utterance's distribution depends on answers from another block. A category that nobody chose in a block has
            probability 0 there.

    Returns:
        `(N, C)` float64; a row sums to 1, or to 0 if nobody answered.

    Raises:
        AggregationError: If crowd-kit is missing, if `block` is needed and missing, or if the model diverges.
    """
    crowd_kit_version()
    options = checked_options(aggregation, options)
    result = np.zeros(shape)
    if options["within"] == "corpus":
        block = np.zeros(shape[0], dtype=np.int64)
    elif block is None:
        raise AggregationError(
            f"aggregation={aggregation!r} within='group' needs to know each utterance's group, but these ratings have"
            " group=None. Set RatingArrays.group, build a data set (`hf-ambiser build`), or use within='corpus'."
        )
    for one in np.unique(block[utterance]):
        rows = block[utterance] == one
        _fit(aggregation, options, utterance[rows], rater[rows], answer[rows], result)
    return result


def _fit(
    aggregation: str, options: Mapping[str, Any], utterance: Array, rater: Array, answer: Array, out: Array
) -> None:
    """Fit the model to these answers and write its posterior into the rows of `out`."""
    import pandas as pd

    # Sort, so that the input's order does not matter. Renumber, because crowd-kit's MACE numbers raters and answers by
    # first appearance in one place and by sorted name in another; with these numbers both give the same.
    order = np.lexsort((utterance, answer, rater))
    utterance, rater, answer = utterance[order], rater[order], answer[order]
    worker = np.unique(rater, return_inverse=True)[1]
    first = np.unique(answer, return_index=True)[1]
    category = answer[np.sort(first)]  # number in the model -> category
    if len(category) < 2:
        raise AggregationError(
            f"aggregation={aggregation!r} needs answers of at least two kinds; all {len(answer)} are the same. Use"
            " aggregation='shares'."
        )
    label = np.empty(out.shape[1], dtype=np.int64)
    label[category] = np.arange(len(category))
    frame = pd.DataFrame({"task": utterance, "worker": worker, "label": label[answer]})
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Users cannot act on deprecations inside crowd-kit; values that are not numbers are checked below.
        warnings.simplefilter("ignore")
        try:
            found = _model(aggregation, options).fit_predict_proba(frame)
            values = found.to_numpy(dtype=np.float64)
        except (ArithmeticError, UnboundLocalError):  # MACE finds no best start if no likelihood is a number
            values = np.array([[np.nan]])
    if not np.isfinite(values).all() or (np.abs(values.sum(axis=1) - 1) > 1e-6).any():
        raise AggregationError(
            f"aggregation={aggregation!r} diverged: its posterior is not a number, or does not sum to 1, for some of"
            f" {len(np.unique(utterance))} utterances by {worker.max() + 1} raters. Use another aggregation, such as"
            " 'shares'."
        )
    out[np.ix_(found.index.to_numpy(), category[found.columns.to_numpy()])] = values


def _model(aggregation: str, options: Mapping[str, Any]) -> Any:
    from crowdkit.aggregation import GLAD, MACE, DawidSkene

    if aggregation == "dawid_skene":
        return DawidSkene(n_iter=options["iterations"])
    if aggregation == "glad":
        return GLAD(n_iter=options["iterations"])
    # Pass a state, not a seed: with a seed, crowd-kit would start every restart from the same numbers.
    state: Any = np.random.RandomState(options["seed"])
    return MACE(n_iter=options["iterations"], n_restarts=options["restarts"], random_state=state)
