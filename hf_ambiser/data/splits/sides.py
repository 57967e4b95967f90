"""Decide who trains, validates and is held out: by shares of the groups, leaving one out, or one of k folds.

The split families (plain, IPR's D1/D2/D3, SLC's clear and ambiguous) make their subsets from these three sides. Every
family works with every way of choosing sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_ambiser.data.splits.common import Array, SplitError, SplitInput, SplitOptions, check_disjoint, shuffled


@dataclass(frozen=True)
class Sides:
    """Row numbers of the three sides of a corpus.

    Args:
        train: Rows for training.
        validation: Rows of other speakers, for validation; empty under the `paper` protocol.
        test: Rows that are held out.
        options: Names of the `SplitOptions` that decided the sides.
        what: Who is held out, in words for the card.
    """

    train: Array
    validation: Array
    test: Array
    options: tuple[str, ...]
    what: str

    def named(self) -> dict[str, Array]:
        """Return side -> rows, as `check_disjoint` takes them."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def by_shares(data: SplitInput, protocol: str, options: SplitOptions, config: str) -> Sides:
    """Divide whole groups by `group_shares` and the seed; under `paper`, the validation groups train.

    Raises:
        SplitError: If there are fewer than three groups, or if no group is left for training.
    """
    groups = shuffled(data.group, options.seed, "sides")
    if len(groups) < 3:
        raise SplitError(
            f"{config}: a {protocol} split needs at least 3 speakers or sessions (training, validation, test), there"
            f" are {len(groups)}: {groups}. Use more data, or --configs kfold2-paper, which needs 2, or ipr-paper, 1."
        )
    total = sum(options.group_shares)
    n_validation = max(1, round(len(groups) * options.group_shares[1] / total))
    n_test = max(1, round(len(groups) * options.group_shares[2] / total))
    if n_validation + n_test >= len(groups):
        raise SplitError(
            f"{config}: group_shares={options.group_shares} leave none of the {len(groups)} groups for training. Make"
            " the first share larger."
        )
    test = np.isin(data.group.astype(str), groups[:n_test])
    validation = np.isin(data.group.astype(str), groups[n_test : n_test + n_validation])
    what = "shares of the groups (speakers; IEMOCAP: sessions) are held out"
    return _sides(data, protocol, config, test, validation, ("seed", "group_shares"), what)


def one_left_out(
    data: SplitInput, unit: str, protocol: str, held_out: str, options: SplitOptions, config: str
) -> Sides:
    """Hold out one speaker (unit `speaker`) or one group (unit `group`).

    Under `strict`, other speakers validate. If the held-out speaker shares a group with others (IEMOCAP's sessions
    have two speakers), these validate, so that nothing of that session trains. Otherwise the seed chooses one more
    speaker or group for validation. Under `paper`, all others train.

    Raises:
        SplitError: If there is no such speaker or group, or if there are too few of them.
    """
    values = (data.speaker if unit == "speaker" else data.group).astype(str)
    names = sorted(set(values.tolist()))
    if held_out not in names:
        raise SplitError(f"{config}: there is no {unit} {held_out!r}; there are {names}.")
    least = 3 if protocol == "strict" else 2
    if len(names) < least:
        raise SplitError(f"{config}: a {protocol} split needs at least {least} {unit}s, there are {len(names)}.")
    test = values == held_out
    validation = np.isin(data.group, np.unique(data.group[test])) & ~test  # the others of the same group
    if not validation.any():
        others = [name for name in shuffled(names, options.seed, f"validation of {held_out}") if name != held_out]
        validation = values == others[0]
        # The others of the validation speaker's group validate too, because a group must not be on two sides.
        validation |= np.isin(data.group, np.unique(data.group[validation]))
    used = ("seed",) if protocol == "strict" else ()
    return _sides(data, protocol, config, test, validation, used, f"the {unit} {held_out} is held out")


def one_of_k(data: SplitInput, k: int, protocol: str, fold: int, options: SplitOptions, config: str) -> Sides:
    """Divide whole groups among k folds, in an order that the seed decides, and hold out number `fold` (from 0).

    Under `strict` the next fold validates, so k is at least 3. Under `paper` all others train.

    Raises:
        SplitError: If k does not fit the number of groups, or if there is no such fold.
    """
    groups = shuffled(data.group, options.seed, "folds")
    least = 3 if protocol == "strict" else 2
    if not least <= k <= len(groups):
        if len(groups) < least:
            raise SplitError(f"{config}: {protocol} folds need {least} groups, and there are {len(groups)}.")
        raise SplitError(f"{config}: k={k} must be from {least} to {len(groups)}, the number of groups.")
    if not 0 <= fold < k:
        raise SplitError(f"{config}: fold {fold} must be from 0 to {k - 1}.")
    number = {name: i % k for i, name in enumerate(groups)}
    folds = np.array([number[str(g)] for g in data.group], dtype=np.int64)
    what = f"fold {fold} of {k} is held out"
    return _sides(data, protocol, config, folds == fold, folds == (fold + 1) % k, ("seed",), what)


def _sides(
    data: SplitInput,
    protocol: str,
    config: str,
    test: Array,
    validation: Array,
    options: tuple[str, ...],
    what: str,
) -> Sides:
    """Make the sides, and check that nobody is on two of them."""
    validation = validation & (protocol == "strict")
    sides = Sides(np.flatnonzero(~test & ~validation), np.flatnonzero(validation), np.flatnonzero(test), options, what)
    check_disjoint(sides.named(), data.speaker, config)
    if protocol == "strict":
        # Validation and test may share a session (each has one of its two speakers); training shares one with neither.
        check_disjoint({"train": sides.train, "held out": np.flatnonzero(test | validation)}, data.group, config)
    return sides
