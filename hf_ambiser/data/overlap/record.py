"""What is written down about the sides of a split, and how a summary, a data set's card and a model's card say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


# Key in build reports and in the data of runs; earlier builds have none.
OVERLAP = "overlap"
IDENTICAL, NEAR = "identical_audio", "near_identical_audio"
HELD_OUT = ("validation", "test")
# Column -> its name in words, one and many.
_WORDS = {
    "speaker": ("speaker", "speakers"),
    "session": ("session", "sessions"),
    "dialogue": ("dialogue", "dialogues"),
    "script": ("script", "scripts"),
    "sentence": ("sentence", "sentences"),
    IDENTICAL: ("identical recording", "identical recordings"),
    NEAR: ("near copy of a recording", "near copies of recordings"),  # identical ones included
}


def overlap_of(info: Mapping[str, Any], config: str) -> dict[str, dict[str, dict[str, int]]]:
    """Take the counts of one config out of a build report, which may be anybody's; empty if it has none."""
    try:
        return {
            column: {
                side: {name: int(counts[side][name]) for name in ("values", "shared", "utterances")}
                for side in HELD_OUT
                if side in counts
            }
            for column, counts in info[OVERLAP]["configs"][config].items()
            if column in _WORDS
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def describe_sides(counts: Mapping[str, Any]) -> str:
    """Say in one sentence what the training side of a config shares with its held-out sides, and what it does not.

    Args:
        counts: `configs[config]` of a build report's `OVERLAP`.
    """
    with_it, without = [], []
    for column, (one, many) in _WORDS.items():
        if column not in counts:
            continue
        sides = [(side, counts[column][side]) for side in HELD_OUT if side in counts[column]]
        found = [
            f"{int(c['shared'])} of the {int(c['values'])} {many} of {side}"
            if column not in (IDENTICAL, NEAR)
            else f"{int(c['shared'])} {one if int(c['shared']) == 1 else many} of {side}"
            for side, c in sides
            if int(c["shared"])
        ]
        if found:
            with_it.append(" and ".join(found))
        elif sides:
            without.append(one)
    has = f"The training side also has {'; '.join(with_it)}" if with_it else ""
    lacks = f"no {' or '.join(filter(None, (', '.join(without[:-1]), without[-1])))}" if without else ""
    if has and lacks:
        return f"{has}. It shares {lacks} with validation or test."
    return f"{has}." if has else f"The training side shares {lacks} with validation or test." if lacks else ""


def summary_lines(overlap: Mapping[str, Any]) -> list[str]:
    """Say the same for all configs; configs of which the same is true stand in one line."""
    said: dict[str, list[str]] = {}
    for config, counts in overlap["configs"].items():
        said.setdefault(describe_sides(counts), []).append(config)
    lines = []
    for text, configs in said.items():
        named = ", ".join(configs[:3]) + (f" and {len(configs) - 3} more" if len(configs) > 3 else "")
        lines.append(f"  two sides, {named}: {text}")
    if n := int(overlap["n_same_audio"]):
        lines.append(f"  {n} groups of utterances are identical or near copies of one another: {_groups(overlap)}")
    return lines


def card_lines(overlap: Mapping[str, Any]) -> list[str]:
    """The section of a data set's card: a table of the configs, and the rule for recordings."""
    columns = [name for name in _WORDS if name in overlap["columns"]]
    lines = [
        "## What stands on two sides",
        "",
        "How much of the validation side and of the test side the training side has, too: shared / all, and in"
        " brackets the utterances of the training side with it. A model may know these by heart.",
        "",
        "| config | side | " + " | ".join(_WORDS[name][1] for name in columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for config, counts in overlap["configs"].items():
        for side in HELD_OUT:
            cells = [_cell(counts[name][side]) for name in columns if side in counts.get(name, {})]
            if cells:
                lines.append(f"| {config} | {side} | {' | '.join(cells)} |")
    rule = overlap["rule"]
    lines += [
        "",
        "Identical recordings have the same samples. Near copies are these and others (other volume, added silence,"
        " lossy coding) that have coarse pictures of their sound, 16 mel bands in 32 parts, whose product is at least"
        f" {float(rule['threshold']):g}, and lengths that differ by at most"
        f" {float(rule['lengths_differ_by_at_most']):.0%}. Parts of a recording, other speeds and mixtures are not"
        f" found, and {int(rule['not_comparable'])} recordings are too short or too steady to be compared.",
    ]
    if n := int(overlap["n_same_audio"]):
        lines += ["", f"{n} groups of utterances are identical or near copies of one another: {_groups(overlap)}."]
    return [*lines, ""]


def _cell(counts: Mapping[str, Any]) -> str:
    return f"{int(counts['shared'])} / {int(counts['values'])} ({int(counts['utterances'])})"


def _groups(overlap: Mapping[str, Any], most: int = 5) -> str:
    """The first groups by the ids of their utterances."""
    groups = overlap["same_audio"]
    shown = [" = ".join(map(str, names[:4])) + (" = ..." if len(names) > 4 else "") for names in groups[:most]]
    return ", ".join(shown) + (" ..." if int(overlap["n_same_audio"]) > most else "")
