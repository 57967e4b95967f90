"""The card of a model that LoRA adapters belong to."""

from __future__ import annotations

from hf_ambiser.cards.facts import Facts
from hf_ambiser.hub.edits import Card
from hf_ambiser.untrusted.markdown import as_text


def base_card(facts: Facts) -> Card:
    """Say that this is no emotion model, and what it is for."""
    metadata = {
        "license": "unknown",
        "library_name": "transformers",
        "tags": ["hf_ambiser", "speech-emotion-recognition"],
        **({"base_model": facts.base_on_hub} if facts.base_on_hub else {}),
    }
    if facts.pretrained:
        holds = (
            f"Holds the trained model {as_text(facts.pretrained)} ({facts.kind}) as it was before the adapter learnt,"
            " with hf_ambiser's model code."
        )
    else:
        encoder = f"the pretrained encoder {as_text(facts.encoder)}" if facts.encoder else "an untrained encoder"
        holds = (
            f"Holds {encoder} ({facts.kind}) with hf_ambiser's model code and an **untrained** classifier. It answers"
            " nothing of use by itself."
        )
    use = "Load it under an adapter that was trained on it, as the adapter's card shows."
    text = ["# Base of LoRA adapters", "", f"{holds} {use} The encoder's licence holds for its weights."]
    return Card(metadata, {"summary": "\n".join(text)})
