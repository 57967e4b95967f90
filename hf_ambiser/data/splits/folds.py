"""Cross-validation: leave one speaker (or group) out, and k folds of whole groups."""

from __future__ import annotations

import numpy as np

from hf_ambiser.data.splits.common import (
    Array,
    Split,
    SplitError,
    SplitInput,
    SplitOptions,
    check_disjoint,
    finish,
    shuffled,
)


def leave_one_out(data: SplitInput, unit: str, protocol: str, held_out: str, options: SplitOptions) -> Split:
    """`loso-<protocol>-<speaker>` (unit `speaker`) or `logo-<protocol>-<group>` (unit `group`).

    strict: the validation part has speakers of its own. Where the held-out speaker shares a group with others
    (IEMOCAP's sessions hold two), those validate, so that nothing of that session trains; else one further speaker or
    group, chosen by the seed, validates. paper: validation repeats the test speaker; all others train.

    Splits: train, validation, test, each of labelled utterances, and no_consensus, validation_no_consensus,
    test_no_consensus beside them.

    Raises:
        SplitError: If there is no such speaker or group, or too few of them.
    """
    short = {"speaker": "loso", "group": "logo"}[unit]
    config = f"{short}-{protocol}-{held_out}"
    values = (data.speaker if unit == "speaker" else data.group).astype(str)
    names = sorted(set(values.tolist()))
    if held_out not in names:
        raise SplitError(f"{config}: there is no {unit} {held_out!r}; there are {names}.")
    _at_least(config, unit, len(names), 3 if protocol == "strict" else 2)
    test = values == held_out
    company = np.isin(data.group, np.unique(data.group[test])) & ~test
    if protocol == "paper":
        validation = np.zeros_like(test)
    elif company.any():
        validation = company
    else:
        others = [name for name in shuffled(names, options.seed, f"validation of {held_out}") if name != held_out]
        validation = values == others[0]
        # The validation speaker's group mates would be half inside: they validate too.
        validation |= np.isin(data.group, np.unique(data.group[validation]))
    used = options.only("seed") if protocol == "strict" else {}
    return _fold(data, config, protocol, test, validation, used, f"the {unit} {held_out} is held out")


def grouped_k_fold(data: SplitInput, k: int, protocol: str, fold: int, options: SplitOptions) -> Split:
    """`kfold<k>-<protocol>-<fold>`, folds counted from 0: groups dealt to k folds in an order the seed decides.

    Fold `fold` tests. strict: the next fold validates (so k is 3 or more). paper: validation repeats the test fold.

    Raises:
        SplitError: If k or the fold number does not fit the number of groups.
    """
    config = f"kfold{k}-{protocol}-{fold}"
    groups = shuffled(data.group, options.seed, "folds")
    least = 3 if protocol == "strict" else 2
    if not least <= k <= len(groups):
        raise SplitError(f"{config}: k={k} must be from {least} to {len(groups)}, the number of groups.")
    if not 0 <= fold < k:
        raise SplitError(f"{config}: fold {fold} must be from 0 to {k - 1}.")
    number = {name: i % k for i, name in enumerate(groups)}
    folds = np.array([number[str(g)] for g in data.group], dtype=np.int64)
    validation = (folds == (fold + 1) % k) & (protocol == "strict")
    return _fold(
        data, config, protocol, folds == fold, validation, options.only("seed"), f"fold {fold} of {k} is held out"
    )


def _fold(
    data: SplitInput, config: str, protocol: str, test: Array, validation: Array, options: dict, what: str
) -> Split:
    sides = {"": ~test & ~validation, "validation_": validation, "test_": test}
    check_disjoint({k or "train": np.flatnonzero(v) for k, v in sides.items()}, data.speaker, config)
    parts = {}
    for prefix, side in sides.items():
        parts[prefix.rstrip("_") or "train"] = np.flatnonzero(side & data.labelled)
        parts[f"{prefix}no_consensus"] = np.flatnonzero(side & data.unlabelled)
    if protocol == "strict":
        held_out = np.flatnonzero(test | validation)  # these two may share a session; training may share with neither
        check_disjoint({"train": np.flatnonzero(sides[""]), "held out": held_out}, data.group, config)
    aliases = {} if protocol == "strict" else {"validation": ("test",)}
    text = f"Cross-validation: {what}; " + (
        "validation repeats it, as in the paper." if aliases else "validation has speakers of its own."
    )
    return finish(config, protocol, data, parts, options, description=text, aliases=aliases)


def _at_least(config: str, unit: str, n: int, least: int) -> None:
    if n < least:
        raise SplitError(f"{config}: needs at least {least} {unit}s, there are {n}.")
