"""The card of an annotated corpus: which model said so, about what, how, and what its answers cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hf_ambiser.hub.edits import Card
from hf_ambiser.inference.no_audio import STATUSES
from hf_ambiser.untrusted.markdown import as_text, as_texts


_COLUMNS = {
    "index": "place of the recording in the source, from 0",
    "recording": "its name there",
    "duration": "seconds",
    "soft_label": "the model's distribution over the classes, in their order",
    "leading_emotion": "the class that the model answers, also where it abstains: the one with the largest share, or"
    " that of a balanced decision (see above)",
    "abstains": "whether the share of that class is below the threshold",
    "entropy": "of the distribution, in bits",
    "ambiguity": "the entropy divided by log2 of the number of classes: 0 to 1",
    "windows": "number of windows that the recording was divided into",
    "embedding": "what the model's last layer classifies, the mean over the windows with speech",
}


def annotation_card(manifest: Mapping[str, Any], address: str, revision: str = "") -> Card:
    """Make the card from a finished manifest.

    Args:
        manifest: Content of `manifest.json`.
        address: Repository or local folder that the example loads.
        revision: Revision that the example pins; "" for a local folder.
    """
    told = as_texts(manifest)
    model, source, counts = told["model"], told["source"], told["counts"]
    sections = {
        "summary": [
            f"# {source['name']}: soft labels by a model",
            "",
            f"The model **{model['name']}** said what people would hear in {counts['answered']} of {counts['in']}"
            f" recordings of *{source['name']}*. **No human has listened for these labels.** The recordings are not in"
            " this data set.",
        ],
        "use": _use(address, revision),
        "model": [
            "## Which model, and how",
            "",
            f"{model['name']}, of the kind `{model['kind']}`; the digest of its weights and settings is"
            f" `{model['digest']}`. Its classes, in the order of `soft_label`: {', '.join(model['classes'])}.",
            "",
            *_members(model.get("members", [])),
            _settings(told["settings"]),
        ],
        "counts": _counts(told),
        "columns": _columns(told["settings"]["embeddings"]),
        "limits": _limits(told["settings"]["threshold"]),
    }
    return Card(_header(manifest), {name: "\n".join(lines).strip() for name, lines in sections.items()})


def _header(manifest: Mapping[str, Any]) -> dict[str, Any]:
    # `load_dataset` keys its cache by this YAML, so other labels need another text.
    digest = f"model {manifest['model']['digest']}, inputs {manifest['source']['digest']}"
    return {
        "license": "other",
        "license_name": "see-the-recordings",
        "task_categories": ["audio-classification"],
        "tags": ["speech-emotion-recognition", "soft-labels", "machine-generated", "hf_ambiser"],
        "pretty_name": f"{manifest['source']['name']} with soft labels by a model",
        "configs": [
            {
                "config_name": "annotated",
                "description": digest,
                "data_files": [{"split": "train", "path": "data/*.parquet"}],
                "default": True,
            },
            {"config_name": "not_answered", "data_files": [{"split": "train", "path": "not_answered.parquet"}]},
        ],
    }


def _use(address: str, revision: str) -> list[str]:
    pinned = f', revision="{revision}"' if revision else ""
    return [
        "## Use",
        "",
        "```python",
        "import datasets",
        f'rows = datasets.load_dataset("{address}", "annotated", split="train"{pinned})',
        'print(rows[0]["recording"], rows[0]["soft_label"], rows[0]["ambiguity"])',
        "```",
    ]


def _members(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models whose answers were averaged, one a row; nothing for a single model."""
    if not members:
        return []
    return [
        f"The label is the mean of the distributions of these {len(members)} models, the logits of each divided by its"
        " own temperature:",
        "",
        "| model | kind | digest | temperature |",
        "|---|---|---|---:|",
        *[f"| {one['name']} | `{one['kind']}` | `{one['digest']}` | {one['temperature']:g} |" for one in members],
        "",
    ]


def _settings(settings: Mapping[str, Any]) -> str:
    threshold, temperature = settings["threshold"], settings["temperature"]
    parts = [
        f"A recording longer than {settings['window']:g} s was divided into windows, one every {settings['hop']:g} s."
        " Its label is the mean over the windows with speech, weighted by their durations.",
        "The model never abstains." if threshold is None else f"It abstains below a share of {threshold:g}.",
    ]
    if temperature != 1:
        parts.append(f"Its logits were divided by the temperature {temperature:g}.")
    if (balance := settings.get("balance")) is not None:
        shares = ", ".join(f"{share:.4g}" for share in balance["shares"])
        parts.append(
            "The leading emotion is that of a balanced decision: the class with the largest p / m^tau, with tau"
            f" {balance['tau']:g} and the shares m of the classes {shares}, in their order."
        )
    return " ".join(parts)


def _counts(told: Mapping[str, Any]) -> list[str]:
    counts, source = told["counts"], told["source"]
    commit = f" at the commit `{source['revision']}`" if "revision" in source else ""
    lines = [
        "## What was annotated",
        "",
        f"*{source['name']}*{commit} ({source['kind']}; digest of the list of inputs `{source['digest']}`).",
        f"**{counts['in']} in = {counts['answered']} answered + {counts['not_answered']} not answered.**"
        f" Of those answered, the model abstains for {counts['abstains']}.",
        *[f"Left out: {n} {what}." for what, n in source["left_out"].items() if n],
        "",
        "| leading emotion | recordings |",
        "|---|---:|",
        *[f"| {name} | {n} |" for name, n in counts["leading"].items()],
        "",
    ]
    if counts["reasons"]:
        lines += ["| not answered (`not_answered`) | recordings | meaning |", "|---|---:|---|"]
        lines += [f"| {status} | {n} | {STATUSES.get(status, '')} |" for status, n in counts["reasons"].items()]
    return lines


def _columns(embeddings: bool) -> list[str]:
    there = {name: about for name, about in _COLUMNS.items() if embeddings or name != "embedding"}
    return ["## Columns", "", *[f"- `{name}`: {as_text(about)}" for name, about in there.items()]]


def _limits(threshold: float | None) -> list[str]:
    return [
        "## Limits",
        "",
        "- These are a model's answers and not votes. Whoever trains on them learns the model's mistakes, and whoever"
        " scores against them measures agreement with the model.",
        "- `soft_label` says how the model expects listeners to divide if they are like the raters that it has learnt"
        " from. Speakers, languages and recordings that are unlike its training data can get labels that are wrong and"
        " certain. The model's own card says what it was trained and tested on.",
        "- Speech was told from silence by loudness alone: music and noise have labels, too, which mean nothing.",
        "- The label of a long recording is a mean. It hides that emotions change.",
        *(
            []
            if threshold is None
            else ["- Where `abstains` is true, do not use the leading emotion: it is too uncertain."]
        ),
        "- What somebody sounds like is not what somebody feels. Do not decide about people by these labels.",
    ]
