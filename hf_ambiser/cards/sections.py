"""The sections of a card, in order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_ambiser.cards.decision import when_it_abstains
from hf_ambiser.cards.facts import Facts
from hf_ambiser.cards.figures import RISK_COVERAGE
from hf_ambiser.cards.limits import limits
from hf_ambiser.cards.metadata import model_name
from hf_ambiser.cards.rater_equivalence import worth_in_raters
from hf_ambiser.cards.speaker_groups import speaker_groups
from hf_ambiser.data.noise_record import LABEL_NOISE, describe_label_noise
from hf_ambiser.data.overlap.record import OVERLAP, describe_sides
from hf_ambiser.data.rating_kinds import describe_ratings
from hf_ambiser.data.ratings.corpus_facts import without_speakers
from hf_ambiser.data.splits import chosen_by_agreement
from hf_ambiser.metrics.display import COMPARED, SCORES, describe_scores, stored
from hf_ambiser.run_folder.layout import CHECKPOINT, FIGURES
from hf_ambiser.run_scores.held_out import WHOLE
from hf_ambiser.untrusted.markdown import as_address, as_code, as_text


@dataclass(frozen=True)
class Address:
    """What the card's example loads a model from: a repository at a revision, or a folder (revision "")."""

    name: str
    revision: str = ""

    def code(self) -> str:
        """The arguments of `from_pretrained`, as code."""
        return f'"{self.name}"' + (f', revision="{self.revision}"' if self.revision else "")


def sections(facts: Facts, figures: dict[str, str], address: Address, base: Address | None) -> dict[str, str]:
    """The Markdown of each section, by name. Names from the run's files are text there and have no effect."""
    facts = facts.as_texts()
    return {
        "summary": summary(facts),
        "use": use(facts, address, base),
        "method": method(facts, figures),
        "data": data(facts),
        "results": results(facts, figures),
        **decision(facts, figures),
        "training": training(facts, figures),
        "limits": limits(facts),
        "citation": citation(facts),
    }


BEGINNING_UNKNOWN = (
    "Which utterances that model had learnt from is not recorded: figures on test utterances that are among them say"
    " nothing about voices that the model has not heard."
)
KNOWN_VALIDATION = "An epoch that they chose was not chosen by voices that the model had not heard."
LEARNT_FROM = "Such figures say nothing about voices that it has not heard, so they are not in this card's header."


def summary(facts: Facts) -> str:
    """What the model does, and one line of figures for a reader in a hurry."""
    classes = ", ".join(facts.classes)
    wa, ua, js = (SCORES[name] for name in COMPARED)
    lines = [
        f"# {as_text(model_name(facts))}",
        "",
        f"Hears one person speak and answers with a **distribution over {classes}**: how listeners would divide their"
        " votes, not one true emotion. Trained with hf_ambiser, which keeps annotators' disagreement instead of voting"
        " it away.",
        "",
        f"| test split | clips | {wa.name} | {ua.name} | {js.name} from the votes ({js.unit})"
        f" | majority class: {wa.name} / {ua.name} | one rater: {wa.name} / {ua.name} |",
        "|---|---|---|---|---|---|---|",
    ]
    for split, scores in facts.scores.items():
        s = scores["all"]
        others = [s["majority_baseline"], s["rater_ceiling"]]
        beside = " | ".join(f"{wa.with_unit(other['wa'])} / {ua.with_unit(other['ua'])}" for other in others)
        own = f"{wa.with_unit(s['wa'])} | {ua.with_unit(s['ua'])} | {js.text(s['js'], none='-')}"
        lines.append(f"| {split} | {s['n']} | {own} | {beside} |")
    if any(facts.scored.learnt_from(split) for split in facts.scores):
        lines += ["", "**The model was trained on utterances that it is tested on here.** " + LEARNT_FROM]
    return "\n".join(lines)


def use(facts: Facts, address: Address, base: Address | None) -> str:
    """Three lines of code that can be pasted and run (five for an adapter), and what `trust_remote_code` means."""
    if base is None:
        needs = "transformers, torch and numpy"
        code = [
            "import numpy, transformers",
            f'classify = transformers.pipeline("audio-classification", {address.code()}, trust_remote_code=True)',
        ]
    else:
        needs = "transformers, peft, torch and numpy"
        auto = "transformers.AutoModelForAudioClassification.from_pretrained"
        code = [
            "import numpy, peft, transformers",
            f"base = {auto}({base.code()}, trust_remote_code=True)",
            f"model = peft.PeftModel.from_pretrained(base, {address.code()}).merge_and_unload()",
            f"extractor = transformers.AutoFeatureExtractor.from_pretrained({address.code()})",
            'classify = transformers.pipeline("audio-classification", model=model, feature_extractor=extractor)',
        ]
    outputs = ", ".join(f"`{name}`" for name in type(facts.config).keys_to_ignore_at_inference)
    tail = "print(classify(numpy.zeros(16000), top_k=None))  # a second of silence; put 16 kHz mono samples here"
    return "\n".join(
        [
            "## Use",
            "",
            f"Needs {needs}; hf_ambiser itself need not be installed.",
            "",
            "```python",
            *code,
            tail,
            "```",
            "",
            f"The scores are probabilities and sum to 1. Called directly, the model also gives {outputs}. A clip's"
            " answer does not depend on padding or on the other clips of its batch.",
            "",
            "`trust_remote_code=True` runs the Python files of the repository on your machine, with your rights. Read"
            " them first (all `.py` files beside the weights); the revision in the example is the content you read."
            " Nothing is run without that flag, and with hf_ambiser installed it is not"
            " needed: `import hf_ambiser` brings the same code. transformers names code by the folder's last name, so"
            " two folders of one name that are loaded in one process both run the code of the first; if their files"
            " differ, load them in two processes. Repositories of the Hub are told apart.",
        ]
    )


def _named(base: str, on_hub: str) -> str:
    """The name of a model or an encoder, as a link if it is on the Hub."""
    name = as_text(base, brackets=True)
    return f"[{name}](https://huggingface.co/{as_address(base)})" if on_hub else name


def method(facts: Facts, figures: dict[str, str]) -> str:
    """Encoder and method, with the paper, and the method's own figures."""
    size = f"{facts.results['parameters']:,} parameters in all"
    began = _named(facts.pretrained, facts.base_on_hub)
    if facts.encoder:
        origin = f"the pretrained encoder {_named(facts.encoder, facts.encoder_on_hub)} ({facts.kind})"
    elif facts.pretrained:
        origin = f"the model {began} ({facts.kind}), trained on"
    else:
        origin = facts.config.describe_frames()
    frozen = {"none": "", "feature_encoder": ", its convolutions frozen", "encoder": ", frozen"}
    freeze = str(facts.given.get("freeze", "none"))
    trained = f", its lowest {freeze} layers frozen" if freeze.isdecimal() else frozen.get(freeze, "")
    adapter = f", adapted with LoRA (rank {facts.adapter['r']})" if facts.adapter else ""
    paper = facts.method.paper
    lines = [
        "## What it is",
        "",
        f"**Model.** {origin[0].upper()}{origin[1:]}{trained}{adapter}; {facts.config.describe()};"
        f" {size}. Input: mono waveform at 16 kHz.",
        "",
        f"**Method `{facts.results['method']}`.** {facts.method.summary}",
    ]
    if paper:
        lines += [
            "",
            f"Paper: {paper.reference()}. Where the paper is silent, hf_ambiser's page of the method says what was"
            " chosen.",
        ]
    if facts.pretrained:
        lines += ["", f"**Began with** the weights of {began}."]
        if facts.run.beginning_unknown:
            lines[-1] += f" {BEGINNING_UNKNOWN}"
    if n := facts.run.validation_learnt_from:
        lines += ["", f"**The model was trained on {n} of its validation utterances.** {KNOWN_VALIDATION}"]
    own = {name: text for name, text in figures.items() if name in _method_figures(facts, figures)}
    return "\n".join([*lines, *images(own)])


def data(facts: Facts) -> str:
    """The data of training and test, whose labels they have, and what the licence of the corpus forbids."""
    d = facts.data
    given = f"labels of {', '.join(d['train_splits'])}"
    if d["ambiguous_splits"]:
        given += f"; {', '.join(d['ambiguous_splits'])} without labels"
    if d["revealed_splits"]:
        given += f"; the hidden labels of {', '.join(d['revealed_splits'])} were revealed to it"
    protocol = {
        "strict": without_speakers(facts.corpus) or "strict (no speaker, or session, on two sides)",
        "paper": "paper (as the paper divides; speakers or choices may be shared between training and test)",
    }
    rows = {
        "corpus": f"{d['corpus']}: {facts.speakers}",
        "label policy": f"`{d['policy']}`, fingerprint `{d['policy_fingerprint']}`",
        **({"ratings": describe_ratings(facts.corpus, d["ratings"])} if "ratings" in d else {}),
        "classes": ", ".join(facts.classes),
        "labels": _labels(d.get("aggregation", "shares")),
        **({"label noise": describe_label_noise(d[LABEL_NOISE])} if LABEL_NOISE in d else {}),
        "split": f"`{d['dataset_config']}`, fingerprint `{d['split_fingerprint']}`",
        "protocol": protocol.get(d["protocol"], d["protocol"]),
        **({"two sides": describe_sides(d[OVERLAP])} if OVERLAP in d else {}),
        "content": f"`{d['content']}`",
        "learnt from": given,
        "clips": f"{d['labelled']} labelled, {d['ambiguous']} ambiguous; left out, without a label to learn from:"
        f" {d['left_out_without_target']}; cut at `max_seconds`: {d['cut_at_max_seconds']}",
    }
    counted = {"ambiguous": d.get("augmented_copies"), "labelled": d.get("labelled_copies")}
    copies = [f"{n} augmented copies of each {which} utterance" for which, n in counted.items() if n is not None]
    if copies:
        rows["augmentation"] = f"{' and '.join(copies)}, with which the epochs take turns"
    lines = ["## Data", "", "| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items()), ""]
    if facts.corpus is not None:
        home = f" ({facts.corpus.HOMEPAGE})" if facts.corpus.HOMEPAGE else ""
        lines.append(f"**Licence of the data{home}.** {facts.corpus.LICENSE.rstrip('.')}. {facts.corpus.TERMS}")
    else:
        lines.append(f"**Licence of the data.** hf_ambiser does not know {d['corpus']}: ask who gave it to you.")
    lines += [
        "",
        "**Licence of these weights.** Their author has not said; until the header's `license` names one, assume that"
        " you may not use them beyond what the data's licence allows.",
    ]
    return "\n".join(lines)


def _labels(aggregation: str) -> str:
    if aggregation == "shares":
        return "the raters' votes themselves: their consensus, or their shares"
    return f"the posterior of a model of the raters ({aggregation}) fitted to their votes"


def results(facts: Facts, figures: dict[str, str]) -> str:
    """Every split: accuracy, distance from the votes, calibration, baseline, ceiling, per class and per speaker."""
    lines = [
        "## Results",
        "",
        "WA is accuracy, UA the mean recall of the classes, both against the raters' consensus; KL (nat), JS (bit),"
        " Brier, cosine and entropy correlation are against the raters' votes; ECE is the expected calibration error."
        " A clip is clear where two thirds of its raters agree. The majority class, one rater against the others"
        " (`rater ceiling`) and the consensus of one panel of raters against that of another of the same size (`panel"
        " ceiling`) stand beside the model. One run, one seed: no statement about the method.",
        "",
        "In the second table, the Bhattacharyya coefficient and both R2 compare answer and votes utterance by"
        " utterance; AUROC and AUPR say how well the entropy of the answer tells utterances without a consensus label"
        " from the others; AURC is the mean share of wrong answers if only the most confident answers are given, over"
        " all coverages (lower is better).",
    ]
    for split, scores in facts.scores.items():
        cut = facts.results["scored_clips_cut_at_max_seconds"].get(split, 0)
        title = f"{split}: {WHOLE}" if split == facts.whole and split in facts.run.splits else split
        lines += ["", f"### {title}", ""]
        if split not in facts.run.splits:
            lines += [joined_splits(facts, split), ""]
        lines.append(describe_scores(scores, chosen_by_agreement(split)))
        if worth := worth_in_raters(facts, split):
            lines += ["", worth]
        if spread := speaker_spread(facts, split):
            lines += ["", spread]
        if groups := speaker_groups(facts, split):
            lines += ["", groups]
        if n := facts.scored.learnt_from(split):
            lines += ["", f"The model was trained on {n} of these utterances. {LEARNT_FROM}"]
        if cut:
            lines += ["", f"{cut} of these clips were cut at `max_seconds`."]
        lines += images({name: text for name, text in figures.items() if name == f"{split}.png"})
    return "\n".join(lines)


def decision(facts: Facts, figures: dict[str, str]) -> dict[str, str]:
    """When the model abstains, with the risk-coverage figure; nothing for a run without a decision."""
    text = when_it_abstains(facts)
    drawn = {name: caption for name, caption in figures.items() if name == f"{RISK_COVERAGE}.png"}
    return {"decision": "\n".join([text, *images(drawn)])} if text else {}


def joined_splits(facts: Facts, name: str) -> str:
    """Say what a set of several splits is made of, and whether something may be missing."""
    splits = ", ".join(f"`{as_text(split)}`" for split in facts.scored.joined[name])
    if name == WHOLE:
        return f"Every utterance with votes of the held-out speakers, with and without a consensus label: {splits}."
    return (
        f"What the run answered of the held-out speakers' utterances: {splits}. Utterances without a consensus label"
        " may be missing, because the run was made before they were always answered."
    )


def speaker_spread(facts: Facts, split: str) -> str:
    """How much accuracy differs from speaker to speaker; "" if predictions or names of speakers are missing."""
    if not facts.scored.has_predictions(split) or without_speakers(facts.corpus):
        return ""
    table = facts.scored.predictions(split)
    labelled = table["consensus"] >= 0
    if not labelled.any():
        return ""
    right = (table["probabilities"].argmax(axis=1) == table["consensus"])[labelled]
    speakers = table["speaker"][labelled]
    shares = sorted((float(right[speakers == name].mean()), int((speakers == name).sum())) for name in set(speakers))
    low, high, wa = shares[0], shares[-1], SCORES["wa"]
    return (
        f"{wa.name} over its {len(shares)} speakers: from {wa.with_unit(low[0])} ({low[1]} clips) to"
        f" {wa.with_unit(high[0])} ({high[1]} clips), median"
        f" {wa.with_unit(float(np.median([share for share, _ in shares])))}."
    )


def training(facts: Facts, figures: dict[str, str]) -> str:
    """The arguments that differ from their defaults, the machine, the training curve, and the other arguments."""
    changed, same = facts.arguments()
    environment = facts.results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items() if version)
    commit = environment["commit"]
    code = f"hf_ambiser at commit `{commit[:12]}`" if commit else "hf_ambiser, not from a checkout"
    dirty = ", with local changes" if environment["dirty"] else ""
    step = facts.run.chosen_step
    kept = "last epoch" if step is None else f"checkpoint {CHECKPOINT}{step}, best on the validation split,"
    machine = environment["accelerator"] or f"{environment['threads']} CPU threads ({environment['machine']})"
    return "\n".join(
        [
            "## Training",
            "",
            "Arguments that differ from hf_ambiser's defaults:",
            "",
            *argument_table(changed),
            "",
            f"The {kept} is published"
            f"{averaged(facts)}. {seconds_trained(facts)} on {machine}; Python {environment['python']}, {versions};"
            f" {code}{dirty}.",
            *best_epochs(facts),
            *images({name: text for name, text in figures.items() if name == "training_curve.png"}),
            "",
            "<details><summary>Arguments left at their defaults</summary>",
            "",
            *argument_table(same),
            "",
            "</details>",
        ]
    )


def averaged(facts: Facts) -> str:
    """Return what the weights that are published are, if they are not those of one step."""
    decay = facts.given.get("average_weights")
    return f", with a moving average of the weights over its steps (decay {decay:g})" if decay else ""


def seconds_trained(facts: Facts) -> str:
    """Return how long the run trained, over all its legs if it was stopped and went on."""
    figures = facts.results["training"]
    text, legs = f"{figures.get('train_runtime', 0.0):.0f} s", figures.get("legs", [])
    if not legs:
        return text
    unknown = any(leg["seconds"] is None for leg in legs)
    return f"{'At least ' if unknown else ''}{text} in {len(legs)} parts (the run was stopped and went on)"


def best_epochs(facts: Facts) -> list[str]:
    """The validation figures of the epochs that loss and UA would choose; nothing for runs that did not keep them."""
    by = {"loss": "the smallest validation loss", "ua": f"the highest validation {SCORES['ua'].name}"}
    lines = []
    for chosen, figures in facts.results.get("best_epochs", {}).items():
        shown = [f"{SCORES[name].name} {stored(figures[name])}" for name in COMPARED if name in figures]
        loss = [f"loss {stored(figures['loss'])}"] if "loss" in figures else []
        lines.append(f"Epoch {figures['epoch']:g} has {by[chosen]}: {', '.join([*loss, *shown])}.")
    return ["", " ".join(lines)] if lines else []


def citation(facts: Facts) -> str:
    """The works to cite: the method's paper and the corpus."""
    entries = [facts.method.paper.bibtex()] if facts.method.paper else []
    if facts.corpus is not None and facts.corpus.CITATION:
        entries.append(facts.corpus.CITATION.strip())
    if not entries:
        return "## Citation\n\nNeither the method nor the data has a paper to cite."
    return "\n".join(["## Citation", "", "```bibtex", "\n\n".join(entries), "```"])


def argument_table(arguments: dict[str, Any]) -> list[str]:
    """Markdown rows `name | value`."""
    rows = [f"| {as_code(name)} | {as_code(json.dumps(value))} |" for name, value in arguments.items()]
    return ["| argument | value |", "|---|---|", *rows] if rows else ["None."]


def images(captions: dict[str, str]) -> list[str]:
    """Markdown images with their captions, each after an empty line."""
    lines: list[str] = []
    for name, caption in captions.items():
        words, address = as_text(caption, brackets=True), as_address(f"{FIGURES}/{name}")
        lines += ["", f"![{words}]({address})", "", f"*{as_text(caption)}*"]
    return lines


def _method_figures(facts: Facts, figures: dict[str, str]) -> set[str]:
    return set(figures) - {
        "training_curve.png",
        f"{RISK_COVERAGE}.png",
        *(f"{split}.png" for split in facts.results["scores"]),
    }
