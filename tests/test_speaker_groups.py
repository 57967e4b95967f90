"""Sex and age of the speakers: beside the data set, in the run folder, and the figures by group in card and report."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.crema_d_tree import csv_row, encode, made_corpus, tone, write_tree
from helpers.iemocap_tree import block, votes, write_dialog
from helpers.made_report import made_cell, made_clips, made_study
from helpers.made_run import built, fields
from scipy.spatial.distance import jensenshannon

from hf_ambiser.cards import read_facts, write_card
from hf_ambiser.cards.speaker_groups import speaker_group_limits, speaker_groups
from hf_ambiser.data.build import build
from hf_ambiser.data.label_noise import LabelNoise, add_label_noise
from hf_ambiser.data.push import dataset_publication
from hf_ambiser.data.schema import Utterance
from hf_ambiser.data.speakers import read_speakers, speaker_attributes, write_speakers
from hf_ambiser.metrics.speaker_groups import MIN_SPEAKERS, MIN_UTTERANCES, NOT_KNOWN, age_band, figures_by_group
from hf_ambiser.report.write import write_report
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run


pytestmark = pytest.mark.usefixtures("blank_figures")
torch.set_num_threads(1)
PEOPLE = {"a": {"sex": "female", "age": 29}, "b": {"sex": "female", "age": 30}, "c": {"sex": "male"}, "d": {"age": 74}}


# ---- the figures ---------------------------------------------------------------------------------------------------


def answers(n: int, seed: int = 0, speakers: str = "abcde") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random answers and votes; some utterances have no consensus, and the last three have no votes."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(5, [0.5, 0.3, 0.2], size=n).astype(float)
    counts[-3:] = 0
    top = counts == counts.max(axis=1, keepdims=True)
    label = np.where(top.sum(axis=1) == 1, counts.argmax(axis=1), -1)
    return rng.dirichlet(np.ones(3), size=n), counts, label, np.array([speakers[i % len(speakers)] for i in range(n)])


@pytest.mark.parametrize("attribute", ["sex", "age"])
def test_the_figures_are_those_of_a_slow_count(attribute):
    probabilities, counts, label, speaker = answers(400)
    found = figures_by_group(probabilities, counts, label, speaker, PEOPLE, attribute)
    groups = {"sex": {"female": "ab", "male": "c", NOT_KNOWN: "de"},
              "age": {"under 30": "a", "30 to 49": "b", "50 or older": "d", NOT_KNOWN: "ce"}}[attribute]  # fmt: skip
    assert list(found) == list(groups)
    for name, members in groups.items():
        one, recalls, right, distances = found[name], {}, [], []
        rows = [i for i in range(400) if speaker[i] in members]
        assert (one.n_utterances, one.n_speakers) == (len(rows), len(members))
        for i in rows:
            if label[i] >= 0:
                right.append(probabilities[i].argmax() == label[i])
                recalls.setdefault(label[i], []).append(right[-1])
            if counts[i].sum():
                distances.append(jensenshannon(counts[i] / counts[i].sum(), probabilities[i], base=2) ** 2)
        if len(members) < MIN_SPEAKERS:
            assert one.wa is one.ua is one.js is None
        else:
            assert one.wa == pytest.approx(np.mean(right))
            assert one.ua == pytest.approx(np.mean([np.mean(hits) for hits in recalls.values()]))
            assert one.js == pytest.approx(np.mean(distances))


@pytest.mark.parametrize("seed", range(5))
def test_every_utterance_is_in_one_group(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 300))
    people = {name: known for name, known in PEOPLE.items() if rng.random() < 0.7}
    given = answers(n, seed)
    for attribute in ("sex", "age"):
        found = figures_by_group(*given, people, attribute)
        known = any(attribute in people.get(name, {}) for name in given[3])
        assert sum(one.n_utterances for one in found.values()) == (n if known else 0)
        assert sum(one.n_speakers for one in found.values()) == (len(set(given[3])) if known else 0)


def test_a_group_has_figures_from_thirty_utterances_of_two_speakers_on():
    people = {"a": {"sex": "female"}, "b": {"sex": "female"}}
    for n, enough in ((MIN_UTTERANCES - 1, False), (MIN_UTTERANCES, True)):
        shares, counts = np.full((n, 2), 0.5), np.tile([2.0, 1.0], (n, 1))
        both, one = (np.array((names * n)[:n]) for names in (["a", "b"], ["a"]))
        found = figures_by_group(shares, counts, np.zeros(n, dtype=int), both, people, "sex")["female"]
        assert (found.n_utterances, found.wa, found.ua) == (n, *((1.0, 1.0) if enough else (None, None)))
        assert (found.js is not None) == enough
        alone = figures_by_group(shares, counts, np.zeros(n, dtype=int), one, people, "sex")["female"]
        assert (alone.n_utterances, alone.n_speakers, alone.wa, alone.js) == (n, 1, None, None)
    # Votes without a consensus count for JS only.
    tied = figures_by_group(shares, np.ones((n, 2)), np.full(n, -1), both, people, "sex")["female"]
    assert (tied.wa, tied.ua, tied.js) == (None, None, 0.0)
    none = figures_by_group(shares, np.zeros((n, 2)), np.full(n, -1), both, people, "sex")["female"]
    assert (none.n_utterances, none.js) == (n, None)
    assert figures_by_group(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros(0), people, "sex") == {}


def test_an_age_is_in_one_band():
    bands = [age_band(age) for age in (0, 29, 30, 49, 50, 100)]
    assert bands == ["under 30", "under 30", "30 to 49", "30 to 49", "50 or older", "50 or older"]


# ---- beside the data set -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crema_d(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crema_d")
    build("crema_d", made_corpus(folder / "release"), folder / "built", configs=["slc-strict"], progress=False)
    return folder / "built"


def test_the_speakers_stand_beside_the_data_set_and_not_in_it(crema_d, tmp_path):
    assert read_speakers(crema_d) == {
        "1001": {"sex": "female", "age": 20}, "1002": {"sex": "male", "age": 21}, "1003": {"sex": "female", "age": 22},
        "1004": {"sex": "male", "age": 23}, "1005": {"sex": "female", "age": 24}, "1006": {"sex": "male", "age": 25},
    }  # fmt: skip
    # The same release without its file of speakers gives the same data set.
    bare = made_corpus(tmp_path / "release")
    (bare / "VideoDemographics.csv").unlink()
    report = build("crema_d", bare, tmp_path / "built", configs=["slc-strict"], progress=False)
    assert not (tmp_path / "built" / "speakers.csv").exists() and read_speakers(tmp_path / "built") == {}
    assert report.content["content"] in (crema_d / "build_report.json").read_text()


def test_the_speakers_are_published_and_copied_with_the_data_set(crema_d, tmp_path):
    publication = dataset_publication(crema_d)
    assert publication.files["speakers.csv"] == crema_d / "speakers.csv" and publication.owned("speakers.csv")
    add_label_noise(crema_d, tmp_path / "noisy", LabelNoise("slc-strict", share=0.2), progress=False)
    assert (tmp_path / "noisy" / "speakers.csv").read_bytes() == (crema_d / "speakers.csv").read_bytes()


def test_what_is_not_known_is_left_empty_and_what_contradicts_is_refused(tmp_path):
    write_speakers(tmp_path, PEOPLE)
    with open(tmp_path / "speakers.csv", newline="") as file:
        assert list(csv.reader(file))[3:] == [["c", "male", ""], ["d", "", "74"]]
    assert read_speakers(tmp_path) == PEOPLE
    (tmp_path / "speakers.csv").write_text("speaker,sex,age\na,female,old\n")
    with pytest.raises(ValueError, match="age 'old' of speaker a must be whole years"):
        read_speakers(tmp_path)

    def utterance(name: str, **extra: object) -> Utterance:
        return Utterance(name, "s", "", "made", [], about_speaker=extra)

    assert speaker_attributes([utterance("u", sex=""), utterance("v", other=1)]) == {}
    with pytest.raises(ValueError, match="v: speaker s is {'age': 31}, but another utterance says {'age': 30}"):
        speaker_attributes([utterance("u", age=30), utterance("v", age=31)])


def test_iemocap_says_the_sex_in_the_speakers_name(tmp_path):
    from hf_ambiser.data.corpora import iemocap

    said = votes("Neutral", "Neutral")
    names = ["Ses01F_impro01_F000", "Ses01F_impro01_M000"]  # the second one speaks, the first wore the markers
    write_dialog(tmp_path, "Ses01F_impro01", {name: block(name, "neu", *said) for name in names})
    assert speaker_attributes(iemocap.scan(tmp_path).utterances) == {
        "Ses01F": {"sex": "female"}, "Ses01M": {"sex": "male"},
    }  # fmt: skip


# ---- the report ----------------------------------------------------------------------------------------------------


def test_a_report_has_the_figures_by_group_over_all_folds(tmp_path):
    folder = made_study(tmp_path, {"ipr": 1.0, "hard_vote": 0.5})
    text = write_report(folder, html=False, progress=False)
    assert "speakers in it" not in text  # a run folder without speakers is read as ever
    everybody = [f"f{fold}s{i}" for fold in range(3) for i in range(4)]
    people = {name: {"sex": ("female", "male")[name[-1] == "3"], "age": 20} for name in everybody}
    del people["f0s0"]["age"]
    for path in folder.rglob("results.json"):
        RunFolder(path.parent).write_speakers(people)
    text = write_report(folder, html=False, progress=False)
    file = next((folder / "report").glob("*_d3_speaker_groups.csv"))
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [(row["speakers"], row["utterances"], row["speakers in it"]) for row in rows if row["system"] == "ipr"] == [
        ("sex: female", "108", "9"), ("sex: male", "36", "3"), ("age: under 30", "132", "11"),
        ("age: not known", "12", "1"),
    ]  # fmt: skip
    assert "| age: not known | ipr | 12 | 1 | too few | too few | too few |" in text

    cells = [FinishedRun.read(path.parent) for path in folder.rglob("results.json") if "/ipr/" in str(path)]
    right: dict[int, list[bool]] = {}
    for cell in cells:
        table = cell.predictions("d3")
        for name, shares, label in zip(table["speaker"], table["probabilities"], table["consensus"], strict=True):
            if people[name]["sex"] == "female" and label >= 0:
                right.setdefault(cell.seed, []).append(shares.argmax() == label)
    means = [100 * np.mean(hits) for hits in right.values()]
    (row,) = [row for row in rows if (row["speakers"], row["system"]) == ("sex: female", "ipr")]
    assert float(row["WA %: mean"]) == pytest.approx(np.mean(means))
    assert float(row["WA %: sd"]) == pytest.approx(np.std(means, ddof=1))


def test_a_single_run_has_them_without_an_interval(tmp_path):
    made_cell(tmp_path / "run", clips={"d3": made_clips(n=80)})
    RunFolder(tmp_path / "run").write_speakers({f"fNones{i}": {"sex": "female"} for i in range(4)})
    text = write_report(tmp_path, html=True, progress=False)
    assert "| sex: female | ipr | 80 | 4 | " in text and "age:" not in text


# ---- run folder and card -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run on a release in CREMA-D's form: thirty utterances by each of twelve actors, of whom four are tested."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    rows, clips = [], {}
    for number in range(12 * 30):
        name = f"{1001 + number % 12}_T{chr(65 + number // 12 // 26)}{chr(65 + number // 12 % 26)}_ANG_XX"
        counts = [0] * 6
        counts[(0, 3, 4, 5)[number // 12 % 4]] = 5
        counts[int(rng.integers(6))] += int(rng.integers(5))
        rows.append(csv_row(number, name, counts))
        clips[f"AudioWAV/{name}.wav"] = encode(tone(0.1, seed=number))
    write_tree(folder / "release", rows, clips)
    build("crema_d", folder / "release", folder / "data", "crema-d-4", ["kfold3-strict"], progress=False)
    given = fields(
        folder / "data", folder / "run", method="hard_vote", warmup_epochs=..., dataset_config="kfold3-strict-0",
        train_splits=["train"], test_splits=["test"], num_train_epochs=1,
    )  # fmt: skip
    run(RunArguments.from_mapping(given))
    return folder / "run"


def test_a_run_keeps_the_speakers_and_its_card_has_the_figures(finished):
    facts = read_facts(finished)
    assert facts.run.speakers == read_speakers(finished.parent / "data") and len(facts.run.speakers) == 12
    assert RunFolder(finished).speakers in RunFolder(finished).recorded
    table = facts.run.predictions("test")
    people = facts.run.speakers
    text = (finished / "model" / "README.md").read_text()
    # The test split of this fold has three women, and one man, whose utterances alone say nothing of men.
    rows = np.array([people[name]["sex"] == "female" for name in table["speaker"]])
    labelled = rows & (table["consensus"] >= 0)
    wa = 100 * (table["probabilities"].argmax(axis=1) == table["consensus"])[labelled].mean()
    assert f"| sex: female | 90 | 3 | {wa:.1f} |" in text and (rows.sum(), len(set(table["speaker"][rows]))) == (90, 3)
    assert "| sex: male | 30 | 1 | - | - | - |" in text
    assert "Figures by sex and age are there, too" in text and "whatever their origin was **not measured**" in text


def test_a_card_without_speakers_says_that_groups_were_not_measured(finished, tmp_path):
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    RunFolder(tmp_path / "run").speakers.unlink()
    facts = read_facts(tmp_path / "run")
    assert facts.run.speakers == {} and speaker_groups(facts, "test") == ""
    assert speaker_group_limits(facts).startswith("Sex, age and origin of the speakers are not in the data set")
    text = write_card(tmp_path / "run")[0].read_text()
    assert "| sex: " not in text and "are not in the data set" in text


def test_a_run_on_the_simulated_corpus_knows_nobody(tmp_path):
    dataset = built(tmp_path)
    assert not (dataset / "speakers.csv").exists()
    run(RunArguments.from_mapping(fields(dataset, tmp_path / "run", num_train_epochs=2)))
    assert not RunFolder(tmp_path / "run").speakers.exists()
    assert "are not in the data set" in (tmp_path / "run" / "model" / "README.md").read_text()
