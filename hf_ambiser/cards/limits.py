"""The card's section on limits and risks, which depends on the data of training and test."""

from __future__ import annotations

from hf_ambiser.cards.facts import Facts
from hf_ambiser.cards.speaker_groups import speaker_group_limits
from hf_ambiser.data.left_out_votes import describe_left_out
from hf_ambiser.data.ratings.corpus_facts import without_speakers


_ELSEWHERE = "telephone audio, noise and several speakers at once."


def _style(style: str) -> str:
    """Say what the way in which the corpus' people spoke means for other speech."""
    if style in ("acted", "posed"):
        return (
            f"- **{style.capitalize()} speech** is louder and clearer than what people do when nobody asked them to."
            f" Expect lower figures, and other confusions, on spontaneous speech, {_ELSEWHERE}"
        )
    if style == "natural":
        return (
            "- **Other talk.** Nobody was asked to show an emotion in the speech that it learnt from. Expect lower"
            f" figures, and other confusions, on other kinds of talk, {_ELSEWHERE}"
        )
    return (
        "- **Other speech.** Whether the speech that it learnt from was acted is not recorded. Expect lower figures,"
        f" and other confusions, on other speech, {_ELSEWHERE}"
    )


def limits(facts: Facts) -> str:
    """Say what this model cannot know, what was not measured, and what inferring emotion can do to people."""
    data = facts.data
    known = facts.corpus is not None
    language = facts.corpus.LANGUAGE if facts.corpus is not None else None
    parts = ["## Limits and risks", "", f"- **The corpus** is {facts.speakers}."]
    if known and language is None:
        parts.append("- **No real speech.** It has never heard a human voice; what it says about one means nothing.")
    else:
        parts += [
            f"- **Language.** {'Scored in `' + language + '` only' if language else 'The language is not recorded'};"
            " how it does in another language, accent, age group or with a speech disorder is not measured.",
            _style(getattr(facts.corpus, "STYLE", "")),
        ]
    left_out = describe_left_out(data)
    parts += [
        f"- **Speaker groups.** The spread from speaker to speaker is in the results. {speaker_group_limits(facts)}",
        f"- **Only {len(facts.classes)} words.** Every clip is described by {', '.join(facts.classes)}, also one that"
        f" sounds like none of them.{' ' * bool(left_out)}{left_out}",
        "- **Perception, not feeling.** The labels are what listeners heard. What a person feels cannot be read from"
        " them; raters disagree among themselves (see the rater ceiling), and share a culture.",
        "- **Probabilities** are as reliable as the calibration figures say, on clips like the test clips. Where the"
        " answer is spread out, say so to whoever sees it rather than showing the top class.",
    ]
    if warning := without_speakers(facts.corpus):
        parts.append(f"- **Speakers are not known.** {warning}")
    if data["protocol"] == "paper":
        parts.append(
            "- **Protocol.** Training and test follow the paper's protocol, under which speakers (or choices made on"
            " the test speaker) are shared; figures for people it has never heard are lower."
        )
    parts += [
        "- **Do not use it** to judge, rank, hire, grade, insure, police or diagnose people, nor to watch them without"
        " their consent. In the European Union, inferring emotions of people at work or in education is prohibited"
        " except for medical or safety reasons (Regulation 2024/1689, Article 5(1)(f)), and elsewhere those exposed to"
        " an emotion recognition system must be told (Article 50(3)).",
    ]
    return "\n".join(parts)
