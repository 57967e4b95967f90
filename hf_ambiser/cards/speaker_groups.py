"""What a card says of groups of speakers: their figures where sex and age are known, and what was not measured."""

from __future__ import annotations

from hf_ambiser.cards.facts import Facts
from hf_ambiser.metrics.display import COMPARED, SCORES
from hf_ambiser.metrics.speaker_groups import GROUPED_BY, MIN_SPEAKERS, MIN_UTTERANCES, figures_by_group


def speaker_groups(facts: Facts, split: str) -> str:
    """Make a Markdown table of WA, UA and JS by sex and age group on one split; "" if neither is known."""
    if not facts.run.speakers or not facts.scored.has_predictions(split):
        return ""
    table = facts.scored.predictions(split)
    answers = (table["probabilities"], table["votes"], table["consensus"], table["speaker"])
    rows = []
    for attribute in GROUPED_BY:
        for group, found in figures_by_group(*answers, facts.run.speakers, attribute).items():
            figures = (SCORES[name].text(getattr(found, name), none="-") for name in COMPARED)
            counts = f"{found.n_utterances} | {found.n_speakers}"
            rows.append(f"| {attribute}: {group} | {counts} | {' | '.join(figures)} |")
    if not rows:
        return ""
    heads = " | ".join(SCORES[name].title for name in COMPARED)
    return "\n".join(
        [
            f"| speakers | utterances | speakers in it | {heads} |",
            "|---|---|---|" + "---|" * len(COMPARED),
            *rows,
            "",
            f"`-`: fewer than {MIN_UTTERANCES} utterances or {MIN_SPEAKERS} speakers have this figure. Groups also"
            " differ in which emotions their utterances show and in how far raters agree.",
        ]
    )


def speaker_group_limits(facts: Facts) -> str:
    """Say which properties of the speakers were not looked at."""
    known = [name for name in GROUPED_BY if any(name in one for one in facts.run.speakers.values())]
    if not known:
        return (
            "Sex, age and origin of the speakers are not in the data set, so whether it treats groups alike was **not"
            " measured**; measure it on your own speakers before use."
        )
    unknown = " and ".join(name for name in (*GROUPED_BY, "origin") if name not in known)
    return (
        f"Figures by {' and '.join(known)} are there, too, of few speakers each. Whether it treats speakers alike"
        f" whatever their {unknown} was **not measured**; measure it on your own speakers before use."
    )
