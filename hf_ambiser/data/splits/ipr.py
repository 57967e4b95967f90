"""IPR's subsets D1 (most agreed upon, labelled), D2 (unlabelled) and D3 (least agreed upon, for scoring).

Sun et al., Table 1: 1710 / 3421 / 400 of IEMOCAP's 5531. The exact rule is not given; ours is the order of
`SplitInput.order`.
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
    divide_groups,
    finish,
    keyed_hash,
)


PAPER_SIZES = (1710, 3421, 400)
_OPTIONS = ("seed", "d1_quota", "sizes", "d1_share", "d3_share", "min_per_class")


def ipr_split(data: SplitInput, protocol: str, options: SplitOptions) -> Split:
    """`ipr-paper` or `ipr-strict`.

    paper: all utterances with a consensus label, in the order of ambiguity: D1 from the clear end, D3 from the
    ambiguous end, D2 between; a part of D1, chosen by the seed and stratified by class, validates. Speakers may be on
    both sides. Splits: d1, d2, d3, validation, no_consensus.

    strict: groups are divided first. D1 and D2 come from the training groups, D3 is the ambiguous end of the held-out
    groups and test_clear the rest of them; validation are the labelled utterances of its own groups. Splits: those of
    `paper`, test_clear, validation_no_consensus, test_no_consensus.

    Utterances without a consensus label are in the no_consensus split of their side; where the policy keeps them (rule
    `all_inclusive`), those of the training side are in D2.

    Raises:
        SplitError: If sizes do not fit, there are too few groups, or D1 lacks utterances of a class.
    """
    config = f"ipr-{protocol}"
    labelled, kept = data.labelled, np.asarray(data.kept, bool)
    if protocol == "paper":
        clips = np.flatnonzero(labelled)
        n3 = _d3_size(options, len(clips), PAPER_SIZES[2] / sum(PAPER_SIZES))
        ordered = data.order(clips)
        _enough(config, "D3", n3, len(clips) - 1)
        training, d3 = ordered[: len(ordered) - n3], ordered[len(ordered) - n3 :]
        unlabelled = np.flatnonzero(data.unlabelled)
        parts = _training_parts(data, config, training, unlabelled[kept[unlabelled]], options)
        parts["d1"], parts["validation"] = _validation_part(data, parts["d1"], options)
        parts |= {"d3": d3, "no_consensus": unlabelled[~kept[unlabelled]]}
        used = options.only(*_OPTIONS, "validation_share")
        description = (
            "D1 holds the utterances on which the raters agree most, D3 those on which they agree least, D2 those"
            " between, without labels; the validation part is taken out of D1. As in the paper, speakers are on both"
            " sides."
        )
    else:
        sides = divide_groups(data, options, config)
        train, validation, test = (sides[s][labelled[sides[s]]] for s in ("train", "validation", "test"))
        n3 = _d3_size(options, len(test), 1 / 3)
        _enough(config, "D3", n3, len(test))
        ordered = data.order(test)
        no_label = {side: rows[data.unlabelled[rows]] for side, rows in sides.items()}
        parts = _training_parts(data, config, data.order(train), no_label["train"][kept[no_label["train"]]], options)
        parts |= {
            "d3": ordered[len(ordered) - n3 :],
            "test_clear": ordered[: len(ordered) - n3],
            "validation": validation,
            "no_consensus": no_label["train"][~kept[no_label["train"]]],
            "validation_no_consensus": no_label["validation"],
            "test_no_consensus": no_label["test"],
        }
        used = options.only(*_OPTIONS, "group_shares")
        description = (
            "Speakers (IEMOCAP: sessions) are divided into training, validation and test. Of the training side D1"
            " holds the utterances on which the raters agree most and D2 the others, without labels. D3 holds the"
            " utterances of the test side on which they agree least, test_clear its other labelled ones."
        )
    check_prototypes(data, parts["d1"], options.min_per_class, config)
    return finish(config, protocol, data, parts, used, description=description, masked=frozenset({"d2"}))


def _training_parts(
    data: SplitInput, config: str, ordered: Array, unlabelled: Array, options: SplitOptions
) -> dict[str, Array]:
    """D1 and D2 of labelled rows in the order of ambiguity, and of rows that are kept without a label."""
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
    """D1 without, and with only, its validation part: the same share of each class, chosen by the seed."""
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
            " sizes, or leave them to their default shares."
        )


def check_prototypes(data: SplitInput, d1: Array, min_per_class: int, config: str) -> None:
    """Check that D1 holds enough utterances of every class for a prototype (Eq. 1-2: a class mean over D1).

    Raises:
        SplitError: Naming the classes that are short and what to set.
    """
    counts = np.bincount(data.label[d1], minlength=len(data.classes)).tolist()
    short = [f"{name} ({n})" for name, n in zip(data.classes, counts, strict=True) if n < min_per_class]
    if short:
        everything = ", ".join(f"{name} {n}" for name, n in zip(data.classes, counts, strict=True))
        raise SplitError(
            f"{config}: D1 holds fewer than min_per_class={min_per_class} utterances of {', '.join(short)};"
            f" its {len(d1)} are: {everything}. A prototype is the mean of its class over D1. Take the most agreed"
            " upon of each class (d1_quota='per_class', --d1-quota per_class), make D1 larger (d1_share, or sizes,"
            " --sizes), lower min_per_class (--min-per-class), or use fewer classes (e.g. policy 'crema-d-4')."
        )
