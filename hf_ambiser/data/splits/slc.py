"""SLC's subsets: clear samples S_A, with a consensus on which raters agree strongly, and ambiguous ones S_B.

Gan et al. call samples clear that show "strong agreement" and name no number. The default threshold of 2/3 is two of
three raters, the usual number in IEMOCAP. Their Table II counts 6598 clear and 4449 ambiguous *segments*.
"""

from __future__ import annotations

import numpy as np

from hf_ambiser.data.splits.common import (
    Array,
    Split,
    SplitInput,
    SplitOptions,
    check_disjoint,
    divide_groups,
    finish,
)


def slc_split(data: SplitInput, protocol: str, options: SplitOptions) -> Split:
    """`slc-paper` or `slc-strict`.

    Every utterance with a vote is used: clear with a consensus label and an agreement of at least `clear_threshold`,
    ambiguous otherwise, those without any consensus included. Groups are divided first.

    strict: training groups give clear and ambiguous, test groups test_clear and test_ambiguous, further groups
    validation (labelled utterances) and validation_no_consensus.
    paper: no validation groups (they train); validation repeats the test side, as in the paper, where the held-out
    speaker validates too.

    Raises:
        SplitError: If there are too few groups.
    """
    config = f"slc-{protocol}"
    sides = divide_groups(data, options, config)
    aliases: dict[str, tuple[str, ...]] = {}
    if protocol == "paper":
        sides["train"] = np.concatenate([sides["train"], sides.pop("validation")])
        check_disjoint(sides, data.group, config)
        aliases = {"validation": ("test_clear", "test_ambiguous")}
    clear = is_clear(data, options.clear_threshold)
    used = data.labelled | data.unlabelled
    parts = {}
    for side, prefix in (("train", ""), ("test", "test_")):
        rows = sides[side][used[sides[side]]]
        parts[f"{prefix}clear"], parts[f"{prefix}ambiguous"] = rows[clear[rows]], rows[~clear[rows]]
    if protocol == "strict":
        rows = sides["validation"]
        parts["validation"], parts["validation_no_consensus"] = rows[data.labelled[rows]], rows[data.unlabelled[rows]]
    threshold = options.clear_threshold
    words = threshold if isinstance(threshold, str) else f"at least {threshold:.4g}"
    description = (
        f"Clear utterances have a consensus label and an agreement that is {words}; ambiguous are all others with a"
        " vote, those without a consensus included (label -1). Speakers (IEMOCAP: sessions) are on one side only;"
        + (" the validation split repeats the test side, as in the paper." if aliases else " validation has its own.")
    )
    options_used = options.only("seed", "clear_threshold", "group_shares")
    return finish(config, protocol, data, parts, options_used, description=description, aliases=aliases)


def is_clear(data: SplitInput, threshold: float | str) -> Array:
    """`(N,)` bool: has a consensus label on which at least `threshold` of the votes (or all) agree."""
    least = 1.0 if isinstance(threshold, str) else threshold
    return data.labelled & (np.asarray(data.agreement) >= least - 1e-9)
