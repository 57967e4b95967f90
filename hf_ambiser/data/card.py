"""The data set's card: a README.md with the YAML that makes `load_dataset(folder, config)` work."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from hf_ambiser.data.noise_record import LABEL_NOISE, describe_label_noise
from hf_ambiser.data.overlap.record import OVERLAP, card_lines
from hf_ambiser.data.rating_kinds import describe_ratings, speech_of
from hf_ambiser.data.ratings.corpus_facts import without_speakers
from hf_ambiser.data.schema import REASONS
from hf_ambiser.hub.edits import Card
from hf_ambiser.untrusted.markdown import as_texts


# What a reader must know about labels from a model of the raters, by the ratings that the model was fitted to.
_ONE_TRUE_CLASS = (
    "They are the posterior of a model that gives each utterance one true class and takes disagreement for error. It"
    " says how certain the class is, not how people divide over it. Votes, agreement, tier, the splits and all"
    " `reference_*` columns come from the raters and do not depend on the model; scores compare with them."
)
_MODELLED = {
    "corpus": f"{_ONE_TRUE_CLASS} The model was fitted to the ratings of all utterances, also to those of test splits"
    " (never to audio). So a training label depends a little on how its raters answered test utterances.",
    "group": f"{_ONE_TRUE_CLASS} The model was fitted to each speaker's (or session's) ratings alone. So under a"
    " strict split no training label depends on an answer about a validation or test utterance.",
}


def dataset_card(report: dict[str, Any], corpus: ModuleType, address: str, revision: str = "") -> Card:
    """Make the card from the content of `build_report.json` and the constants of the corpus module.

    Args:
        report: Content of `build_report.json`.
        corpus: The corpus' module.
        address: Repository or local folder that the example loads.
        revision: Revision that the example pins; "" for a local folder.
    """
    raw, report = report, as_texts(report)
    home = f"[{corpus.NAME}]({corpus.HOMEPAGE})" if corpus.HOMEPAGE else corpus.NAME
    citation = ["", "```bibtex", corpus.CITATION.strip(), "```"] if corpus.CITATION else []
    noisy = LABEL_NOISE in report
    sections = {
        "summary": [
            f"# {corpus.NAME}: raters' votes kept",
            "",
            f"Built by hf_ambiser from {home}: {speech_of(corpus, report['policy'].get('ratings', ()))}.",
            *(["", f"**Made for experiments.** {describe_label_noise(report[LABEL_NOISE])}"] if noisy else []),
        ],
        "use": _use(report, address, revision),
        "policy": _policy(report, corpus),
        "counts": _counts(report),
        "configs": _configs(report, without_speakers(corpus)),
        **({"overlap": card_lines(report[OVERLAP])} if OVERLAP in report else {}),
        "columns": _columns(),
        "licence": ["## Licence and citation", "", f"{corpus.LICENSE.rstrip('.')}. {corpus.TERMS}", *citation],
    }
    return Card(_header(raw, corpus), {name: "\n".join(lines).strip() for name, lines in sections.items()})


def _header(report: dict[str, Any], corpus: ModuleType) -> dict[str, Any]:
    front: dict[str, Any] = {
        "license": getattr(corpus, "LICENSE_ID", "other"),
        **({"language": [corpus.LANGUAGE]} if corpus.LANGUAGE else {}),
        "task_categories": ["audio-classification"],
        "tags": ["speech-emotion-recognition", "annotator-disagreement", "soft-labels", "hf_ambiser"],
        "pretty_name": f"{corpus.NAME} with its raters' votes",
        "configs": [
            {
                "config_name": name,
                # `load_dataset` keys its cache by the folder's last name and this YAML, not by path or content.
                # Without this digest, another build in a folder of the same name would load the earlier build's rows.
                "description": f"protocol {config['protocol']}, content {report['content']}",
                "data_files": [{"split": s, "path": part["data_files"]} for s, part in config["splits"].items()],
                **({"default": True} if i == 0 else {}),
            }
            for i, (name, config) in enumerate(report["configs"].items())
        ],
    }
    if front["license"] == "other":
        front |= {"license_name": "see-the-corpus", **({"license_link": corpus.HOMEPAGE} if corpus.HOMEPAGE else {})}
    return front


def _use(report: dict[str, Any], address: str, revision: str) -> list[str]:
    config, found = next(iter(report["configs"].items()))
    split = next(iter(found["splits"]))
    pinned = f', revision="{revision}"' if revision else ""
    return [
        "## Use",
        "",
        "```python",
        "import datasets, io, soundfile",
        f'rows = datasets.load_dataset("{address}", "{config}", split="{split}"{pinned})',
        'print(rows[0]["votes"], soundfile.read(io.BytesIO(rows[0]["audio"]["bytes"]))[0].shape)',
        "```",
        "",
        "With `streaming=True`, `for row in rows` fetches only the rows it needs. The data set holds no code.",
    ]


def _policy(report: dict[str, Any], corpus: ModuleType) -> list[str]:
    p = report["policy"]
    ratings = p.get("ratings", ())
    modelled = p["aggregation"] != "shares"
    told = ", ".join(f"{name} {value}" for name, value in p["aggregation_options"].items())
    merged = ", ".join(f"{raw} -> {to or 'left out'}" for raw, to in p["class_map"].items() if raw != to) or "none"
    return [
        f"## Labels: policy `{p['name']}`, fingerprint `{report['policy_fingerprint']}`",
        "",
        f"Classes, in the order of their index: {', '.join(report['classes'])}. Renamed or left out: {merged}.",
        f"Consensus rule: {p['rule']}; several labels by one rater: {p['multi_label']}; the speakers' own ratings"
        f" count: {'yes' if p['self_reports'] else 'no'}; agreement is over {p['agreement_over']} votes; labels are"
        f" merged {p['merge']} the consensus is sought. `label` and `soft_label`:"
        f" {p['aggregation'] + f' ({told})' if modelled else 'shares of the votes'}.",
        "",
        *([describe_ratings(corpus, ratings), ""] if ratings else []),
        *([_MODELLED[p["aggregation_options"]["within"]], ""] if modelled else []),
    ]


def _counts(report: dict[str, Any]) -> list[str]:
    counts, votes = report["counts"], report["votes"]
    lines = [
        "## What is kept and what is left out",
        "",
        f"**{counts['in']} in = {counts['kept']} kept + {counts['listed']} listed** (`listed.csv`: id, reason, detail,"
        " source).",
        "",
    ]
    if counts["listed"]:
        lines += ["| reason | count | meaning |", "|---|---:|---|"]
        lines += [f"| {r} | {n} | {REASONS[r]} |" for r, n in counts["listed_by_reason"].items()] + [""]
    lines += [
        "Utterances without a consensus label in the policy's classes are listed, because there is no label to score"
        " them by. Those with a vote for one of the classes are still available, with their votes and label -1: in the"
        " `no_consensus` splits (also `validation_` and `test_`), or in SLC's ambiguous splits.",
        "",
        f"Votes: {votes['in']:g} in = {votes['counted']:g} counted + {votes['excluded_total']:g} excluded.",
        *[f"- excluded, {reason}: {n:g}" for reason, n in votes["excluded"].items()],
        "",
    ]
    if rows := report.get("rows"):
        lines += [
            f"Rows of the table of ratings: {rows['rows_in']} in = {rows['rows_used']} used + {rows['rows_listed']}"
            f" listed. Votes in the rows: {rows['votes_in']} = {rows['votes_used']} of utterances with audio +"
            f" {rows['votes_in_listed_rows']} in listed rows + {rows['votes_of_listed_utterances']} of listed"
            " utterances.",
            *[f"- rows listed, {reason} ({REASONS[reason]}): {n}" for reason, n in rows["listed_by_reason"].items()],
            "",
        ]
    if report["notes"]:
        lines += ["Notes:", *[f"- {note}" for note in report["notes"]], ""]
    return lines


def _configs(report: dict[str, Any], warning: str) -> list[str]:
    lines = ["## Configs", "", *([f"**Speakers are not known.** {warning}", ""] if warning else [])]
    for name, config in report["configs"].items():
        options = ", ".join(f"{k} {v}" for k, v in config["options"].items()) or "none"
        lines += [
            f"### `{name}`",
            "",
            f"Protocol {config['protocol']}, split fingerprint `{config['fingerprint']}`, policy fingerprint"
            f" `{report['policy_fingerprint']}`, seed {config['seed']}. Options: {options}.",
            "",
            config["description"],
            "",
            "| split | rows | hours | speakers | " + " | ".join(report["classes"]) + " | without label |",
            "|---|---:|---:|---:|" + "---:|" * (len(report["classes"]) + 1),
        ]
        for split, part in config["splits"].items():
            hidden = " (labels hidden)" if part["labels_hidden"] else ""
            classes = " | ".join(str(n) for n in part["per_class"].values())
            lines.append(
                f"| {split}{hidden} | {part['rows']} | {part['hours']:.2f} | {part['speakers']} | {classes} |"
                f" {part['without_label']} |"
            )
        apart = ", ".join(f"{n} to hold {column} apart" for column, n in config.get("held_apart", {}).items())
        lines += ["", f"In no split: {config['unused']} usable utterances{f' ({apart})' if apart else ''}.", ""]
    return lines


def _columns() -> list[str]:
    return [
        "## Columns",
        "",
        "`audio` is `{bytes, path}`, 16 kHz mono; cast it with `Audio(sampling_rate=16000)` or decode it with"
        " soundfile. `ratings` are the raters' answers as given. `votes`, `soft_label`, `label` (-1: none),"
        " `agreement` (top share of votes), `entropy` (of the soft label, in bits) and `tier` (`clear` from an"
        " agreement of 2/3, `moderate` from 1/2, else `ambiguous`; `no_consensus` without a label) follow from them"
        " under the policy. In splits with hidden labels they are zeros, -1, NaN and `unlabelled`. `reference_*` hold"
        " the raters' answer everywhere and are for scoring only. `true_distribution` is known for simulated speech"
        " only and zeros elsewhere.",
        "",
    ]
