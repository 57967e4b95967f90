"""Splits by name: pure functions of arrays, independent of the input's order, each with a fingerprint."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hf_ambiser.data.splits.common import (
    CLEAR_AGREEMENT,
    MODERATE_AGREEMENT,
    PROTOCOLS,
    Split,
    SplitError,
    SplitInput,
    SplitOptions,
    check_disjoint,
    shuffled,
    split_fingerprint,
    tiers,
)
from hf_ambiser.data.splits.folds import grouped_k_fold, leave_one_out
from hf_ambiser.data.splits.ipr import PAPER_SIZES, check_prototypes, ipr_split
from hf_ambiser.data.splits.slc import is_clear, slc_split


__all__ = [
    "CLEAR_AGREEMENT",
    "DEFAULT_CONFIGS",
    "MODERATE_AGREEMENT",
    "PAPER_SIZES",
    "PROTOCOLS",
    "Split",
    "SplitError",
    "SplitInput",
    "SplitOptions",
    "check_disjoint",
    "check_prototypes",
    "expand_configs",
    "grouped_k_fold",
    "ipr_split",
    "is_clear",
    "is_fold",
    "leave_one_out",
    "make_split",
    "shuffled",
    "slc_split",
    "split_fingerprint",
    "tiers",
]

DEFAULT_CONFIGS = ("ipr-strict", "slc-strict")
_NAME = re.compile(r"(ipr|slc|loso|logo|kfold(\d+))-(strict|paper)(?:-(.+))?")
_FORMS = (
    "ipr-<protocol>, slc-<protocol>, loso-<protocol>[-<speaker>], logo-<protocol>[-<group>],"
    " kfold<k>-<protocol>[-<fold>] with protocol strict or paper"
)


def _parse(config: str) -> tuple[str, int, str, str | None]:
    """Family, k (0 unless k-fold), protocol, and which fold (None: all)."""
    match = _NAME.fullmatch(config)
    family, k, protocol, which = match.groups() if match else ("", None, "", None)
    bad_fold = k is not None and which is not None and not which.isdecimal()
    if not match or bad_fold or (which is not None and family in ("ipr", "slc")):
        raise SplitError(f"split config {config!r} is not one of: {_FORMS}.")
    return ("kfold" if k else family), int(k or 0), protocol, which


def is_fold(config: str) -> bool:
    """Whether a config is one of a cross-validation (these share their data files)."""
    return _parse(config)[0] not in ("ipr", "slc")


def expand_configs(configs: Iterable[str], data: SplitInput) -> list[str]:
    """The configs with each `loso-...`, `logo-...` or `kfold...` without a fold replaced by all of its folds.

    Raises:
        SplitError: If a name has none of the known forms.
    """
    expanded: list[str] = []
    for config in configs:
        family, k, _, which = _parse(config)
        if family in ("ipr", "slc") or which is not None:
            folds = [config]
        elif family == "kfold":
            folds = [f"{config}-{fold}" for fold in range(k)]
        else:
            values = data.speaker if family == "loso" else data.group
            folds = [f"{config}-{value}" for value in sorted({str(v) for v in values})]
        expanded += [fold for fold in folds if fold not in expanded]
    return expanded


def make_split(data: SplitInput, config: str, options: SplitOptions | None = None) -> Split:
    """The split of that name.

    Raises:
        SplitError: If the name has none of the known forms or the split cannot be made.
    """
    options = options or SplitOptions()
    family, k, protocol, which = _parse(config)
    if family == "ipr":
        return ipr_split(data, protocol, options)
    if family == "slc":
        return slc_split(data, protocol, options)
    if which is None:
        raise SplitError(f"{config!r} names all folds; name one of {expand_configs([config], data)[:5]} ...")
    if family == "kfold":
        return grouped_k_fold(data, k, protocol, int(which), options)
    return leave_one_out(data, "speaker" if family == "loso" else "group", protocol, which, options)
