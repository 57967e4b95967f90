"""`hf-ambiser calibrate`: what is chosen, where it is written, what it leaves alone, and who shows it."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from datasets import disable_progress_bars
from helpers.made_data import extractor, made_split, tiny_config, tiny_model
from helpers.made_report import made_cell, made_whole
from helpers.made_run import built, fields
from helpers.recorded_run import change, digest, recorded_run
from transformers import AutoConfig

from hf_ambiser import calibrate_model, calibrate_run, load_method, remove_decision, write_card
from hf_ambiser.cards import figures as card_figures
from hf_ambiser.cards import read_facts
from hf_ambiser.cli import main
from hf_ambiser.inference.load_model import load_model
from hf_ambiser.metrics.decision import Decision, choose_decision, decision_figures
from hf_ambiser.metrics.display import DECIDED, describe_decision
from hf_ambiser.models import available_families
from hf_ambiser.report.decisions import decisions_table
from hf_ambiser.report.groups import find, group
from hf_ambiser.report.write import write_report
from hf_ambiser.run_folder.decision import in_config
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.published import code_digests
from hf_ambiser.run_scores.held_out import WHOLE
from hf_ambiser.runs import calibrate as module
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.push import base_publication, publication
from hf_ambiser.runs.run import run


torch.set_num_threads(1)
disable_progress_bars()
BASELINE = {"method": "hard_vote", "warmup_epochs": ..., "num_train_epochs": 1}
ASKED = {"risk": 0.5, "set_coverage": 0.7, "balance": 0.8, "rule": "empirical"}
WORDS = ["--risk", "0.5", "--set-coverage", "0.7", "--balance", "0.8", "--rule", "empirical"]
SIDE = "validation + validation_no_consensus"
HEAD = "## What it answers, and when"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("built"), n=90)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    run(RunArguments.from_mapping(fields(dataset, out, **BASELINE)))
    return out


@pytest.fixture
def finished(trained, tmp_path) -> Path:
    """A run folder of the test's own."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def answer(model, feature_extractor, data, batch_size):
    """Answers that lean towards the votes: the tiny models of tests have learnt next to nothing."""
    noise = np.random.default_rng(len(data)).normal(size=data.votes.shape)
    return (0.4 * (data.votes - data.votes.mean(axis=1, keepdims=True)) + noise).astype(np.float32)


@pytest.fixture
def skilled(monkeypatch):
    monkeypatch.setattr(module, "predict_logits", answer)


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory) -> Path:
    """A calibrated run, for tests that only read it."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "predict_logits", answer)
        calibrate_run(folder, risk=0.4, set_coverage=0.7, temperature=True, balance=0.8, rule="empirical")
    return folder


def read(path: Path) -> dict:
    return json.loads(path.read_text())


# ---- what is written -----------------------------------------------------------------------------------------------


def test_the_command_and_python_choose_the_same_and_change_nothing_else(finished, tmp_path, capsys):
    twin = Path(shutil.copytree(finished, tmp_path / "twin"))
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    found = calibrate_run(finished, **ASKED | {"risk": 0.99})
    assert main(["calibrate", str(twin), *WORDS, "--risk", "0.99"]) == 0
    assert found == read(finished / "results.json")["decision"] == read(twin / "results.json")["decision"]
    shown = capsys.readouterr().out
    assert f"{found['chosen_on']['utterances']} utterances of {SIDE}, ipr-strict\n" in shown
    assert describe_decision({SIDE: found["validation"], **found["test"]}) in shown

    rest = read(finished / "results.json")
    del rest["decision"]
    assert rest == json.loads(before[finished / "results.json"]) and rest["code"] == code_digests(RunFolder(finished))
    config = read(finished / "model" / "config.json")
    assert config.pop("decision") == in_config(found) and config == json.loads(before[finished / "model/config.json"])
    changed = {path.relative_to(finished).as_posix() for path, old in before.items() if path.read_bytes() != old}
    assert changed == {"results.json", "model/config.json", "model/README.md"}
    new = {
        path.relative_to(finished).parts[0] for path in finished.rglob("*") if path.is_file() and path not in before
    }
    assert new == {"model", ".attempts"}  # the figure; which process wrote

    on = found["chosen_on"]
    assert on["content"] == rest["data"]["content"] and on["dataset_config"] == "ipr-strict"
    assert on["split"] == SIDE and on["utterances"] == found["validation"]["n"] > 5
    assert found["validation"]["n_without_consensus"] > 0  # abstaining there is right
    assert (found["rule"], found["confidence"]) == ("empirical", None)


def test_what_it_gives_on_test_comes_from_the_stored_predictions(calibrated):
    found = read(calibrated / "results.json")["decision"]
    decision = Decision.of(found)
    assert decision.temperature != 1 and found["validation"]["risk"] <= 0.4 and found["temperature"] > 0
    scored = read_facts(calibrated).scored
    assert list(found["test"]) == scored.splits and WHOLE in found["test"] and decision.balance.tau == 0.8
    for split, figures in found["test"].items():
        table = scored.predictions(split)
        assert figures == decision_figures(table["probabilities"], table["votes"], table["consensus"], decision)


def test_the_card_says_when_it_abstains_and_only_of_runs_that_were_calibrated(finished, skilled, capsys):
    card, figure = finished / "model" / "README.md", finished / "model" / "figures" / "risk_coverage.png"
    plain, config = card.read_text(), (finished / "model" / "config.json").read_bytes()
    results = (finished / "results.json").read_bytes()
    assert "abstains" not in plain and not figure.exists()
    edited = plain + "\nA word of mine.\n"
    card.write_text(edited)
    found = calibrate_run(finished, risk=0.4, set_coverage=0.7, temperature=True, rule="empirical")
    text = card.read_text()
    section = text.split(HEAD)[1].split("<!-- hf_ambiser:end")[0]
    assert describe_decision({SIDE: found["validation"], **found["test"]}) in section
    for words in (
        f"Chosen on {found['chosen_on']['utterances']} utterances of `{SIDE}`",
        f"**Temperature {found['temperature']:.3f}.**",
        f"probability below {found['threshold']:.4f}. This is the largest coverage with at most 40 %",
        f"probability of at least {found['set_threshold']:.4f}. It was made to hold 70 %",
        "are without it",
        "figures/risk_coverage.png",
    ):
        assert words in " ".join(section.split()), words
    assert text.count("risk_coverage.png") == 1 and figure.stat().st_size > 5000 and "A word of mine." in text

    capsys.readouterr()
    assert main(["calibrate", str(finished), "--set-coverage", "0.8"]) == 0  # replaces it
    again, said = read(finished / "results.json")["decision"], capsys.readouterr().out
    for name in ("threshold", "temperature"):
        assert f"\n{name} {found[name]:.4g} of the earlier choice is removed; ask for all parts at once\n" in said
    assert said.count("is removed") == 2
    text = card.read_text()
    assert read(finished / "results.json")["decision"] == again and again["threshold"] is None
    assert "**Abstain**" not in text and "**Temperature" not in text and "made to hold 80 %" in text

    assert main(["calibrate", str(finished), "--none"]) == 0
    assert card.read_text() == edited and not figure.exists()
    assert (finished / "model" / "config.json").read_bytes() == config
    assert (finished / "results.json").read_bytes() == results
    assert remove_decision(finished) is False


def test_a_balance_is_stored_shown_and_answered_by(finished, skilled, capsys):
    assert main(["calibrate", str(finished), "--balance", "0.5"]) == 0
    found, said = read(finished / "results.json")["decision"], capsys.readouterr().out
    shares = found["balance"]["shares"]
    assert found["balance"]["tau"] == 0.5 and sum(shares) == pytest.approx(1) and found["threshold"] is None
    assert "\nbalance 0.5\n" in said and DECIDED["ua"].full in said and DECIDED["ua_before"].full in said
    assert read(finished / "model" / "config.json")["decision"]["balance"] == found["balance"]
    section = " ".join((finished / "model" / "README.md").read_text().split(HEAD)[1].split())
    assert "**Balanced decision, tau 0.5.**" in section and ", ".join(f"{m:.4g}" for m in shares) in section
    assert "An answer is the class of the balanced decision." in section

    assert main(["calibrate", str(finished), "--balance", "0"]) == 0
    assert "\nbalance 0\n" in capsys.readouterr().out
    stored = read(finished / "model" / "config.json")["decision"]
    assert stored["balance"] == {"tau": 0.0, "shares": shares}
    figures = read(finished / "results.json")["decision"]["validation"]
    assert figures["wa"] == figures["wa_before"] and figures["ua"] == figures["ua_before"]
    section = " ".join((finished / "model" / "README.md").read_text().split(HEAD)[1].split())
    assert "**A balanced decision can be asked for**" in section and "An answer is the leading class." in section
    calibrate_run(finished, balance=0.5)

    assert main(["calibrate", str(finished), "--temperature"]) == 0
    assert "\nbalance 0.5 of the earlier choice is removed; ask for all parts at once\n" in capsys.readouterr().out
    assert read(finished / "model" / "config.json")["decision"]["balance"] is None


def test_the_cards_figure_is_of_the_answers_of_the_decision(finished, skilled, monkeypatch):
    drawn = []
    curve = card_figures.curve_of_answers
    monkeypatch.setattr(card_figures, "curve_of_answers", lambda *given: drawn.append(given[-1]) or curve(*given))
    found = calibrate_run(finished, risk=0.9, rule="empirical", temperature=True, balance=0.8)
    assert drawn and set(drawn) == {Decision.of(found)}


def test_a_pipeline_of_before_there_was_a_balance_is_renewed(finished, skilled, caplog, dataset, tmp_path):
    path, results = finished / "model" / "emotion_pipeline.py", finished / "results.json"
    source = path.read_text()
    path.write_text("# answers the leading class\n")
    change(results, lambda content: {**content, "code": code_digests(RunFolder(finished))})
    calibrate_run(finished, temperature=True)
    assert path.read_text() == "# answers the leading class\n" and not caplog.text  # no reason to touch it
    with caplog.at_level(logging.WARNING, "hf_ambiser"):
        calibrate_run(finished, balance=0.5)
    assert f"{path} was saved before a decision could have a balance" in caplog.text
    assert path.read_text() == source and read(results)["code"] == code_digests(RunFolder(finished))
    # What somebody has changed after training stays unknown, so that a push says so.
    path.write_text("# changed\n")
    calibrate_run(finished, balance=0.5)
    changed = read(results)["code"]
    assert path.read_text() == source and changed == {
        **changed,
        path.name: code_digests(RunFolder(finished))[path.name],
    }

    # A stop between the file and the results leaves the old digest; to calibrate again mends it.
    change(results, lambda content: {**content, "code": {**content["code"], path.name: "0" * 64}})
    calibrate_run(finished, balance=0.5)
    assert read(results)["code"] == code_digests(RunFolder(finished))
    path.write_text(source + "# mine, and it knows a balance\n")
    calibrate_run(finished, balance=0.5)
    assert read(results)["code"] != code_digests(RunFolder(finished))  # a push says so
    path.write_text(source)

    alone = Path(shutil.copytree(finished / "model", tmp_path / "alone"))
    (alone / path.name).write_text("# old\n")
    found = calibrate_model(alone, dataset, "ipr-strict", ["d1"], balance=0.5)
    assert found["balance"]["tau"] == 0.5 and (alone / path.name).read_text() == source
    spoilt = {"decision": {"balance": 0.5, "threshold": "no"}}
    change(alone / "config.json", lambda config: {**config, **spoilt})
    words = ["--dataset", str(dataset), "--config", "ipr-strict", "--split", "d1", "--temperature"]
    assert main(["calibrate", "--model", str(alone), *words]) == 0
    assert read(alone / "config.json")["decision"]["balance"] is None


def test_a_decision_of_before_there_was_a_balance_stays_readable(calibrated, tmp_path):
    old = Path(shutil.copytree(calibrated, tmp_path / "old"))
    for place in (old / "results.json", old / "model" / "config.json"):
        change(place, lambda content: {**content, "decision": without_balance(content["decision"])})
    facts = read_facts(old)
    assert "balance" not in facts.run.decision and HEAD in write_card(old)[0].read_text()


def without_balance(decision: dict) -> dict:
    assert "balance" in decision
    return {name: value for name, value in decision.items() if name != "balance"}


def test_what_is_published_has_the_decision(calibrated):
    found = read(calibrated / "results.json")["decision"]
    files = publication(read_facts(calibrated)).files
    assert read(files["config.json"])["decision"] == in_config(found)
    assert json.loads(files["results.json"])["decision"] == found and "figures/risk_coverage.png" in files


# ---- every family, an adapter, more training -----------------------------------------------------------------------


@pytest.mark.parametrize("family", available_families())
def test_a_model_of_every_family_keeps_its_decision(family, dataset, tmp_path):
    model = tiny_model(family=family)
    model.save_pretrained(tmp_path / "model")
    extractor(model).save_pretrained(tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "before")
    how = {"set_coverage": 0.5, "risk": 0.99, "rule": "empirical"}
    found = calibrate_model(tmp_path / "model", dataset, "ipr-strict", ["validation"], **how)
    loaded = load_model(str(tmp_path / "model"))
    assert loaded.config.decision == in_config(found) and not hasattr(
        load_model(str(tmp_path / "before")).config, "decision"
    )
    loaded.save_pretrained(tmp_path / "again")
    assert AutoConfig.from_pretrained(tmp_path / "again").decision == in_config(found)
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    files = [path for path in (tmp_path / "before").iterdir() if path.is_file()]
    differ = {path.name for path in files if path.read_bytes() != (tmp_path / "model" / path.name).read_bytes()}
    assert differ == {"config.json"} and found["test"] == {}


def test_the_decision_of_an_adapter_is_in_its_base(dataset, tmp_path, skilled):
    out = tmp_path / "lora"
    run(RunArguments.from_mapping(fields(dataset, out, **BASELINE, lora={"r": 2})))
    found = calibrate_run(out, **ASKED)
    assert read(out / "base_model" / "config.json")["decision"] == in_config(found)
    assert load_model(str(out / "model")).config.decision == in_config(found)
    assert "in its base model's `config.json`" in (out / "model" / "README.md").read_text()
    assert read(base_publication(read_facts(out)).files["config.json"])["decision"] == in_config(found)
    out.rename(tmp_path / "moved")
    calibrate_run(tmp_path / "moved", **{**ASKED, "temperature": not ASKED.get("temperature", False)})
    again = load_model(str(tmp_path / "moved" / "model")).config.decision
    assert again["temperature"] != found["temperature"]
    assert (
        transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / "moved" / "model").config.decision
        == again
    )


def test_an_adapter_finds_the_base_of_its_revision(tmp_path, monkeypatch):
    """On the Hub, another adapter may have pushed its decision into a base of the same name."""
    asked = {}

    def load(name, **how):
        asked.update(how, name=name)
        raise OSError("there is no Hub here")

    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "a/base", "revision": "v-1234"})
    )
    monkeypatch.setattr(transformers.AutoModelForAudioClassification, "from_pretrained", load)
    monkeypatch.setattr(transformers.PreTrainedConfig, "get_config_dict", lambda place, revision: ({}, {}))
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(str(tmp_path))
    assert (asked["name"], asked["revision"]) == ("a/base", "v-1234")


def test_names_in_a_decision_have_no_effect_in_a_card(tmp_path):
    run = recorded_run(tmp_path)
    decided(run, rule="empirical", risk=0.99)
    name = "<script>a</script>|b"
    on = {"content": name, "dataset_config": name, "split": name, "utterances": 3}
    stored = {**read(run / "results.json")["decision"], "chosen_on": on, "rule": name}
    change(run / "results.json", lambda results: {**results, "decision": stored})
    change(run / "model" / "config.json", lambda config: {**config, "decision": in_config(stored)})
    text = write_card(run)[0].read_text()
    assert "<script>" not in text and "\\|b" in text.split(HEAD)[1]


def test_a_model_that_learns_on_drops_the_decision_of_before(tmp_path, caplog):
    method = load_method("hard_vote")
    config = tiny_config()
    config.decision = {"temperature": 2.0}
    args = method.arguments_class(
        str(tmp_path), max_steps=1, use_cpu=True, disable_tqdm=True, per_device_train_batch_size=4
    )
    model = tiny_model(config)
    trainer = method(model, args, made_split(8, 0), feature_extractor=extractor(model))
    with caplog.at_level(logging.WARNING, "hf_ambiser"):
        trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    assert "has a decision" in caplog.text and "decision" not in read(tmp_path / "model" / "config.json")


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words,message",
    [
        ([], "nothing is asked for"),
        ([*WORDS, "--split", "d1"], r"has learnt from (\d+) of the \1 utterances of d1"),
        ([*WORDS, "--split", "d3"], "is tested on"),
        ([*WORDS, "--split", "validation", "d3"], "is tested on .* utterances of validation, d3"),
        ([*WORDS, "--split", "validation", "validation"], "in two of these splits"),
        ([*WORDS, "--split", "d7"], "no split 'd7'"),
        (["--risk", "0.01"], "no coverage of these .*the least risk that can be reached is"),
        (["--set-coverage", "0.999"], "need at least 999 utterances"),
        (["--risk", "2"], "risk is 2; allowed"),
        (["--balance", "-1"], "balance is -1.0; allowed is a tau of 0 or more"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(trained, words, message, capsys):
    before = digest(trained)
    assert main(["calibrate", str(trained), *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, last) and last.startswith("hf-ambiser calibrate: ") and digest(trained) == before


def test_a_wrong_value_is_said_before_a_model_answers(trained, monkeypatch, capsys):
    monkeypatch.setattr("hf_ambiser.runs.calibrate.predict_logits", None)
    for words, message in ((["--risk", "20"], "risk is 20"), ([], "nothing is asked for")):
        assert main(["calibrate", str(trained), *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words,message",
    [
        ([], "give the folder of a run, or --model"),
        (["run", "--model", "m"], "give the folder of a run, or --model"),
        (["run", "--none", "--risk", "0.2"], "--none goes with a run alone"),
        (["run", "--none", "--rule", "bound"], "--none goes with a run alone"),
        (["run", "--none", "--risk", "0"], "--none goes with a run alone"),
        (["run", "--none", "--confidence", "0.9"], "--none goes with a run alone"),
        (["run", "--none", "--batch-size", "7"], "--none goes with a run alone"),
        (["--model", "m", "--risk", "0.2"], "--model needs --dataset, --config and --split"),
        (["run", "--config", "x"], "--config goes with --model"),
    ],
)
def test_arguments_that_do_not_go_together(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["calibrate", *words])
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_the_folder_of_a_model_is_not_taken_for_a_run(trained, capsys):
    with pytest.raises(SystemExit) as end:
        main(["calibrate", str(trained / "model"), "--risk", "0.2"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and f"Give --model {trained / 'model'} --dataset DIR --config NAME --split NAME" in said


def test_other_data_is_refused(trained, dataset, tmp_path):
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    change(other / "build_report.json", lambda report: {**report, "content": "0ddba11"})
    with pytest.raises(ValueError, match=r"not the data set .*\(content differ\). Give that one with --dataset"):
        calibrate_run(trained, **ASKED, dataset=other)


def test_a_model_of_a_run_or_no_model_is_refused(trained, dataset, tmp_path):
    with pytest.raises(ValueError, match="is the model of the run .*which also has a card"):
        calibrate_model(trained / "model", dataset, "ipr-strict", ["validation"], **ASKED)
    with pytest.raises(ValueError, match="no folder of a whole model"):
        calibrate_model(tmp_path, dataset, "ipr-strict", ["validation"], **ASKED)


def test_a_stop_between_configuration_and_results_is_seen_and_mended(finished, skilled, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_results", killed)
        with pytest.raises(KeyboardInterrupt):
            calibrate_run(finished, **ASKED)
    with pytest.raises(ValueError, match="do not hold the same decision .*calibrate .* again"):
        write_card(finished)
    monkeypatch.setattr(module, "write_card", lambda run: None)
    assert remove_decision(finished) is True and remove_decision(finished) is False
    calibrate_run(finished, **ASKED)
    assert read_facts(finished).run.decision is not None


@pytest.mark.parametrize(
    "spoil,message",
    [
        (lambda d: "yes", "must hold an object under 'decision'"),
        (lambda d: {**d, "threshold": "0.5"}, "under 'threshold', not '0.5'"),
        (lambda d: {name: value for name, value in d.items() if name != "test"}, "lacks 'test'"),
        (lambda d: {**d, "test": {"d3": {"n": 3, "risk": "low"}}}, "under 'risk', not 'low'"),
        (lambda d: {**d, "chosen_on": {}}, "lacks 'content'"),
        (lambda d: {**d, "balance": 0.5}, "must hold an object under 'balance'"),
        (
            lambda d: {**d, "balance": {"tau": 1, "shares": [0.5, 0.5]}},
            "a tau of 0 or more and 4 shares .* under 'balance'",
        ),
        (lambda d: {**d, "balance": {"tau": -1, "shares": [0.25] * 4}}, "a tau of 0 or more and 4 shares"),
        (lambda d: {**d, "balance": {"tau": 0.5, "shares": ["a"]}}, "under 'shares', not 'a'"),
    ],
)
def test_a_spoilt_decision_names_the_file(calibrated, tmp_path, spoil, message):
    for name in ("arguments.yaml", "results.json"):
        shutil.copyfile(calibrated / name, tmp_path / name)
    change(tmp_path / "results.json", lambda results: {**results, "decision": spoil(results["decision"])})
    with pytest.raises(ValueError, match=rf"results.json .*{message}"):
        FinishedRun.read(tmp_path)


# ---- the report ----------------------------------------------------------------------------------------------------


def decided(folder: Path, **how) -> dict:
    """Give a made run a decision, chosen on its first test split."""
    finished = FinishedRun.read(folder)
    table = finished.predictions(finished.splits[0])
    logits = np.log(table["probabilities"])
    decision = choose_decision(logits, table["votes"], table["consensus"], **how)
    figures = decision_figures(table["probabilities"], table["votes"], table["consensus"], decision)
    on = {"content": "c0ffee", "dataset_config": "x", "split": "validation", "utterances": 48}
    stored = {
        **decision.to_dict(), "chosen_on": on, "rule": how.get("rule") if decision.threshold else None,
        "confidence": None, "validation": figures, "test": {finished.splits[0]: figures},
    }  # fmt: skip
    change(folder / "results.json", lambda results: {**results, "decision": stored})
    return figures


def test_the_report_has_a_table_of_decisions_for_the_runs_that_have_one(tmp_path):
    for fold in ("0", "1"):
        for system in ("slc", "ipr", "meta"):
            made_cell(tmp_path / system / fold, system, fold=fold, family="ipr-strict-kfold2")
    assert decisions_table(group(find(tmp_path)[0])[0], "d3") is None
    how = {"risk": 0.45, "rule": "empirical", "set_coverage": 0.8}
    both = [decided(tmp_path / "slc" / fold, **how) for fold in ("0", "1")]
    one = decided(tmp_path / "ipr" / "0", set_coverage=0.6, balance=0.5)
    table = decisions_table(group(find(tmp_path)[0])[0], "d3")
    rows = {row[0].text: [entry.text for entry in row] for row in table.entries}
    assert {name: row[1:3] for name, row in rows.items()} == {
        "slc": ["2 of 2", "risk 0.45 (empirical), sets 0.8"],
        "ipr": ["1 of 2", "sets 0.6, balance 0.5"],
    }
    assert one["ua"] != one["ua_before"] and both[0]["ua"] is None
    for name in ("wa_before", "wa", "ua_before", "ua", "risk_of_all"):
        assert rows["ipr"][list(table.columns).index(DECIDED[name].title)] == DECIDED[name].text(one[name])
    for name in ("coverage", "set_coverage_votes", "set_size", "risk"):
        shown, place = DECIDED[name], list(table.columns).index(DECIDED[name].title)
        mean = np.mean([figures[name] for figures in both])
        assert rows["slc"][place].startswith(f"{mean * shown.factor:.{shown.digits}f} (")
        assert rows["ipr"][place] == shown.text(one[name])


def test_a_set_of_several_splits_has_its_decisions_too(tmp_path):
    decided(made_whole(tmp_path / "run"), set_coverage=0.7)
    text = write_report(tmp_path, splits=[WHOLE], html=False, progress=False)
    assert text.count("| asked for |") == 1
    assert len(list((tmp_path / "report").glob("*decisions.csv"))) == 1
