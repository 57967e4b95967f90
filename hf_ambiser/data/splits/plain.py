"""The plain family: train, validation and test, with separate splits for utterances without a consensus label."""

from __future__ import annotations

from hf_ambiser.data.splits.common import Split, SplitInput, SplitOptions, finish
from hf_ambiser.data.splits.sides import Sides


def plain_split(data: SplitInput, protocol: str, options: SplitOptions, sides: Sides, config: str) -> Split:
    """Make train, validation and test of labelled utterances, and for each side a split `no_consensus` of the others.

    The latter are named no_consensus, validation_no_consensus and test_no_consensus. Under `paper`, validation repeats
    the test side, as in the papers that leave one speaker out.
    """
    parts = {}
    for side, rows in sides.named().items():
        prefix = "" if side == "train" else f"{side}_"
        parts[side] = rows[data.labelled[rows]]
        parts[f"{prefix}no_consensus"] = rows[data.unlabelled[rows]]
    aliases = {} if protocol == "strict" else {"validation": ("test",)}
    text = f"Cross-validation: {sides.what}; " + (
        "validation repeats it, as in the paper." if aliases else "validation has speakers of its own."
    )
    used = options.only(*sides.options)
    return finish(config, protocol, data, parts, used, description=text, aliases=aliases)
