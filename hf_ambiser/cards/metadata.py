"""The card's YAML header, which the Hub's search, filters and leaderboards read."""

from __future__ import annotations

from typing import Any

from hf_ambiser.cards.facts import Facts
from hf_ambiser.metrics.display import SCORES
from hf_ambiser.run_scores.held_out import SCORED


# Our figure -> (the Hub's metric type, its name in the header).
METRICS = {name: shown.on_hub for name, shown in SCORES.items() if shown.on_hub is not None}
# The Hub shows results separately if they differ in the split, so clear and ambiguous utterances are splits there.
PARTS = {"all": "", "clear": " (clear clips)", "ambiguous": " (ambiguous clips)"}


def metadata(facts: Facts) -> dict[str, Any]:
    """The fields of the header. `model-index` has the figures of each split and of its clear and ambiguous parts."""
    language = facts.corpus.LANGUAGE if facts.corpus is not None else None
    fields: dict[str, Any] = {
        "license": "unknown",
        **({"language": [language]} if language else {}),
        "library_name": "transformers" if facts.adapter is None else "peft",
        "pipeline_tag": "audio-classification",
        "tags": [
            "hf_ambiser",
            "speech-emotion-recognition",
            "annotator-disagreement",
            "soft-labels",
            facts.results["method"],
            facts.data["corpus"],
        ],
        "metrics": ["accuracy", "recall", "f1"],
    }
    if facts.base_on_hub:
        fields["base_model"] = facts.base_on_hub
    fields["model-index"] = model_index(facts)
    return fields


def model_index(facts: Facts) -> list[dict[str, Any]]:
    """The results in the Hub's form. A figure without a value (for example without utterances) is left out."""
    from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index

    data = facts.data
    found = [
        EvalResult(
            task_type="audio-classification",
            task_name="Speech emotion recognition",
            dataset_type=data["corpus"],
            dataset_name=f"{data['corpus']} {data['dataset_config']}",
            dataset_config=data["dataset_config"],
            dataset_split=split + words,
            dataset_args={"policy": data["policy_fingerprint"], "split": data["split_fingerprint"]},
            metric_type=kind,
            metric_name=name,
            metric_value=round(scores[part][figure], 4),
        )
        for split, scores in facts.scores.items()
        # Figures on utterances that the model has learnt from cannot be compared with those of others.
        if not facts.scored.learnt_from(split)
        if split != SCORED  # what an old run happened to answer is no split that others could be compared on
        for part, words in PARTS.items()
        for figure, (kind, name) in METRICS.items()
        if scores[part][figure] is not None
    ]
    return eval_results_to_model_index(model_name(facts), found) if found else []


def model_name(facts: Facts) -> str:
    """The model's name, made of method, family (unless it is the method's own), encoder and corpus."""
    family = facts.config.model_type.removeprefix("ambiser_")
    heads = [] if family == facts.method.model_family else [family]
    encoder = facts.encoder.split("/")[-1] or facts.kind
    return "-".join([facts.results["method"], *heads, encoder, facts.data["corpus"]]).replace("_", "-")
