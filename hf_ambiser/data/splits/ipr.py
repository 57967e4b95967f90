"""IPR's subsets: D1 (highest agreement, labelled), D2 (unlabelled) and D3 (lowest agreement, for scoring).

Sun et al., Table 1: 1710 / 3421 / 400 of IEMOCAP's 5531 utterances. The paper does not give the exact rule; ours
follows `SplitInput.order`.
"""

from __future__ import annotations

import numpy as np

from hf_ambiser.data.splits.common import (
    Array,
    Split,
    SplitError,
    SplitInput,
    SplitOptions,
    divide,
    finish,
    keyed_hash,
)
from hf_ambiser.data.splits.sides import Sides


PAPER_SIZES = (1710, 3421, 400)
_OPTIONS = ("seed", "d1_quota", "sizes", "d1_share", "d3_share", "min_per_class")


def ipr_split(data: SplitInput, protocol: str, options: SplitOptions, sides: Sides | None, config: str) -> Split:
    """Make `ipr-paper` (without sides), or `ipr-strict` and all folds (with sides).

    Without sides, all utterances with a consensus label are ordered by ambiguity: D1 is the clear end, D3 the
    ambiguous end, D2 the middle. Speakers may be on both sides. Splits: d1, d2, d3, validation, no_consensus.

    With sides, D1 and D2 come from the training side. D3 is the ambiguous end of the held-out side and test_clear its
    rest. Splits: those above, test_clear, test_no_consensus and, under `strict`, validation_no_consensus.

    Under `strict`, validation is the labelled part of the validation side. Under `paper` it is a part of D1, chosen by
    the seed and stratified by class. That holds for folds too: the paper has no folds, and choosing an epoch on D3
    would leak.

    Utterances without a consensus label are in the no_consensus split of their side. If the policy keeps them (rule
    `all_inclusive`), those of the training side are in D2.

    Raises:
        SplitError: If the sizes do not fit, or if D1 has too few utterances of a class.
    """
    labelled, kept = data.labelled, np.asarray(data.kept, bool)
    if sides is None:
        ordered = data.order(np.flatnonzero(labelled))
        n3 = _d3_size(options, len(ordered), PAPER_SIZES[2] / sum(PAPER_SIZES))
        _enough(config, "D3", n3, len(ordered) - 1)
        training, held_out = ordered[: len(ordered) - n3], ordered[len(ordered) - n3 :]
        silent = np.flatnonzero(data.unlabelled)
        used = options.only(*_OPTIONS)
        description = (
            "D1 holds the utterances on which the raters agree most, D3 those on which they agree least, D2 those"
            " between, without labels; the validation part is taken out of D1. As in the paper, speakers are on both"
            " sides."
        )
    else:
        training = data.order(sides.train[labelled[sides.train]])
        held_out = data.order(sides.test[labelled[sides.test]])
        n3 = _d3_size(options, len(held_out), 1 / 3)
        _enough(config, "D3", n3, len(held_out))
        silent = sides.train[data.unlabelled[sides.train]]
        used = options.only(*_OPTIONS, *sides.options)
        description = (
            f"Nobody of the held-out side trains: {sides.what}. Of the training side D1 holds the utterances on which"
            " the raters agree most and D2 the others, without labels. D3 holds the utterances of the test side on"
            " which they agree least, test_clear its other labelled ones. "
            + ("Validation has speakers of its own." if protocol == "strict" else "Validation is a part of D1.")
        )
    parts = _training_parts(data, config, training, silent[kept[silent]], options)
    parts |= {"d3": held_out[len(held_out) - n3 :], "no_consensus": silent[~kept[silent]]}
    if sides is not None:
        parts |= {
            "test_clear": held_out[: len(held_out) - n3],
            "test_no_consensus": sides.test[data.unlabelled[sides.test]],
            "validation": sides.validation[labelled[sides.validation]],
            "validation_no_consensus": sides.validation[data.unlabelled[sides.validation]],
        }
    if protocol == "paper":
        parts["d1"], parts["validation"] = _validation_part(data, parts["d1"], options)
        used |= options.only("validation_share")
    check_prototypes(data, parts["d1"], options, config)
    return finish(config, protocol, data, parts, used, description=description, masked=frozenset({"d2"}))


def _training_parts(
    data: SplitInput, config: str, ordered: Array, unlabelled: Array, options: SplitOptions
) -> dict[str, Array]:
    """Make D1 and D2 from labelled rows, ordered by ambiguity, and from rows that are kept without a label."""
    if options.sizes is not None:
        n1, n2 = options.sizes[:2]
        _enough(config, "D1", n1, len(ordered))
        _enough(config, "D1 and D2 together", n1 + n2, len(ordered) + len(unlabelled))
    else:
        share = options.d1_share or PAPER_SIZES[0] / (PAPER_SIZES[0] + PAPER_SIZES[1])
        n1, n2 = divide(len(ordered), (share, 1 - share))[0], None
    if options.d1_quota == "per_class":
        by_class = [ordered[data.label[ordered] == c] for c in range(len(data.classes))]
        quota = divide(n1, [len(rows) for rows in by_class])
        d1 = np.concatenate([rows[:q] for rows, q in zip(by_class, quota, strict=True)])
    else:
        d1 = ordered[:n1]
    rest = np.concatenate([ordered[~np.isin(ordered, d1)], data.order(unlabelled)])
    return {"d1": d1, "d2": rest[:n2]}


def _d3_size(options: SplitOptions, available: int, default_share: float) -> int:
    if options.sizes is not None:
        return options.sizes[2]
    share = options.d3_share or default_share
    return divide(available, (share, 1 - share))[0]


def _validation_part(data: SplitInput, d1: Array, options: SplitOptions) -> tuple[Array, Array]:
    """Return D1 without its validation part, and that part: the same share of each class, chosen by the seed."""
    by_class = [d1[data.label[d1] == c] for c in range(len(data.classes))]
    quota = divide(round(len(d1) * options.validation_share), [len(rows) for rows in by_class])
    chosen = [
        sorted(rows.tolist(), key=lambda i: (keyed_hash(options.seed, "validation", str(data.id[i])), data.id[i]))[:q]
        for rows, q in zip(by_class, quota, strict=True)
    ]
    validation = np.array([i for rows in chosen for i in rows], dtype=np.int64)
    return d1[~np.isin(d1, validation)], validation


def _enough(config: str, what: str, wanted: int, available: int) -> None:
    if wanted > available:
        raise SplitError(
            f"{config}: {what} should hold {wanted} utterances, there are {available} to choose from. Ask for smaller"
            " sizes, or use the default shares."
        )


def check_prototypes(data: SplitInput, d1: Array, options: SplitOptions, config: str) -> None:
    """Check that D1 holds enough utterances of every class for a prototype (Eq. 1-2: a class mean over D1).

    Raises:
        SplitError: If not; the message names the classes that have too few, and of the options those that can help.
    """
    least = options.min_per_class
    counts = np.bincount(data.label[d1], minlength=len(data.classes)).tolist()
    short = [f"{name} ({n})" for name, n in zip(data.classes, counts, strict=True) if n < least]
    if short:
        everything = ", ".join(f"{name} {n}" for name, n in zip(data.classes, counts, strict=True))
        cures = ["make D1 larger (d1_share, or sizes, --sizes)", "use a policy with fewer classes (--policy)"]
        if min(counts) > 0:
            cures.insert(0, f"lower min_per_class (--min-per-class {min(counts)})")
        if options.d1_quota != "per_class":
            cures.insert(0, "fill D1 from each class separately (d1_quota='per_class', --d1-quota per_class)")
        raise SplitError(
            f"{config}: D1 holds fewer than min_per_class={least} utterances of {', '.join(short)}; its {len(d1)} are:"
            f" {everything}. A prototype is the mean of its class over D1. You can {', '.join(cures[:-1])}, or"
            f" {cures[-1]}."
        )
