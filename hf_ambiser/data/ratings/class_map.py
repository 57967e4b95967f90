"""Which label of a table is which class: a map that the user gives, or the labels as they are found.

Labels are compared in lower case everywhere in the package, so "Anger" and "anger" are one label. Labels that may be
spellings of one word ("anger", "angry") are asked about, because nobody can tell which classes a user means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from hf_ambiser.data.ratings.cells import RARE_SEPARATORS
from hf_ambiser.files.read import FileError, read_yaml
from hf_ambiser.files.tables import composed
from hf_ambiser.labels.policies import LabelPolicy


CURE = "Write one line for each label, `label: class`, or `label: null` for one that is left out."
_MOST_CLASSES = 50
_NO_ANSWER = ("na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "missing")


def read_class_map(path: Path) -> dict[str, str | None]:
    """Read label (in lower case) -> class, or None for "leave out".

    Raises:
        FileError: If the file cannot be used.
    """
    return checked_class_map(read_yaml(path, CURE), path)


def checked_class_map(content: Any, where: Path | str) -> dict[str, str | None]:
    """Check a class map that was read from YAML or given in Python.

    Raises:
        FileError: If it is no map from labels to classes, or names a label twice.
    """
    if not isinstance(content, Mapping):
        raise FileError(where, f"must map labels to classes, not hold {content!r:.50}", CURE)
    classes: dict[str, str | None] = {}
    for raw, target in content.items():
        if isinstance(raw, bool) or isinstance(target, bool):
            raise FileError(where, f"has {raw!r}: {target!r}, which YAML takes for yes or no", "Put it in quotes.")
        if raw is None or isinstance(target, list | dict) or (target is not None and not str(target).strip()):
            raise FileError(where, f"maps {raw!r} to {target!r}", CURE)
        label = composed(" ".join(str(raw).split())).lower()
        if label in classes:
            raise FileError(where, f"names the label {label!r} twice; labels are compared in lower case", CURE)
        classes[label] = None if target is None else composed(" ".join(str(target).split()))
    return classes


def own_policy(
    name: str,
    labels: Mapping[str, Counter[str]],
    classes: Mapping[str, str | None] | None,
    as_found: bool = False,
    given: LabelPolicy | None = None,
    **rules: Any,
) -> LabelPolicy:
    """Make the label policy of a table.

    Args:
        name: Name of the policy.
        labels: Label in lower case -> how it is written in the table -> votes.
        classes: The class map, in lower case; None: each label is a class.
        as_found: Take each label for a class, also those that look like spellings of one another or like no answer.
        given: The policy, if the user has one; `classes` is its class map then.
        **rules: Other fields of `LabelPolicy`.

    Raises:
        ValueError: If there is no label, a label that the map does not name, labels that look like spellings of one
            another or like no answer, or that are numbers, or fewer than two classes.
    """
    if not labels:
        raise ValueError("there is no vote.")
    if classes is None:
        classes = _as_found(labels, as_found)
    elif missing := [label for label in labels if label not in classes]:
        raise ValueError(
            f"the class map does not name {len(missing)} of the labels: {_counts(labels, missing)}. Add each to it, to"
            f" a class or to null:  {', '.join(f'{_yaml(label)}: null' for label in sorted(missing)[:10])}"
        )
    names = tuple(dict.fromkeys(target for target in classes.values() if target is not None))
    voted = {classes[label] for label in labels} - {None}
    if len(voted) < 2:
        raise ValueError(
            f"the votes are for {len(voted)} class{'' if len(voted) == 1 else 'es'} only ({_counts(labels, labels)});"
            " a classifier needs two. Look at the column of labels (--columns label=NAME) and the class map."
        )
    return given.with_(**rules) if given else LabelPolicy(name, names, dict(classes), **rules)


def _as_found(labels: Mapping[str, Counter[str]], as_found: bool) -> dict[str, str | None]:
    if all(label.replace(".", "", 1).isdecimal() for label in labels):
        raise ValueError(
            f"the labels are numbers ({_counts(labels, labels)}). If they are codes of classes, say which with"
            " --classes map.yaml (lines like `1: anger`); if not, name the column of labels: --columns label=NAME"
        )
    if len(labels) > _MOST_CLASSES:
        raise ValueError(
            f"there are {len(labels)} different labels ({_counts(labels, labels)}), more than the {_MOST_CLASSES} that"
            " may be classes without a map. Is it the column of labels (--columns label=NAME)? Or give --classes"
            " map.yaml"
        )
    joined = [(label, mark) for label in labels for mark in RARE_SEPARATORS if _is_joined(label, mark, labels)]
    if joined and not as_found:
        raise ValueError(
            f"these labels are made of others of the table: {_counts(labels, [label for label, _ in joined])}. If a"
            f" rater gave several labels there, say what stands between them: --separator '{joined[0][1]}'. If each is"
            " a label of its own, give --as-found or --classes map.yaml."
        )
    missing = [label for label in labels if is_no_answer(label)]
    alike = alike_labels(labels.keys() - set(missing))
    if not as_found and (alike or missing):
        first = {label: max(group, key=lambda one: (labels[one].total(), one)) for group in alike for label in group}
        targets = {label: _yaml(first.get(label, label)) for label in labels} | dict.fromkeys(missing, "null")
        lines = ", ".join(f"{_yaml(label)}: {targets[label]}" for label in sorted(labels))
        groups = "; ".join(_counts(labels, group) for group in alike)
        found = [f"look like spellings of one another: {groups}"] * bool(alike)
        found += [f"look like no answer: {_counts(labels, missing)}"] * bool(missing)
        raise ValueError(
            f"these labels {', and these '.join(found)}. Give --classes map.yaml with, each on a line of its own:"
            f"  {lines}  -- or --as-found, if all of them are classes."
        )
    return dict(sorted((label, label) for label in labels))


def _is_joined(label: str, mark: str, labels: Iterable[str]) -> bool:
    parts = [part.strip() for part in label.split(mark)]
    return len(parts) > 1 and set(parts) <= set(labels)


def is_no_answer(label: str) -> bool:
    """Whether a text in lower case is empty, or what R, pandas, Excel and people write where there is no answer."""
    return label in _NO_ANSWER or (label.isascii() and not any(char.isalnum() for char in label))


def alike_labels(labels: Iterable[str]) -> list[list[str]]:
    """Return groups of labels that look like spellings of one word."""
    groups: list[list[str]] = []
    for label in sorted(labels):
        near = [group for group in groups if any(_alike(label, other) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([*(other for group in near for other in group), label])
    return sorted(group for group in groups if len(group) > 1)


def _alike(one: str, other: str) -> bool:
    """Whether one is the beginning of the other, they begin alike for at least half, or differ in few letters."""
    short, long = sorted((one, other), key=len)
    if len(short) < 3 or short.isdecimal():
        return False
    common = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return (
        common == len(short)
        or (common >= 4 and 2 * common >= len(short) + 2)
        or SequenceMatcher(None, one, other).ratio() >= 0.8
    )


def _counts(labels: Mapping[str, Counter[str]], some: Any) -> str:
    """Say how often labels occur, most frequent first, each as it is written in the table."""
    most = sorted(some, key=lambda label: (-labels[label].total(), label))
    shown = [f"{spelling!r} {n}" for label in most[:12] for spelling, n in labels[label].most_common(3)]
    return ", ".join(shown) + (f" ... ({len(most)} labels)" if len(most) > 12 else "")


def _yaml(text: str) -> str:
    """Write a text as YAML on one line; quoted if YAML could take it for something else."""
    return text if text.isalpha() and text not in ("null", "true", "false", "yes", "no", "on", "off") else f'"{text}"'
