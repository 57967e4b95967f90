"""SLC's subsets: clear samples S_A, with a consensus on which raters agree strongly, and ambiguous ones S_B.

Gan et al. call samples clear that show "strong agreement" and name no number. The default threshold of 2/3 is two of
three raters, the usual number in IEMOCAP. Their Table II counts 6598 clear and 4449 ambiguous *segments*.
"""

from __future__ import annotations

import numpy as np

from hf_ambiser.data.splits.common import Array, Split, SplitInput, SplitOptions, finish
from hf_ambiser.data.splits.sides import Sides


def slc_split(data: SplitInput, protocol: str, options: SplitOptions, sides: Sides, config: str) -> Split:
    """Clear and ambiguous utterances of the training side, test_clear and test_ambiguous (test: both) of the other.

    Every utterance with a vote is used: clear with a consensus label and an agreement of at least `clear_threshold`,
    ambiguous otherwise, those without any consensus included.

    strict: validation (labelled utterances) and validation_no_consensus are of the validation side.
    paper: validation repeats the test side, as in the paper, where the held-out speaker validates too.
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
    """`(N,)` bool: has a consensus label on which at least `threshold` of the votes (or all) agree."""
    least = 1.0 if isinstance(threshold, str) else threshold
    return data.labelled & (np.asarray(data.agreement) >= least - 1e-9)
