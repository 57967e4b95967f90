"""What a card says of what the model answers, and when; only cards of runs that were calibrated have this section."""

from __future__ import annotations

from typing import Any

from hf_ambiser.cards.facts import Facts
from hf_ambiser.metrics.display import describe_decision


def when_it_abstains(facts: Facts) -> str:
    """Make the section from the decision in the results; "" if the run has none."""
    decision = facts.run.decision
    if decision is None:
        return ""
    on, whose = decision["chosen_on"], "its base model's" if facts.adapter else "its"
    is_balanced = bool((decision.get("balance") or {}).get("tau"))
    answer = "the class of the balanced decision" if is_balanced else "the leading class"
    lines = [
        "## What it answers, and when",
        "",
        f"Chosen on {on['utterances']} utterances of `{on['split']}` (`{on['dataset_config']}`), which the model has"
        f" not learnt from, and stored as `decision` in {whose} `config.json`. **Whoever calls the model applies it:**"
        " the model itself gives the same logits as before, and all other figures of this card, and the stored"
        " predictions, are without it.",
        "",
        *(f"- {text}" for text in _choices(decision)),
        "",
        describe_decision({on["split"]: decision["validation"], **decision["test"]}),
        "",
        f"An answer is {answer}. It is wrong if it is not the raters' consensus label; where they have no"
        " consensus every answer is wrong. AURC is the mean share of wrong answers over all coverages. The first"
        " column is where the choice was made; the others are test utterances.",
        "",
        "The utterances of one speaker are not independent, and other speakers, rooms and languages are not like"
        " these: what was promised on the first column does not hold exactly on the others, nor anywhere else.",
    ]
    return "\n".join(lines)


def _choices(decision: dict[str, Any]) -> list[str]:
    """A sentence or two for each thing that was chosen."""
    said = []
    if decision["temperature"] != 1:
        said.append(
            f"**Temperature {decision['temperature']:.3f}.** Divide the logits by it before the softmax. It has the"
            " least cross-entropy against the shares of the votes."
        )
    if (balance := decision.get("balance")) is not None:
        said.append(_balance(balance["tau"], balance["shares"]))
    if decision["threshold"] is not None:
        how = (
            f"an upper bound of the risk with a confidence of {decision['confidence']:g}, as if utterances were"
            " independent"
            if decision["rule"] == "bound"
            else "the risk on these utterances themselves, so about every second time the true risk is higher"
        )
        said.append(
            f"**Abstain** if the class to answer has a probability below {decision['threshold']:.4f}. This is the"
            f" largest coverage with at most {100 * decision['risk']:.3g} % of wrong answers by {how}."
        )
    if decision["set_threshold"] is not None:
        said.append(
            f"**Prediction set:** all classes with a probability of at least {decision['set_threshold']:.4f}. It was"
            f" made to hold {100 * decision['set_coverage']:.3g} % of the raters' votes on average."
        )
    return said


def _balance(tau: float, shares: list[float]) -> str:
    m = (
        "m is the mean of the model's answers to the utterances of the first column, in the order of the classes:"
        f" {', '.join(f'{share:.4g}' for share in shares)} (`config.json` has all digits)."
    )
    if not tau:
        return (
            "**A balanced decision can be asked for** (`hf-ambiser predict --balance TAU`): the class with the largest"
            f" p / m^tau is answered instead of the leading one. {m} Rare classes are then answered more often,"
            " usually for more UA and less WA. Until a tau is given, the leading class is answered."
        )
    return (
        f"**Balanced decision, tau {tau:g}.** Answer the class with the largest p / m^tau instead of the leading one."
        f" {m} Rare classes are answered more often, usually for more UA and less WA; the table says what came of it,"
        " over the utterances with a consensus label and without abstention. The distribution stays."
    )
