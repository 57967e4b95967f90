"""Model cards: every run writes one, it says what the run folder knows, and a human's edits stay."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.made_run import built, fields
from helpers.scripts import load_script
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from hf_ambiser.cards import Address, model_card, read_facts, write_card
from hf_ambiser.cards.facts import PLACES
from hf_ambiser.cli import main
from hf_ambiser.data.corpora import available_corpora, load_corpus
from hf_ambiser.hub.edits import parse, render
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.models import available_families
from hf_ambiser.run_folder.predictions import read_predictions
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run
from hf_ambiser.training.papers import IPR


torch.set_num_threads(1)
ROOT = Path(__file__).parent.parent
# Each has a record: `python model_cards/record.py <family> RUN`.
FAMILIES = available_families()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    run(RunArguments.from_mapping(fields(built(folder), folder / "run")))
    return folder / "run"


@pytest.fixture(scope="module")
def card(finished) -> str:
    return (finished / "model" / "README.md").read_text()


def results(finished: Path) -> dict:
    return json.loads((finished / "results.json").read_text())


# ---- the rendered cards in model_cards/ --------------------------------------------------------------------------


def recorder():
    return load_script("model_cards/record.py")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rendered_card_of_a_family_is_what_its_record_gives(family, tmp_path):
    """The whole text. After a change that is meant: `python model_cards/record.py <family>`."""
    folder, module = ROOT / "model_cards" / family, recorder()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        target = tmp_path / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert module.rendered(tmp_path) == (folder / "README.md").read_text()
    drawn = {path.name for path in (tmp_path / "run" / "model" / "figures").iterdir()}
    assert drawn == {path.name for path in (folder / "figures").iterdir()}


# ---- what a run writes -------------------------------------------------------------------------------------------


def test_every_run_writes_a_card_whose_images_are_there_and_whose_header_the_hub_can_read(finished, card):
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", card)
    assert len(shown) == len(set(shown)) == 5 and all(
        (finished / "model" / name).stat().st_size > 5000 for name in shown
    )
    assert "\n\n\n" not in card and not {"None", "nan"} & set(re.findall(r"\w+", card.replace("top_k=None", "")))
    loaded = ModelCard.load(finished / "model" / "README.md")
    assert loaded.data.pipeline_tag == "audio-classification" and loaded.data.library_name == "transformers"
    assert not (finished / "model" / "training_args.bin").exists()


def test_the_index_holds_each_figure_of_each_split_as_it_was_measured(finished, card):
    name, entries = model_index_to_eval_results(yaml.safe_load(card.split("---")[1])["model-index"])
    scores = results(finished)["scores"]
    found = {(e.dataset_split, e.metric_type): e.metric_value for e in entries}
    names = {
        "wa": "accuracy",
        "ua": "recall",
        "macro_f1": "f1",
        "js": "js_divergence",
        "ece": "expected_calibration_error",
    }
    count = 0
    for split, parts in scores.items():
        for part, words in (("all", ""), ("clear", " (clear clips)"), ("ambiguous", " (ambiguous clips)")):
            for figure, kind in names.items():
                value = parts[part][figure]
                key = (f"{split}{words}", kind)
                assert (key in found) == (value is not None)
                if value is not None:
                    assert found[key] == pytest.approx(value, abs=5e-5)
                    count += 1
    assert count > 10 and name == "ipr-logmel-simulated"


def test_what_was_measured_stands_in_the_text(finished, card):
    r = results(finished)
    for split, scores in r["scores"].items():
        part = card.split(f"### {split}\n")[1]
        for name, title in (("wa", "WA"), ("js", "JS (bit)"), ("ece", "ECE, consensus")):
            cells = [scores[p][name] for p in ("all", "clear", "ambiguous")]
            shown = " | ".join("-" if v is None else f"{v:.3f}" for v in cells)
            assert f"| {title} | {shown} |" in part
        ceiling = scores["all"]["rater_ceiling"]["ua"]
        assert f"| rater ceiling: UA | {ceiling:.3f} |" in part
        for name, values in scores["all"]["per_class"].items():
            assert f"| {name} | {values['support']} |" in part
    data = r["data"]
    marks = [data[key] for key in ("policy_fingerprint", "split_fingerprint", "content", "policy", "dataset_config")]
    assert all(f"`{mark}`" in card for mark in marks)
    assert IPR.reference() in card and IPR.bibtex() in card
    assert f"{r['parameters']:,} parameters" in card


def test_the_spread_over_speakers_is_a_slow_count(finished, card):
    table = read_predictions(finished / "predictions" / "test_clear.parquet")
    right: dict[str, list[bool]] = {}
    for speaker, row, label in zip(table["speaker"], table["probabilities"], table["consensus"], strict=True):
        if label >= 0:
            right.setdefault(speaker, []).append(int(np.argmax(row)) == label)
    shares = sorted(sum(hits) / len(hits) for hits in right.values())
    said = re.search(
        r"WA over its (\d+) speakers: from ([\d.]+) % .*? to ([\d.]+) % ", card.split("### test_clear")[1]
    )
    assert said and int(said[1]) == len(shares)
    assert float(said[2]) == pytest.approx(100 * shares[0], abs=0.06)
    assert float(said[3]) == pytest.approx(100 * shares[-1], abs=0.06)


def test_arguments_that_differ_come_first_and_places_of_this_machine_nowhere(finished, card):
    text = card.split("## Training")[1]
    first, second = text.split("<details>")
    given = yaml.safe_load((finished / "arguments.yaml").read_text())
    for name in ("warmup_epochs", "learning_rate", "model_fields"):
        assert f"| `{name}` | `{json.dumps(given[name])}` |" in first and f"`{name}`" not in second
    assert "| `gamma` | `0.99` |" in second and "| `gamma`" not in first
    assert not [name for name in PLACES if f"`{name}`" in text]
    assert str(finished) not in card and str(finished.parent) not in card


def test_every_method_says_what_it_is_in_words_for_a_card():
    for name in available_methods():
        assert len(load_method(name).summary.split()) > 10, f"{name} has no summary for its model card"


def test_every_corpus_says_who_speaks_and_what_its_licence_forbids(finished):
    import dataclasses

    facts = read_facts(finished)
    for name in available_corpora():
        corpus = load_corpus(name)
        text = render(model_card(dataclasses.replace(facts, corpus=corpus), {}, Address("me/x", "v1")))
        assert corpus.TERMS in text and corpus.SPEECH[1:] in text
        assert ("No real speech" in text) == (corpus.LANGUAGE is None)
    unknown = render(model_card(dataclasses.replace(facts, corpus=None), {}, Address("me/x", "v1")))
    assert "does not know simulated" in unknown and "None" not in unknown.replace("top_k=None", "")


def test_how_many_augmented_copies_were_kept_is_said(finished, card):
    facts = read_facts(finished)
    facts.run.results["data"]["augmented_copies"] = 3
    assert "| augmentation | 3 augmented copies of each ambiguous utterance" in render(
        model_card(facts, {}, Address("me/x"))
    )
    facts.run.results["data"]["labelled_copies"] = 2
    both = "| 3 augmented copies of each ambiguous utterance and 2 augmented copies of each labelled utterance, with"
    assert both in render(model_card(facts, {}, Address("me/x")))
    assert "augmented copies" not in card, "without cached frames every epoch makes its own"


def test_the_paper_protocol_is_warned_of(finished):
    import dataclasses

    facts = read_facts(finished)
    changed = {**facts.results, "data": {**facts.data, "protocol": "paper"}}
    assert "figures for people it has never heard are lower" in render(
        model_card(
            dataclasses.replace(facts, run=dataclasses.replace(facts.run, results=changed)), {}, Address("me/x")
        )
    )
    assert "are lower" not in render(model_card(facts, {}, Address("me/x")))


def test_an_encoder_in_a_local_folder_is_named_without_its_place(finished, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    given = yaml.safe_load((copy / "arguments.yaml").read_text())
    for encoder, shown, base in (
        ("/secret/place/my-encoder", "my-encoder", False),
        ("facebook/wav2vec2-base",) * 2 + (True,),
    ):
        (copy / "arguments.yaml").write_text(yaml.safe_dump({**given, "encoder": encoder}))
        text = render(model_card(read_facts(copy), {}, Address("me/x")))
        assert shown in text and "secret" not in text
        assert ("base_model" in yaml.safe_load(text.split("---")[1])) == base


@pytest.mark.parametrize(
    "loads,kept", [(True, "checkpoint checkpoint-40, best on the validation split,"), (False, "last epoch")]
)
def test_the_checkpoint_that_validation_chose_is_named_where_it_is_what_the_run_kept(finished, tmp_path, loads, kept):
    shutil.copytree(finished, tmp_path / "run")
    given = yaml.safe_load((finished / "arguments.yaml").read_text())
    (tmp_path / "run" / "arguments.yaml").write_text(yaml.safe_dump({**given, "load_best_model_at_end": loads}))
    best = {**results(finished), "best_checkpoint": "checkpoint-40"}  # early stopping remembers one, too
    (tmp_path / "run" / "results.json").write_text(json.dumps(best))
    text = render(model_card(read_facts(tmp_path / "run"), {}, Address("me/x")))
    assert f"\nThe {kept} is published" in text


# ---- a human's edits ---------------------------------------------------------------------------------------------


def test_a_humans_edits_survive_the_card_command_and_are_listed(finished, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    path = copy / "model" / "README.md"
    text = path.read_text()
    text = text.replace("license: unknown", "license: apache-2.0")
    text = text.replace("## Limits and risks", "## Limits and risks, by Anna")
    end = "<!-- hf_ambiser:end use -->"
    text = text.replace(end, end + "\n\nAsk anna@example.org.\n")
    path.write_text(text)
    assert main(["card", str(copy)]) == 0
    again = path.read_text()
    assert "license: apache-2.0" in again and "Limits and risks, by Anna" in again and "Ask anna@example.org." in again
    said = capsys.readouterr().out
    assert "header: license" in said and "section limits" in said
    assert set(parse(again).human()) == set(parse(text).human())


def test_a_card_with_a_broken_header_is_one_line_and_stays_as_it_is(finished, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    path = copy / "model" / "README.md"
    broken = path.read_text().replace("license: unknown", "license: [unknown")
    path.write_text(broken)
    for command in (["card", str(copy)], ["push", str(copy), "me/x", "--dry-run"]):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "README.md" in line and "line" in line
    assert path.read_text() == broken


def test_a_finished_run_without_its_card_gets_it_when_it_is_run_again(finished, tmp_path):
    path = finished / "model" / "README.md"
    before = path.read_text()
    path.unlink()
    run(RunArguments.from_mapping(yaml.safe_load((finished / "arguments.yaml").read_text())))
    assert path.read_text() == before


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        write_card(tmp_path / "nothing")
    with pytest.raises(ValueError, match="not a run folder"):
        write_card(tmp_path)
