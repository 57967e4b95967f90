"""Make splits by name. They are pure functions of arrays, do not depend on the rows' order and have a fingerprint."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hf_ambiser.data.splits.apart import hold_apart
from hf_ambiser.data.splits.common import (
    APART,
    CLEAR_AGREEMENT,
    MODERATE_AGREEMENT,
    PROTOCOLS,
    Split,
    SplitError,
    SplitInput,
    SplitOptions,
    check_disjoint,
    check_options,
    shuffled,
    split_fingerprint,
    tiers,
)
from hf_ambiser.data.splits.ipr import PAPER_SIZES, check_prototypes, ipr_split
from hf_ambiser.data.splits.plain import plain_split
from hf_ambiser.data.splits.sides import by_shares, one_left_out, one_of_k
from hf_ambiser.data.splits.slc import is_clear, slc_split


__all__ = [
    "APART",
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
    "check_options",
    "check_prototypes",
    "chosen_by_agreement",
    "expand_configs",
    "held_out_splits",
    "is_clear",
    "is_fold",
    "known_folds",
    "make_split",
    "shuffled",
    "split_base",
    "split_family",
    "split_fingerprint",
    "tiers",
]

DEFAULT_CONFIGS = ("ipr-strict", "slc-strict")
# For example ipr-strict or slc-paper-loso-Ses01F; the plain family only has folds, for example kfold5-strict-0.
_OF_A_FAMILY = re.compile(
    r"(?P<family>ipr|slc)-(?P<protocol>strict|paper)(?:-(?P<folds>loso|logo|kfold[1-9]\d*)(?:-(?P<fold>.+))?)?"
)
_PLAIN = re.compile(r"(?P<folds>loso|logo|kfold[1-9]\d*)-(?P<protocol>strict|paper)(?:-(?P<fold>.+))?")
_FORMS = (
    "ipr-<protocol>, slc-<protocol>, loso-<protocol>[-<speaker>], logo-<protocol>[-<group>],"
    " kfold<k>-<protocol>[-<fold>], {ipr,slc}-<protocol>-{loso,logo,kfold<k>}[-...] with protocol strict or paper"
)


@dataclass(frozen=True)
class _Name:
    """The parts of a config's name: `ipr-strict-kfold5-0` is ipr, strict, kfold, 5, `0`."""

    family: str
    protocol: str
    folds: str
    k: int
    fold: str | None


def _parse(config: str) -> _Name:
    match = _OF_A_FAMILY.fullmatch(config) or _PLAIN.fullmatch(config)
    if match:
        part = match.groupdict()
        folds = part["folds"] or ""
        k = int(folds.removeprefix("kfold")) if folds.startswith("kfold") else 0
        if not k or part["fold"] is None or part["fold"].isdecimal():
            return _Name(part.get("family", "plain"), part["protocol"], "kfold" if k else folds, k, part["fold"])
    raise SplitError(f"split config {config!r} is not one of: {_FORMS}.")


def is_fold(config: str) -> bool:
    """Whether a config belongs to a cross-validation; the folds of a build share their data files."""
    return bool(_parse(config).folds)


def split_base(config: str) -> tuple[str, str]:
    """Return the family of a config (`ipr`, `slc`, `plain`) and its kind of folds (`loso`, `logo`, `kfold`, or "")."""
    name = _parse(config)
    return name.family, name.folds


def split_family(config: str) -> tuple[str, str | None]:
    """Split a config into its name without the fold, and the fold: `ipr-strict-kfold5-0` -> `ipr-strict-kfold5`, `0`.

    The fold is None if the config has no folds (`ipr-strict`) or names all of them (`ipr-strict-kfold5`).

    Raises:
        SplitError: If the name has none of the known forms.
    """
    fold = _parse(config).fold
    return (config, None) if fold is None else (config.removesuffix(f"-{fold}"), fold)


def known_folds(config: str) -> list[str] | None:
    """The folds of a config as far as its name alone tells them.

    Returns:
        `["0", ..., "k - 1"]` for a k-fold family, the fold of a config that is one, an empty list for a config that
        has no folds; None for a family that leaves out one speaker or group at a time, whose folds the data tell.

    Raises:
        SplitError: If the name has none of the known forms.
    """
    name = _parse(config)
    if name.fold is not None:
        return [name.fold]
    if name.folds in ("loso", "logo"):
        return None
    return [str(fold) for fold in range(name.k)]


def held_out_splits(config: str) -> tuple[tuple[str, ...], ...]:
    """The ways in which splits of a config add up to every utterance with votes of the held-out speakers.

    Returns:
        Alternatives, each with the names of its splits; a data set does not have a split without utterances. There is
        none for `ipr-paper`, which holds out no speaker, and for a name that has none of the known forms.
    """
    try:
        name = _parse(config)
    except SplitError:
        return ()
    if name.family == "ipr":
        return (("test_clear", "d3", "test_no_consensus"),) if name.protocol == "strict" or name.folds else ()
    return (("test",), ("test_clear", "test_ambiguous")) if name.family == "slc" else (("test", "test_no_consensus"),)


def chosen_by_agreement(split: str) -> bool:
    """Whether the utterances of a split of that name were chosen by how far their raters agree.

    Figures that compare raters with raters then say how the utterances were chosen, and not how well raters do.
    """
    return split in ("d1", "d2", "d3", "clear", "ambiguous", "test_clear", "test_ambiguous")


def expand_configs(configs: Iterable[str], data: SplitInput) -> list[str]:
    """Replace each config that names all of its folds (`loso-strict`, `ipr-paper-kfold5`) by one config per fold.

    Raises:
        SplitError: If a name has none of the known forms.
    """
    expanded: list[str] = []
    for config in configs:
        name = _parse(config)
        if not name.folds or name.fold is not None:
            folds = [config]
        elif name.folds == "kfold":
            folds = [f"{config}-{fold}" for fold in range(name.k)]
        else:
            values = data.speaker if name.folds == "loso" else data.group
            folds = [f"{config}-{value}" for value in sorted({str(v) for v in values})]
        expanded += [fold for fold in folds if fold not in expanded]
    return expanded


def make_split(data: SplitInput, config: str, options: SplitOptions | None = None) -> Split:
    """Make the split of that name, and hold apart what the options ask for.

    Raises:
        SplitError: If the name has none of the known forms, or if the split cannot be made.
    """
    options = options or SplitOptions()
    split = _of_family(data, config, options)
    if options.disjoint:
        split = hold_apart(split, data, options)
        if split_base(config)[0] == "ipr":
            check_prototypes(data, split.rows("d1"), options, config)
    return split


def _of_family(data: SplitInput, config: str, options: SplitOptions) -> Split:
    name = _parse(config)
    if name.family == "ipr" and name.protocol == "paper" and not name.folds:
        return ipr_split(data, name.protocol, options, None, config)
    if not name.folds:
        sides = by_shares(data, name.protocol, options, config)
    elif name.fold is None:
        raise SplitError(f"{config!r} names all folds; name one of {expand_configs([config], data)[:5]} ...")
    elif name.folds == "kfold":
        sides = one_of_k(data, name.k, name.protocol, int(name.fold), options, config)
    else:
        unit = "speaker" if name.folds == "loso" else "group"
        sides = one_left_out(data, unit, name.protocol, name.fold, options, config)
    family = {"ipr": ipr_split, "slc": slc_split, "plain": plain_split}[name.family]
    return family(data, name.protocol, options, sides, config)
