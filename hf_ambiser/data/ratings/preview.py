"""What a build from a table would give, in lines for a terminal: counts, agreement, classes, ambiguity, faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from hf_ambiser.data.corpus_rows import split_input
from hf_ambiser.data.overlap.columns import known_columns
from hf_ambiser.data.policy_remarks import check_policy
from hf_ambiser.data.ratings.own_corpus import OwnCorpus
from hf_ambiser.data.schema import REASONS
from hf_ambiser.data.splits import SplitError, SplitOptions, check_options, expand_configs, make_split, tiers
from hf_ambiser.data.splits.common import apart_of
from hf_ambiser.labels.votes import VoteTable, entropy_bits, fleiss_kappa, krippendorff_alpha, tally
from hf_ambiser.untrusted.printed import printable


WIDTH = 40  # letters of the longest bar
SHOWN = 20  # faults that are shown, each reason once before further ones; a build lists all of them
_STEP = 0.25  # bits of entropy in one bar


def preview(own: OwnCorpus, configs: Sequence[str], options: SplitOptions) -> str:
    """Describe the data set that would be built. The audio is not opened, so a build may list more of it."""
    scan, policy = own.scan, own.policy
    table = tally(policy.with_(aggregation="shares"), scan.ratings())
    raters = {rating.rater for one in scan.utterances for rating in one.ratings}
    speakers = len({one.speaker for one in scan.utterances}) if own.module.SPEAKERS_KNOWN else "unknown"
    lines = [
        f"{scan.corpus}: {len(scan.utterances)} utterances with audio, {table.votes_in:g} votes, raters:"
        f" {len(raters - {None}) or 'without names'}, speakers: {speakers}",
        *(f"  {note}" for note in scan.notes),
        *_counts(own, table),
        *_agreement(table),
        *_classes(policy.classes, table),
        *_ambiguity(table),
        *_labels(own),
        *_splits(own, table, configs, options),
        *_faults(own),
        "Nothing was written. A build also opens every audio file, and lists those that cannot be used.",
    ]
    # Names come from the table, and a terminal obeys control characters.
    return printable("\n".join(lines), keep="\n")


def _counts(own: OwnCorpus, table: VoteTable) -> list[str]:
    assert own.scan.rows is not None
    c = own.scan.rows.counts
    out = {**table.excluded, **own.scan.lost.by_reason(own.policy.multi_label)}
    counted, left = float(table.votes.sum()), sum(out.values())
    lines = [
        f"rows: {c['rows_in']} in = {c['rows_used']} used + {c['rows_listed']} listed",
        f"votes in the rows: {c['votes_in']} = {c['votes_used']} of utterances with audio +"
        f" {c['votes_in_listed_rows']} in listed rows + {c['votes_of_listed_utterances']} of listed utterances",
        f"votes: {counted + left:g} in = {counted:g} counted + {left:g} out",
        *(f"  out, {reason}: {n:g}" for reason, n in sorted(out.items())),
        f"utterances and audio: {own.scan.count_in} in = {table.kept.sum()} with a consensus label +"
        f" {(~table.kept).sum()} without + {len(own.scan.listed)} listed",
    ]
    each = table.votes.sum(axis=1)
    if len(each):
        lines.append(f"votes an utterance: {each.min():g} to {each.max():g}, median {np.median(each):g}")
    return lines


def _agreement(table: VoteTable) -> list[str]:
    try:
        kappa, alpha = fleiss_kappa(table.votes), krippendorff_alpha(table.votes)
    except ValueError:
        return ["agreement: no utterance has two votes, so nobody can agree or disagree"]
    return [f"agreement: Fleiss' kappa {kappa:.3f}, Krippendorff's alpha {alpha:.3f} (1: always, 0: as by chance)"]


def _classes(classes: tuple[str, ...], table: VoteTable) -> list[str]:
    votes = table.votes.sum(axis=0)
    labels = [int((table.vote_label[table.kept] == k).sum()) for k in range(len(classes))]
    rows = ((name, v, f"{v:g} votes, consensus of {n}") for name, v, n in zip(classes, votes, labels, strict=True))
    return ["classes:", *_bars(rows)]


def _ambiguity(table: VoteTable) -> list[str]:
    voted = table.votes.sum(axis=1) > 0
    tier = Counter(tiers(table.vote_label[voted], table.agreement[voted]))
    names = ("clear", "moderate", "ambiguous", "no_consensus")
    bits = entropy_bits(table.vote_shares[voted])
    edges = np.arange(0, bits.max(initial=0) + _STEP + 1e-9, _STEP)
    counts = np.histogram(bits, edges)[0]
    histogram = [(f"{low:.2f}", n, f"{n}") for low, n in zip(edges, counts, strict=False)]
    return [
        "how far raters agree (clear from an agreement of 2/3, moderate from 1/2):",
        *_bars((name, tier[name], f"{tier[name]}") for name in names),
        f"ambiguity: entropy of the votes in bits, from the number to {_STEP} above it:",
        *_bars(histogram),
    ]


def _labels(own: OwnCorpus) -> list[str]:
    """Say that a model of the raters makes a build's labels, and why labels cannot be made."""
    model = own.policy.aggregation
    lines = [f"labels: a build's are by {model}; the consensus and shares shown here are those of the votes"]
    lines = lines if model != "shares" else []
    try:
        check_policy(own.policy, own.scan)
    except ValueError as error:
        lines.append(f"labels cannot be made: {error}")
    return lines


def _splits(own: OwnCorpus, table: VoteTable, configs: Sequence[str], options: SplitOptions) -> list[str]:
    """Say how each config would divide the utterances, or why it cannot."""
    data = split_input(own.scan.utterances, table, own.module.GROUP, own.policy.classes)
    # A preview opens no audio, so it cannot hold recordings apart.
    data = replace(data, columns=known_columns(own.scan.utterances, [], own.module))
    apart = tuple(what for what in options.disjoint if apart_of(what)[0] != "audio")
    lines = ["splits:" if apart == options.disjoint else "splits (before `audio` is held apart, which a build does):"]
    options = replace(options, disjoint=apart)
    try:
        splits = [make_split(data, name, options) for name in expand_configs(configs, data)]
        check_options(splits, options)
        for split in splits:
            sizes = ", ".join(f"{part} {len(split.rows(part))}" for part in split.names)
            lines.append(f"  {split.config}: {sizes}")
    except SplitError as error:
        lines.append(f"  cannot be made: {error}")
    return lines


def _faults(own: OwnCorpus) -> list[str]:
    assert own.scan.rows is not None
    faults = sorted((*own.scan.rows.listed, *own.scan.listed), key=lambda item: _place(item.source))
    if not faults:
        return ["nothing is wrong with any row"]
    reasons = Counter(item.reason for item in faults)
    lines = ["listed:", *(f"  {n} x {reason}: {REASONS[reason]}" for reason, n in sorted(reasons.items()))]
    first = [next(i for i, item in enumerate(faults) if item.reason == reason) for reason in reasons]
    more = [i for i in range(len(faults)) if i not in first][: max(0, SHOWN - len(first))]
    shown = [faults[i] for i in sorted([*first, *more])]
    lines += [f"    {item.source}: {item.reason}, {item.id!r}: {item.detail}" for item in shown]
    return [*lines, *([f"    ... and {len(faults) - len(shown)} more"] if len(faults) > len(shown) else [])]


def _place(source: str) -> tuple[str, int]:
    """Sort lines of a table by their number; files come by name."""
    name, _, line = source.rpartition(":")
    return (name, int(line)) if line.isdecimal() else (source, 0)


def _bars(rows: Iterable[tuple[str, float, str]]) -> list[str]:
    rows = list(rows)
    most, width = (
        max((value for _, value, _ in rows), default=0) or 1,
        max((len(name) for name, _, _ in rows), default=0),
    )
    return [f"  {name:<{width}} {'#' * round(WIDTH * value / most):<{WIDTH}} {text}" for name, value, text in rows]
