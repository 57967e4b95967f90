"""What a card says of how many raters the model is worth."""

from __future__ import annotations

from hf_ambiser.cards.facts import Facts
from hf_ambiser.data.splits import chosen_by_agreement
from hf_ambiser.metrics.checks import UndefinedMetric
from hf_ambiser.metrics.rater_equivalence import RaterEquivalence, rater_equivalence
from hf_ambiser.metrics.significance import FEW_SPEAKERS


def worth_in_raters(facts: Facts, split: str) -> str:
    """Say how many raters the model is worth on a split, with the interval and what is to know of it.

    It is said of all test utterances. Only where that set is not known it is said of every split.

    Returns:
        Markdown; "" of another split, or if the predictions are gone.
    """
    if (facts.whole and split != facts.whole) or not facts.scored.has_predictions(split):
        return ""
    table = facts.scored.predictions(split)
    answers = (table["probabilities"], table["votes"], table["speaker"])
    try:
        found, brier = rater_equivalence(*answers), rater_equivalence(*answers, score="brier")
    except UndefinedMetric as reason:
        return f"How many raters the model is worth cannot be said here: {reason}."
    one = found.curve[0]
    few = " So few speakers make the interval too narrow." if found.n_speakers < FEW_SPEAKERS else ""
    chosen = (
        " The votes themselves decided which utterances are here, so this says nothing about others."
        if chosen_by_agreement(split)
        else ""
    )
    return (
        f"**How many raters is it worth?** {_sentence(found)} The score is the cross-entropy of one more rater's"
        f" answer: {one.model:.2f} bit for the model and {one.raters:.2f} bit for one other rater. In brackets is the"
        f" {100 * found.confidence:.0f} % interval over {found.n_speakers} speakers.{few} By the Brier score it is"
        f" worth {_raters(brier)} {brier.interval}. The other raters' answers are combined as smoothed shares of their"
        " votes; a stronger way to combine them would rate the model lower. This is about distributions and not about"
        f" accuracy.{chosen}"
    )


def _sentence(found: RaterEquivalence) -> str:
    worth = f"On these {found.n_utterances} utterances the model is worth **{_raters(found)}** {found.interval}"
    if found.worth.bound == "<":
        return f"{worth}: one other rater of an utterance tells more of the next rater's answer than the model does."
    how = "better than" if found.worth.bound == ">" else "as well as"
    return f"{worth}: it predicts the answer of one more rater {how} that many other raters of the same utterance do."


def _raters(found: RaterEquivalence) -> str:
    """As `about 7.2 raters`, `fewer than 1 rater` or `more than 8 raters`."""
    words = {"=": "about ", "<": "fewer than ", ">": "more than "}[found.worth.bound]
    number = f"{found.worth.value:.1f}" if found.worth.bound == "=" else f"{found.worth.value:.0f}"
    return f"{words}{number} {'rater' if number == '1' else 'raters'}"
