"""What is written down about label noise that was added on purpose, and how a card or a report says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


# Keys in build reports and in the data of runs. They are older than the words used now, and stored files keep them.
LABEL_NOISE = "replaced_labels"  # there only where noise was added
N_NOISY = "replaced"  # in the counts of a split: how many of its labels are noisy

_HOW = {
    "uniform": "Every other class was equally likely",
    "confusion": "Another class was as likely as raters give it to utterances of the old class",
}


def describe_label_noise(noise: Mapping[str, Any]) -> str:
    """Say in a few sentences where labels are noisy, how many, how they were drawn, and which class became which.

    Args:
        noise: `LABEL_NOISE` of a build report or of a run's data.
    """
    rate = f"{noise['share']:.0%}, seed {noise['seed']}"
    where = " and ".join(f"{c[N_NOISY]} of the {c['labels']} of {name}" for name, c in noise["counts"].items())
    pairs: Counter[tuple[str, str]] = Counter()
    for counts in noise["counts"].values():
        pairs.update({(old, new): n for old, row in counts["from_to"].items() for new, n in row.items()})
    moved = ", ".join(f"{old} to {new} {n}" for (old, new), n in pairs.items())
    never = noise["without_confusion"]
    rest = (
        f" No rater gave another class to an utterance of {', '.join(never)}: every other class was equally likely"
        " there."
        if never
        else ""
    )
    return (
        f"Label noise was added on purpose. Noisy labels: {where} ({rate}). {_HOW[noise['how']]} ({moved})."
        " The old and the new class changed places in `votes` and `soft_label`, and `ratings` are empty there;"
        f" `reference_*` and all other splits are the raters' own.{rest}"
    )
