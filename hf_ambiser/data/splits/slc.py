"""SLC's subsets: clear utterances S_A, which have a consensus with strong agreement, and ambiguous utterances S_B.

Gan et al. call utterances with "strong agreement" clear and give no number. Our default threshold of 2/3 means two of
three raters, the usual number in IEMOCAP. Their Table II counts 6598 clear and 4449 ambiguous *segments*.
"""

from __future__ import annotations

import numpy as np

from hf_ambiser.data.splits.common import Array, Split, SplitInput, SplitOptions, finish
from hf_ambiser.data.splits.sides import Sides


def slc_split(data: SplitInput, protocol: str, options: SplitOptions, sides: Sides, config: str) -> Split:
    """Make `clear` and `ambiguous` from the training side, `test_clear` and `test_ambiguous` from the test side.

    `test` holds both parts of the test side. Every utterance with a vote is used. It is clear if it has a consensus
    label and an agreement of at least `clear_threshold`, and ambiguous otherwise, also without any consensus.

    Under `strict`, validation (labelled utterances) and validation_no_consensus come from the validation side. Under
    `paper`, validation repeats the test side: in the paper, the held-out speaker validates too.
    """
    held_out = ("test_clear", "test_ambiguous")
    aliases = {"test": held_out} if protocol == "strict" else {"test": held_out, "validation": held_out}
    clear = is_clear(data, options.clear_threshold)
    used = data.labelled | data.unlabelled
    parts = {}
    for side, prefix in ((sides.train, ""), (sides.test, "test_")):
        rows = side[used[side]]
        parts[f"{prefix}clear"], parts[f"{prefix}ambiguous"] = rows[clear[rows]], rows[~clear[rows]]
    if protocol == "strict":
        rows = sides.validation
        parts["validation"], parts["validation_no_consensus"] = rows[data.labelled[rows]], rows[data.unlabelled[rows]]
    threshold = options.clear_threshold
    words = threshold if isinstance(threshold, str) else f"at least {threshold:.4g}"
    description = (
        f"Clear utterances have a consensus label and an agreement that is {words}; ambiguous are all others with a"
        f" vote, those without a consensus included (label -1). Speakers are on one side only: {sides.what};"
        + (
            " validation has its own."
            if protocol == "strict"
            else " validation repeats the test side, as in the paper."
        )
    )
    options_used = options.only("clear_threshold", *sides.options)
    return finish(config, protocol, data, parts, options_used, description=description, aliases=aliases)


def is_clear(data: SplitInput, threshold: float | str) -> Array:
    """`(N,)` bool: whether there is a consensus label and at least `threshold` of the votes (or all) agree on it."""
    least = 1.0 if isinstance(threshold, str) else threshold
    return data.labelled & (np.asarray(data.agreement) >= least - 1e-9)
