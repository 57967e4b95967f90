"""Which labels of the raters a data set has no class for, and what a model card says of their votes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_ambiser.labels.policies import available_policies, get_policy


# The name under which a run's `data.json` holds label -> votes. Runs that were made before do not have it.
LEFT_OUT = "left_out_votes"
_OUTSIDE = "outside the classes: "


def left_out_votes(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return `{LEFT_OUT: label -> votes that the policy left out}` from the content of `build_report.json`.

    It is empty if the report does not say what was left out.
    """
    excluded = report.get("votes", {}).get("excluded")
    if excluded is None:
        return {}
    return {LEFT_OUT: {why.removeprefix(_OUTSIDE): n for why, n in excluded.items() if why.startswith(_OUTSIDE)}}


def describe_left_out(data: Mapping[str, Any]) -> str:
    """Say whether votes for other labels were left out, in one sentence of Markdown; "" if none were.

    Args:
        data: The data of a run, its texts escaped. A run that was made before this was written down names its label
            policy; the policies of the package tell which labels they leave out, of others nothing is known.
    """
    if LEFT_OUT in data:
        votes = ", ".join(f"{label} {n:g}" for label, n in data[LEFT_OUT].items())
        return f"Votes for other labels were left out before it learnt: {votes}." if votes else ""
    if data["policy"] not in available_policies():
        return "Whether votes for other labels were left out is not recorded."
    labels = ", ".join(label for label, target in get_policy(data["policy"]).class_map.items() if target is None)
    return f"Votes for other labels, if there were any, were left out before it learnt ({labels})." if labels else ""
