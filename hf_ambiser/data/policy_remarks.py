"""A label policy and the votes of a corpus: whether they fit, what was done in words, which left-out label won."""

from __future__ import annotations

from hf_ambiser.data.schema import CorpusScan
from hf_ambiser.labels.aggregation import crowd_kit_version
from hf_ambiser.labels.policies import LabelPolicy
from hf_ambiser.labels.votes import RatingArrays, VoteTable, entropy_bits, rater_numbers, tally


def check_policy(policy: LabelPolicy, scan: CorpusScan) -> None:
    """Check that labels can be made of a corpus' ratings, before its audio is read.

    Raises:
        ValueError: If self-reports are to count and there is none. As an AggregationError if the raters cannot be
            modelled.
    """
    if policy.self_reports and not any(one.self_report for u in scan.utterances for one in u.ratings):
        raise ValueError(
            f"label policy {policy.name!r}: self_reports=True (--self-reports) changes nothing, because no rating of"
            f" {scan.corpus} is a speaker's own. Leave it out."
        )
    if policy.aggregation != "shares":
        rater_numbers(policy, scan.ratings())
        crowd_kit_version()


def aggregation_notes(policy: LabelPolicy, ratings: RatingArrays, table: VoteTable) -> list[str]:
    """Describe in one sentence what a model of the raters did with the votes; return nothing for `shares`."""
    if policy.aggregation == "shares":
        return []
    voted, before, after = table.votes.sum(axis=1) > 0, table.vote_label, table.label
    given, taken = (before < 0) & (after >= 0), (before >= 0) & (after < 0)
    other = (before >= 0) & (after >= 0) & (before != after)
    return [
        f"label and soft_label are by {policy.aggregation} (crowd-kit {crowd_kit_version()}) over {voted.sum()}"
        f" utterances with votes and {len(ratings.raters)} raters; of the votes' consensus labels {other.sum()} became"
        f" another class and {taken.sum()} none, {given.sum()} utterances without one got one; a soft label holds"
        f" {table.entropy[voted].mean():.3f} bit on average, the votes'"
        f" {entropy_bits(table.vote_shares)[voted].mean():.3f}"
    ]


def left_out_winners(policy: LabelPolicy, ratings: RatingArrays) -> list[str]:
    """For each utterance, return the left-out raw label that is its consensus, or ""."""
    left_out = tuple(raw for raw, target in policy.class_map.items() if target is None)
    if not left_out or policy.agreement_over != "all":
        return [""] * ratings.n_utterances
    # Apply the same rule with every left-out label as a class of its own; the prefix keeps the names different.
    names = {raw: f"left out: {raw}" for raw in left_out}
    wider = policy.with_(
        aggregation="shares",
        classes=(*policy.classes, *names.values()),
        class_map={raw: target or names[raw] for raw, target in policy.class_map.items()},
    )
    first = len(policy.classes)
    return [left_out[label - first] if label >= first else "" for label in tally(wider, ratings).label]
