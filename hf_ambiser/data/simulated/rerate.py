"""Let simulated raters rate a real corpus again, for studies of label noise on real audio."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hf_ambiser.data.schema import CorpusScan, Listed, Utterance
from hf_ambiser.data.simulated.raters import Raters
from hf_ambiser.labels.policies import LabelPolicy
from hf_ambiser.labels.votes import tally


Distribution = Sequence[float] | np.ndarray | Mapping[str, float]


def rerate(
    scan: CorpusScan,
    raters: Raters,
    policy: LabelPolicy,
    *,
    distribution_of: Callable[[Utterance], Distribution] | Mapping[str, Distribution] | None = None,
    votes_per_utterance: int | None = None,
    seed: int = 0,
) -> CorpusScan:
    """Return the scan with new ratings; audio, ids, speakers and everything else stay.

    The distribution behind the new ratings goes into `extra["true_distribution"]` (class -> probability). It is the
    truth of the *simulated* raters, and not always what people would hear in the utterance: by default it is the real
    raters' vote shares, which carry the sampling noise of those few raters.

    Args:
        scan: A corpus; it is not changed.
        raters: The simulated raters; their classes must be the policy's, in the same order.
        policy: It has the classes and, by default, turns the real ratings into shares.
        distribution_of: A function, or a mapping by utterance id, that gives an utterance's distribution as K numbers
            or as class -> number. `None`: the vote shares under `policy`.
        votes_per_utterance: Ratings per utterance. `None`: as many as it has now (with self-reports, if the policy
            counts them), but at most the number of raters; a note says for how many utterances they were too few.
        seed: Seed of the ratings.

    Returns:
        A new scan. Utterances without a distribution (no vote for a class, or not in the mapping) are listed under
        `no_votes`, so `count_in` stays the same.

    Raises:
        ValueError: If the raters' classes are not the policy's, or if a distribution is not valid.
    """
    if raters.classes != tuple(policy.classes):
        raise ValueError(
            f"raters: their classes {raters.classes} must be those of policy {policy.name!r},"
            f" {tuple(policy.classes)}. Draw them with Raters.draw(policy.classes, ...)."
        )
    rows = _distributions(scan, policy, distribution_of)
    kept = [n for n, row in enumerate(rows) if row is not None]
    utterances = [scan.utterances[n] for n in kept]
    p = np.array([rows[n] for n in kept], dtype=np.float64).reshape(len(kept), len(policy.classes))
    notes = [f"{len(kept)} utterances rated again by {len(raters.names)} simulated raters, seed {seed}"]
    if isinstance(distribution_of, Mapping):
        strangers = set(distribution_of) - {u.id for u in scan.utterances}
        if strangers:
            notes.append(f"{len(strangers)} ids of distribution_of are not in the scan, the first {min(strangers)!r}")
    if votes_per_utterance is None:
        wanted = np.array(
            [sum(policy.self_reports or not r.self_report for r in u.ratings) for u in utterances], dtype=np.int64
        )
        votes = np.minimum(wanted, len(raters.names))
        if (votes < wanted).any():
            notes.append(
                f"{(votes < wanted).sum()} utterances had more ratings than there are simulated raters"
                f" ({len(raters.names)}) and now have one of each"
            )
    else:
        votes = np.full(len(kept), votes_per_utterance)
    ratings = raters.rate(p, [u.id for u in utterances], votes, seed).lists(_raw_names(policy))
    changed = [
        dataclasses.replace(
            u,
            ratings=new,
            extra={**u.extra, "true_distribution": dict(zip(policy.classes, row.tolist(), strict=True))},
        )
        for u, new, row in zip(utterances, ratings, p, strict=True)
    ]
    why = "no vote for any of the policy's classes" if distribution_of is None else "distribution_of has none for it"
    without = [u.id for u, row in zip(scan.utterances, rows, strict=True) if row is None]
    lost = [Listed(name, "no_votes", f"rerate: {why}") for name in without]
    return CorpusScan(scan.corpus, changed, [*scan.listed, *lost], [*scan.notes, *notes], scan.count_in)


def _distributions(
    scan: CorpusScan,
    policy: LabelPolicy,
    distribution_of: Callable[[Utterance], Distribution] | Mapping[str, Distribution] | None,
) -> list[np.ndarray | None]:
    if distribution_of is None:
        shares = tally(policy.with_(aggregation="shares"), scan.ratings()).soft_label
        return [row if row.sum() > 0 else None for row in shares]
    if isinstance(distribution_of, Mapping):
        given = [distribution_of.get(u.id) for u in scan.utterances]
    else:
        given = [distribution_of(u) for u in scan.utterances]
    return [
        None if d is None else _vector(d, policy.classes, u.id) for d, u in zip(given, scan.utterances, strict=True)
    ]


def _vector(distribution: Distribution, classes: Sequence[str], name: str) -> np.ndarray:
    if isinstance(distribution, Mapping):
        unknown = sorted(set(distribution) - set(classes))
        if unknown:
            raise ValueError(f"{name}: distribution_of names {unknown}; the policy's classes are {list(classes)}.")
        distribution = [distribution.get(c, 0.0) for c in classes]
    row = np.asarray(distribution, dtype=np.float64)
    if row.shape != (len(classes),) or not np.isfinite(row).all() or (row < 0).any() or abs(row.sum() - 1) > 1e-4:
        raise ValueError(
            f"{name}: {row.tolist()} must be {len(classes)} shares >= 0 that sum to 1, for {list(classes)}."
        )
    return row


def _raw_names(policy: LabelPolicy) -> dict[str, str]:
    """Map each class to a raw label that the policy maps to it, if possible to the one of the same name."""
    names: dict[str, str] = {}
    for raw, target in policy.class_map.items():
        if target is not None and (raw == target or target not in names):
            names[target] = raw
    return names
