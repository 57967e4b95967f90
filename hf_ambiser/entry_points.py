"""Corpora and label policies that other packages offer, as entry points of the groups below.

```toml
[project.entry-points."hf_ambiser.corpora"]
my_corpus = "my_package.my_corpus"             # a module with what hf_ambiser/data/corpora/__init__.py asks for
[project.entry-points."hf_ambiser.policies"]
my-four = "my_package.policies:FOUR"           # a LabelPolicy, or a mapping of its fields
```
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


CORPORA, POLICIES = "hf_ambiser.corpora", "hf_ambiser.policies"


def offered(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return name -> the entry points of that name, of the packages that Python finds now; none is imported."""
    return _offered(group, tuple(sys.path))


@lru_cache
def _offered(group: str, path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    # Looking through all installed packages takes a tenth of a second, and policies are asked for often.
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def load(group: str, name: str, own: bool = False) -> tuple[Any, str]:
    """Import what other packages offer under a name.

    Args:
        group: The group.
        name: A name in `offered(group)`.
        own: Whether this package itself has something of that name.

    Returns:
        The object, and the entry point and its package in words.

    Raises:
        ValueError: If two packages offer the name, or it cannot be imported. The message names the package.
    """
    points = offered(group)[name]
    if own or len(points) > 1:
        packages = ["hf_ambiser"] * own + [_package(point) for point in points]
        raise ValueError(
            f"{name!r} of {group} is offered by several packages: {', '.join(packages)}. Uninstall all of them but"
            " one, or ask their makers for another name."
        )
    (point,) = points
    said = f"entry point {name!r} of {group} (package {_package(point)}, {point.value})"
    try:
        return point.load(), said
    except Exception as error:  # the code of others may raise anything while it is imported
        raise ValueError(
            f"{said} cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())[:200]}. Repair or"
            " uninstall the package."
        ) from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "of an unknown name"
