"""Several models answer as one, behind every door: the answer is the mean of their distributions."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from helpers.made_data import CLASSES, tiny_model
from helpers.made_model import RATE, noise, saved
from helpers.made_run import built

from hf_ambiser import StreamingClassifier, annotate, open_model, predict, suggest
from hf_ambiser.cli import main
from hf_ambiser.inference.annotate import _published_names
from hf_ambiser.inference.export import export_model
from hf_ambiser.inference.load_model import load_extractor, load_model
from hf_ambiser.inference.model_digest import model_digest
from hf_ambiser.inference.several_models import MemberFailed, SeveralModels
from hf_ambiser.run_folder.predictions import read_predictions


WAVES = [noise(seconds, seed) for seed, seconds in enumerate((0.9, 2.3, 1.4))]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Three models, one of another family."""
    folder = tmp_path_factory.mktemp("models")
    made = [tiny_model(seed=0), tiny_model(seed=1), tiny_model(seed=2, family="blstm")]
    return [str(saved(folder / f"m{n}", model)) for n, model in enumerate(made)]


def answers(model, inputs=WAVES, **options):
    found = predict(list(inputs), model, sampling_rate=RATE, progress=False, **options)
    return np.array([list(one.probabilities.values()) for one in found])


def mean_of(models, inputs=WAVES, **options):
    """Answer by answer and class by class."""
    each = [answers(model, inputs, **options).tolist() for model in models]
    return [[sum(column) / len(each) for column in zip(*rows, strict=True)] for rows in zip(*each, strict=True)]


def with_config(folder: str, out: Path, **changes) -> str:
    """A copy of a model whose config.json says something else."""
    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, **changes}))
    return str(out)


def test_the_answer_is_the_mean_of_the_distributions_whatever_the_batch(models):
    expected = mean_of(models)
    for size in (1, 16):
        np.testing.assert_allclose(answers(models, batch_size=size), expected, atol=1e-5)
    assert np.ptp([answers(model) for model in models], axis=0).max() > 0.01
    (found,) = predict(WAVES[0], models, sampling_rate=RATE, progress=False)
    assert found.emotion == max(found.probabilities, key=found.probabilities.get)
    assert found.similarities is None


def test_of_a_long_recording_each_window_has_the_mean(models):
    (found,) = predict(WAVES[1], models, sampling_rate=RATE, window=1.0, hop=0.5, progress=False)
    each = [predict(WAVES[1], one, sampling_rate=RATE, window=1.0, hop=0.5, progress=False)[0] for one in models]
    for place, window in enumerate(found.windows):
        mean = np.mean([list(one.windows[place].distribution.probabilities.values()) for one in each], axis=0)
        np.testing.assert_allclose(list(window.distribution.probabilities.values()), mean, atol=1e-5)
    stream = StreamingClassifier(models, 1.0, 0.5, sampling_rate=RATE)
    heard = [*stream.feed(WAVES[1]), *stream.finish()]
    assert [one.emotion for one in heard] == [one.emotion for one in found.windows]


def test_each_model_has_its_own_temperature_and_no_stored_threshold_acts(models, tmp_path):
    hot = with_config(models[0], tmp_path / "hot", decision={"temperature": 3.0, "threshold": 0.999})
    both = [hot, models[1]]
    # Alone, the first one abstains, and its distribution is the one of its temperature.
    assert all(one.status == "abstains" for one in predict(WAVES, hot, sampling_rate=RATE, progress=False))
    np.testing.assert_allclose(answers(both), mean_of(both), atol=1e-5)
    assert not np.allclose(answers(both), answers([models[0], models[1]]), atol=1e-4)
    assert all(one.status == "answered" for one in predict(WAVES, both, sampling_rate=RATE, progress=False))
    assert all(
        one.status == "abstains" for one in predict(WAVES, both, sampling_rate=RATE, threshold=0.999, progress=False)
    )
    assert model_digest(open_model(both, "cpu")) != model_digest(open_model(models[:2], "cpu"))


def test_a_balance_acts_if_all_have_one_with_the_same_tau(models, tmp_path):
    def balanced(number: int, tau: float, shares: list[float], **changes) -> str:
        out = tmp_path / f"{number} {tau}"
        return with_config(models[number], out, decision={"balance": {"tau": tau, "shares": shares}}, **changes)

    backwards = list(reversed(CLASSES))
    names = {"id2label": dict(enumerate(backwards)), "label2id": {name: n for n, name in enumerate(backwards)}}
    both = [balanced(0, 2.0, [0.4, 0.3, 0.2, 0.1]), balanced(1, 2.0, [0.1, 0.2, 0.5, 0.2], **names)]
    decision = open_model(both, "cpu").decision()
    assert (decision.tau, decision.threshold) == (2.0, None)
    assert decision.shares == pytest.approx([0.3, 0.4, 0.2, 0.1])  # those of the second one turned round
    (found,) = predict(WAVES[0], both, sampling_rate=RATE, progress=False)
    beside = [p / m**2 for p, m in zip(found.probabilities.values(), decision.shares, strict=True)]
    assert found.emotion == list(found.probabilities)[int(np.argmax(beside))]
    for other in (models[1], balanced(1, 1.0, [0.25] * 4)):
        assert open_model([both[0], other], "cpu").decision(0.2).tau == 0.0
    # A caller's tau acts whatever each has, if each has shares.
    mixed = open_model([both[0], balanced(1, 0.0, [0.1, 0.2, 0.3, 0.4])], "cpu")
    assert mixed.decision().tau == 0.0 == open_model(both, "cpu").decision(balance=0).tau
    asked = mixed.decision(0.2, balance=0.5)
    assert (asked.tau, asked.threshold) == (0.5, 0.2) and asked.shares == pytest.approx([0.25, 0.25, 0.25, 0.25])
    with pytest.raises(ValueError, match=f"model {models[1]}: balance is 0.5, and the model stores no shares"):
        open_model([both[0], models[1]], "cpu").decision(balance=0.5)
    with pytest.raises(ValueError, match="^balance is -1; allowed"):  # the caller's fault, and no model's
        open_model(both, "cpu").decision(balance=-1)


def test_models_that_were_put_together_before_count_one_by_one(models):
    nested = open_model([open_model(models[:2], "cpu"), models[2]], "cpu")
    assert nested.names == tuple(models)
    np.testing.assert_allclose(answers(nested), mean_of(models), atol=1e-5)
    with pytest.raises(ValueError, match="is given twice"):
        open_model([models[:2], models[0]], "cpu")


def test_the_shortest_window_is_taken(models, tmp_path):
    short = with_config(models[1], tmp_path / "short", segment_seconds=1.0)
    assert open_model(short, "cpu").window == 1.0 < open_model(models[0], "cpu").window
    assert open_model([models[0], short], "cpu").window == 1.0


def test_a_stored_temperature_that_cannot_act_is_said_of_its_model(models, tmp_path):
    bad = with_config(models[1], tmp_path / "bad", decision={"temperature": -1.0})
    with pytest.raises(ValueError, match=r"model .*bad: config.json: decision.temperature is -1.0; allowed"):
        open_model([models[0], bad], "cpu")
    idle = with_config(models[1], tmp_path / "idle", decision={"threshold": 7})  # acts on nothing here
    np.testing.assert_allclose(answers([models[0], idle]), mean_of(models[:2]), atol=1e-5)


def test_a_fault_of_our_model_is_no_refusal_of_a_recording(models):
    """Models of others may refuse a recording, which is an answer; beside one, ours still fail aloud."""
    ours, theirs = open_model(models[0], "cpu"), open_model(models[1], "cpu")
    object.__setattr__(theirs, "ours", False)
    both = SeveralModels.of([ours, theirs])
    np.testing.assert_allclose(answers(both), mean_of(models[:2]), atol=1e-5)

    def broken(*_):
        raise RuntimeError("out of memory")

    object.__setattr__(ours, "outputs_of", broken)
    with pytest.raises(MemberFailed, match=r"model .* fails: out of memory"):
        answers(both)
    object.__setattr__(ours, "outputs_of", type(ours).outputs_of.__get__(ours))
    object.__setattr__(theirs, "outputs_of", broken)
    (refused,) = predict(WAVES[0], both, sampling_rate=RATE, progress=False)
    assert refused.status == "refused"


def test_classes_go_by_name(models, tmp_path):
    turned = dict(enumerate(reversed(CLASSES)))
    other = with_config(
        models[1], tmp_path / "turned", id2label=turned, label2id={name: n for n, name in turned.items()}
    )
    opened = open_model([models[0], other], "cpu")
    assert opened.classes == tuple(CLASSES)
    first, second = answers(models[0]), answers(models[1])[:, ::-1]
    np.testing.assert_allclose(answers(opened), (first + second) / 2, atol=1e-5)


def linked(folder: str, place: Path) -> str:
    place.symlink_to(folder)
    return str(place)


def test_two_models_that_were_loaded_before_are_two(models):
    loaded = [load_model(model) for model in models[:2]]
    opened = [open_model(model, "cpu", extractor=load_extractor(models[0])) for model in loaded]
    np.testing.assert_allclose(answers(open_model(opened)), mean_of(models[:2]), atol=1e-5)
    with pytest.raises(ValueError, match="is given twice"):
        open_model([opened[0], open_model(loaded[0], "cpu", extractor=opened[0].extractor)])


def test_one_model_in_a_list_is_that_model(models):
    opened = open_model(models[:1], "cpu")
    assert not isinstance(opened, SeveralModels) and opened.name == models[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda models, tmp: [], "model is an empty list; allowed: a model, a list of models, or None"),
        (lambda models, tmp: [models[0], models[0]], "is given twice, so it would count twice. Name it once"),
        (lambda models, tmp: [models[0], os.path.relpath(models[0])], "is given twice, so it would count twice"),
        (lambda models, tmp: [models[0], linked(models[0], tmp / "x")], "is given twice, so it would count twice"),
        (lambda models, tmp: [open_model(models[0], "cpu")] * 2, "is given twice, so it would count twice"),
        (
            lambda models, tmp: [
                models[0],
                with_config(models[1], tmp / "x", id2label={0: "a", 1: "b", 2: "c", 3: "d"}, label2id=None),
            ],
            r"has the classes \['anger'.*has \['a', 'b', 'c', 'd'\]; a mean of answers needs the same classes",
        ),
    ],
)
def test_models_that_cannot_answer_together_are_refused(models, tmp_path, change, reason):
    with pytest.raises(ValueError, match=reason):
        open_model(change(models, tmp_path), "cpu")


@pytest.mark.parametrize("given", [{"a", "b"}, {"a": 1}.keys(), iter(["a"]), b"a", 3])
def test_what_is_no_list_is_said(given):
    with pytest.raises(ValueError, match=r"model is a \w+; allowed: the place of a model, a list or tuple of places"):
        open_model(given, "cpu")


def test_arguments_that_would_not_act_are_refused(models):
    opened = [open_model(model, "cpu") for model in models[:2]]
    with pytest.raises(ValueError, match="extractor is given beside a list of models"):
        open_model(models[:2], "cpu", extractor=opened[0].extractor)
    with pytest.raises(ValueError, match="device 'nonsense' is not here"):
        open_model(opened, "nonsense")
    with pytest.raises(ValueError, match="is several models and says no embedding; leave embeddings out"):
        predict(WAVES[0], opened, sampling_rate=RATE, embeddings=True, progress=False)


def test_models_of_other_sampling_rates_are_refused(models):
    one, other = (open_model(model, "cpu") for model in models[:2])
    object.__setattr__(other, "rate", 8000)
    with pytest.raises(ValueError, match=r"takes 16000 Hz and model .* 8000 Hz; a mean of answers needs one sampling"):
        SeveralModels.of([one, other])


def test_one_model_is_exported_at_a_time(models, tmp_path):
    with pytest.raises(ValueError, match="one model is exported at a time, and these are 3"):
        export_model(open_model(models, "cpu"), tmp_path / "out")


def test_the_command_predicts_with_each_model_that_is_named(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", WAVES[0], RATE)
    words = [word for model in models for word in ("--model", model)]
    assert main(["predict", "a.wav", *words, "--format", "jsonl", "--no-progress"]) == 0
    told = json.loads(capsys.readouterr().out)
    (expected,) = predict("a.wav", models, progress=False)
    assert told["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)


def test_a_corpus_is_annotated_with_the_mean_and_the_manifest_names_all(models, tmp_path):
    (tmp_path / "speech").mkdir()
    soundfile.write(tmp_path / "speech" / "a.wav", WAVES[0], RATE)
    manifest = annotate(tmp_path / "speech", tmp_path / "out", models, progress=False, device="cpu")
    assert manifest["model"]["name"] == "m0 + m1 + m2"
    assert manifest["model"]["kind"].startswith("mean of ambiser_")
    assert [one["name"] for one in manifest["model"]["members"]] == ["m0", "m1", "m2"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "The label is the mean of the distributions of these 3 models" in card and "| m2 | `ambiser_blstm` |" in card
    )
    turned = annotate(tmp_path / "speech", tmp_path / "out", models[::-1], progress=False, device="cpu")
    assert turned["model"]["digest"] == manifest["model"]["digest"]  # the order changes no answer
    opened = [open_model(model, "cpu") for model in models]
    assert annotate(tmp_path / "speech", tmp_path / "o2", opened, progress=False)["model"]["name"] == "m0 + m1 + m2"
    (row,) = pq.read_table(tmp_path / "out" / manifest["shards"][0]["file"]).to_pylist()
    np.testing.assert_allclose(row["soft_label"], mean_of(models, WAVES[:1])[0], atol=1e-5)
    with pytest.raises(ValueError, match="is several models and says no embedding; leave embeddings out"):
        annotate(tmp_path / "speech", tmp_path / "x", models, embeddings=True, progress=False, device="cpu")
    with pytest.raises(ValueError, match="model"):
        annotate(tmp_path / "speech", tmp_path / "out", models[:2], progress=False, device="cpu")


def test_models_of_one_name_are_told_apart_by_the_folders_above():
    assert _published_names(["/a/ipr/0", "/a/soft/0"]) == ["ipr/0", "soft/0"]
    assert _published_names(["/a/ipr/0"]) == ["0"]
    assert _published_names(["account/name", "/b/x"]) == ["account/name", "x"]


def test_a_built_set_is_scored_with_the_mean(models, tmp_path, capsys):
    dataset = built(tmp_path / "data", n=40, configs=("ipr-strict",))
    told = []
    for number, named in enumerate((models[:1], models[1:2], models[:2])):
        words = [word for model in named for word in ("--model", model)]
        out, table = tmp_path / f"{number}.json", tmp_path / f"{number}.parquet"
        asked = ["--dataset", str(dataset), "--config", "ipr-strict", "--split", "d3"]
        assert main(["evaluate", *words, *asked, "--out", str(out), "--predictions", str(table)]) == 0
        told.append((json.loads(out.read_text()), read_predictions(table)))
    first, second, both = (table["probabilities"] for _, table in told)
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-6)
    assert told[2][0]["all"]["js"] < (told[0][0]["all"]["js"] + told[1][0]["all"]["js"]) / 2
    capsys.readouterr()
    assert main(["evaluate", "--model", models[0], "--model", models[0], *asked]) == 2
    assert "is given twice, so it would count twice" in capsys.readouterr().err
    found = suggest(dataset, models[:2], n=2, progress=False)
    assert found.source == "model m0 + model m1"
