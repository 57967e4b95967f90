"""Models of raters: a distribution over classes from who answered what, through crowd-kit (`pip install ".[crowd]"`).

- `dawid_skene` (Dawid and Skene 1979): a confusion matrix a rater, class frequencies; EM, begun with the vote shares.
- `glad` (Whitehill et al. 2009): an ability a rater, a difficulty an utterance.
- `mace` (Hovy et al. 2013): a rater answers truly or spams in a manner of his own; the best of several random starts.

All three assume that an utterance *has* one true class and that disagreement is the raters' error. Their posterior
says how sure one may be of that class, not how people would divide over the utterance: where raters disagree because
the speech is ambiguous, it is surer than the people are (`train_scripts/label_sources.py` measures by how much).

What a model learns of a rater it learns from all of his answers, those about test utterances included (answers, never
audio), so a training label depends a little on them. The option `within="group"` fits one model a speaker or session
instead: under a strict split no training label then depends on an answer about a test utterance. Scores never depend
on a model: they are against the votes.

Plain arrays in and out; what an answer is and what becomes of the posterior is said in `labels.py`.
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

# What each may be told, and what it is told unless asked otherwise: crowd-kit's own numbers. Iterations are a maximum.
DEFAULTS: dict[str, dict[str, int | str]] = {
    "shares": {},
    "dawid_skene": {"iterations": 100, "within": "corpus"},
    "glad": {"iterations": 100, "within": "corpus"},
    "mace": {"iterations": 50, "restarts": 10, "seed": 0, "within": "corpus"},
}
# In its first iteration crowd-kit's GLAD believes what it believes before it has looked at any rater.
_LOWEST = {"iterations": 2, "restarts": 1, "seed": 0}


class AggregationError(ValueError):
    """Answers from which no distribution can be made as asked; the message says what to change."""


def checked_options(aggregation: str, options: Mapping[str, Any]) -> dict[str, int | str]:
    """The options of an aggregation, defaults filled in.

    Raises:
        ValueError: If there is no such aggregation or option, or an option's value is outside its range.
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
    """Version of the crowd-kit that is installed.

    Raises:
        AggregationError: If it is not installed.
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
    """Posterior over the categories, for each utterance with an answer.

    The order of the rows and the numbering of the utterances change nothing beyond rounding. MACE's random starts are
    drawn for the raters in the order of their numbers, so `rater` must number them by something that stays (a name).

    Args:
        aggregation: `dawid_skene`, `glad` or `mace`.
        options: See `DEFAULTS`.
        utterance: `(A,)` int in [0, N).
        rater: `(A,)` int >= 0, who answered.
        answer: `(A,)` int in [0, C).
        shape: (N, C).
        block: `(N,)` int; with the option `within="group"`, raters are modelled anew in every block, so that no
            utterance's distribution depends on answers about another block. A category without an answer in a block
            has probability 0 there.

    Returns:
        `(N, C)` float64; rows sum to 1, or to 0 where nobody answered.

    Raises:
        AggregationError: Without crowd-kit, without `block` where one is needed, or if the model gives no numbers.
    """
    crowd_kit_version()
    options = checked_options(aggregation, options)
    result = np.zeros(shape)
    if options["within"] == "corpus":
        block = np.zeros(shape[0], dtype=np.int64)
    elif block is None:
        raise AggregationError(
            f"aggregation={aggregation!r} within='group' needs to know each utterance's group, which these ratings do"
            " not say. Build a data set (`hf-ambiser build`), or use within='corpus'."
        )
    for one in np.unique(block[utterance]):
        rows = block[utterance] == one
        _fit(aggregation, options, utterance[rows], rater[rows], answer[rows], result)
    return result


def _fit(
    aggregation: str, options: Mapping[str, Any], utterance: Array, rater: Array, answer: Array, out: Array
) -> None:
    """Write the posterior of these answers into rows of `out`."""
    import pandas as pd

    # One order, whatever the order of the input. crowd-kit's MACE numbers raters and answers by first appearance in
    # one place and by sorted name in another: renumbered like this, the two are the same.
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
        # Deprecations inside crowd-kit are no business of who uses it; a number that is none is looked for below.
        warnings.simplefilter("ignore")
        try:
            found = _model(aggregation, options).fit_predict_proba(frame)
            values = found.to_numpy(dtype=np.float64)
        except (ArithmeticError, UnboundLocalError):  # MACE has no best start where no likelihood is a number
            values = np.array([[np.nan]])
    if not np.isfinite(values).all() or (np.abs(values.sum(axis=1) - 1) > 1e-6).any():
        raise AggregationError(
            f"aggregation={aggregation!r} diverged: its posterior is not a number, or does not sum to 1, for some of"
            f" {len(np.unique(utterance))} utterances by {worker.max() + 1} raters. Use another aggregation, or"
            " 'shares'."
        )
    out[np.ix_(found.index.to_numpy(), category[found.columns.to_numpy()])] = values


def _model(aggregation: str, options: Mapping[str, Any]) -> Any:
    from crowdkit.aggregation import GLAD, MACE, DawidSkene

    if aggregation == "dawid_skene":
        return DawidSkene(n_iter=options["iterations"])
    if aggregation == "glad":
        return GLAD(n_iter=options["iterations"])
    # A state and not its seed: from a seed crowd-kit would begin every restart with the same numbers.
    state: Any = np.random.RandomState(options["seed"])
    return MACE(n_iter=options["iterations"], n_restarts=options["restarts"], random_state=state)
