"""Labels that moved, clips that can be heard, figures, and the one page that holds them all."""

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from helpers.made_report import K, made_cell, made_clips, made_dataset, made_study, made_trajectory

from hf_ambiser.label_analysis.history import label_history
from hf_ambiser.report import embeddings as embeddings_module
from hf_ambiser.report import figures
from hf_ambiser.report.embeddings import NEEDS_SKLEARN, NO_EMBEDDINGS, embeddings
from hf_ambiser.report.groups import find, group
from hf_ambiser.report.sweeps import find_sweeps
from hf_ambiser.report.utterance_audio import audio_of
from hf_ambiser.report.utterances import FAR, MOVED, utterance_cards
from hf_ambiser.report.write import write_report
from hf_ambiser.run_folder.columns import read_columns, write_columns
from hf_ambiser.run_folder.reference import read_reference
from hf_ambiser.run_folder.trajectory import read_trajectory


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Clips that train in one fold and are tested in another.
TRAINED = [f"d3-{fold}-{i:03d}" for fold in ("0", "1") for i in range(12)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two systems on two folds with two seeds; `ipr` labels clips, half of which are tested in the other fold."""
    folder = made_study(
        tmp_path_factory.mktemp("study"), {"ipr": 1.0, "base": 0.3}, folds=2, family="ipr-strict-kfold2", embedding=6,
        clips=None,
    )  # fmt: skip
    for fold in range(2):
        for seed in range(2):
            run = folder / "cells" / "ipr" / f"ipr-strict-kfold2-{fold}" / f"seed-{seed}"
            other = [name for name in TRAINED if not name.startswith(f"d3-{fold}-")]
            made_trajectory(run, seed=10 * fold + seed, ids=[*other, *(f"never-tested-{i}" for i in range(12))])
    made_dataset(folder / "data" / "made", [*TRAINED, "never-tested-11"])
    return folder


def only_group(folder):
    (one,) = group(find(folder)[0])
    return one


def js(p, q) -> float:
    m = (p + q) / 2
    return sum(0.5 * a * np.log2(a / c) for x in (p, q) for a, c in zip(x, m, strict=True) if a > 0)


def test_labels_that_moved_most_are_those_of_a_slow_loop(study):
    cells = only_group(study).systems["ipr"]
    history = label_history(cells, most=5)
    given: dict[str, list] = {}
    votes = {}
    for cell in cells:
        table, reference = read_trajectory(cell.folder, 4), read_reference(cell.folder)
        for i, name in enumerate(table["id"]):
            votes[name] = reference["reference_votes"][reference["row"][name]]
            if table["soft_label"][i].sum() > 0:
                given.setdefault(name, []).append(table["soft_label"][i] / table["soft_label"][i].sum())
    moved = {name: js(votes[name] / votes[name].sum(), np.mean(labels, axis=0)) for name, labels in given.items()}
    expected = sorted(moved, key=lambda name: -moved[name])[:5]
    assert [clip.id for clip in history.utterances] == expected and history.n_utterances == len(moved)
    for clip in history.utterances:
        assert clip.moved == pytest.approx(moved[clip.id], abs=1e-6) and clip.runs == len(given[clip.id])
        np.testing.assert_allclose(clip.label, np.mean(given[clip.id], axis=0), atol=1e-6)
        assert clip.over_epochs.shape == (4, K) and not clip.over_epochs[0].any()  # the warm-up
        np.testing.assert_allclose(clip.over_epochs[-1], clip.label, atol=1e-6)
    assert label_history(only_group(study).systems["base"]) is None


def test_epochs_of_a_run_are_those_of_a_slow_loop(study):
    cell = only_group(study).systems["ipr"][1]
    (run,) = label_history([cell]).epochs
    assert (
        run.epoch.tolist() == [1, 2, 3, 4] and np.isnan(run.differ[0]) and np.isnan(run.entropy[0]) and run.has_labels
    )
    reference = read_reference(cell.folder)
    for epoch in (2, 3, 4):
        table = read_trajectory(cell.folder, epoch)
        differ, entropies = [], []
        for i, name in enumerate(table["id"]):
            if table["observed"][i].sum() == 0 and table["soft_label"][i].sum() > 0:
                p = table["soft_label"][i].astype(float) / table["soft_label"][i].sum()
                entropies.append(-sum(x * np.log2(x) for x in p if x > 0))
                consensus = reference["reference_label"][reference["row"][name]]
                if consensus >= 0:
                    differ.append(table["soft_label"][i].argmax() != consensus)
        assert run.differ[epoch - 1] == pytest.approx(np.mean(differ))
        assert run.entropy[epoch - 1] == pytest.approx(np.mean(entropies), abs=1e-6)


def test_a_changed_label_of_a_labelled_clip_has_moved_and_an_unchanged_one_has_not(tmp_path):
    run = made_cell(tmp_path, "slc")
    made_trajectory(run, soft=False, n=12)
    path = run / "trajectory" / "epoch_0004.parquet"
    table = read_columns(path)
    labelled = np.flatnonzero(table["observed"].sum(axis=1))
    assert not {f"train-{i:03d}" for i in labelled} & {
        clip.id for clip in label_history([only_group(tmp_path).first]).utterances
    }
    target = table["target"].copy()
    target[labelled[0]] = 1 / K
    write_columns(path, {**table, "id": table["id"].tolist(), "target": target})
    found = {clip.id: clip for clip in label_history([only_group(tmp_path).first]).utterances}
    moved = found[f"train-{labelled[0]:03d}"]
    np.testing.assert_allclose(moved.label, 1 / K)
    assert moved.answer is None  # this trajectory does not say what the model itself answered


def test_cards_hold_the_answer_of_the_fold_that_held_the_clip_out(study):
    one = only_group(study)
    found = utterance_cards(one, ["ipr", "base"], {"ipr": label_history(one.systems["ipr"])}, ["d3", "test_clear"])
    moved = [card for card in found if card.kind == MOVED]
    tested = [card for card in moved if card.id.startswith("d3-")]
    assert tested and len(tested) < len(moved) and {card.system for card in moved} == {"ipr"}
    for card in moved:
        if card.id.startswith("never"):
            assert card.speaker == "" and not card.held_out
            answers = []
            for cell in one.systems["ipr"]:
                table = read_trajectory(cell.folder, 4)
                row = table["id"].tolist().index(card.id)
                answers += [table["classifier_label"][row]] if table["soft_label"][row].any() else []
            np.testing.assert_allclose(card.prediction, np.bincount(answers, minlength=K) / len(answers))
            assert len(answers) == card.runs
            continue
        assert card.held_out
        fold = card.id.split("-")[1]
        answers = []
        for cell in (c for c in one.systems["ipr"] if c.fold == fold):
            read = cell.predictions("d3")
            answers.append(read["probabilities"][read["id"].tolist().index(card.id)])
        np.testing.assert_allclose(card.prediction, np.mean(answers, axis=0))
    far = [card for card in found if card.kind == FAR and card.system == "base"]
    assert len(far) == 20 and [c.distance for c in far] == sorted((c.distance for c in far), reverse=True)
    for card in far[:3]:
        assert (
            card.distance == pytest.approx(js(card.votes / card.votes.sum(), card.prediction)) and card.label is None
        )


def test_clips_are_heard_from_the_data_set_of_the_run(study):
    cell = only_group(study).first
    audio = audio_of(cell, ["d3-1-003", "never-tested-11", "not there"], study)
    assert (
        set(audio.utterances) == {"d3-1-003", "never-tested-11"}
        and audio.why_not == "1 utterances are not in the data set"
    )
    samples, rate = soundfile.read(io.BytesIO(audio.utterances["d3-1-003"].data))
    expected = 0.3 * np.sin(2 * np.pi * (200 + 10 * TRAINED.index("d3-1-003")) * np.arange(4800) / 16000)
    assert rate == 16000
    np.testing.assert_allclose(samples, expected, atol=1e-4)
    assert audio.utterances["d3-1-003"].seconds == pytest.approx(0.3)


def test_audio_is_bounded_and_its_absence_explained(study, tmp_path):
    cell = only_group(study).first
    size = len(audio_of(cell, TRAINED[:1], study).utterances[TRAINED[0]].data)
    few = audio_of(cell, [*TRAINED, *TRAINED], study, most_bytes=5 * size)
    assert 1 <= len(few.utterances) <= 3 and sum(2 * len(c.data) for c in few.utterances.values()) <= 5 * size
    assert f"{24 - len(few.utterances)} utterances have no player" in few.why_not
    assert audio_of(cell, [], study).why_not == ""
    other = made_cell(tmp_path / "runs" / "x")
    gone = only_group(tmp_path / "runs").first
    assert audio_of(gone, ["a"], tmp_path).why_not == "the data set data/made is not here any more"
    made_dataset(tmp_path / "data" / "made", ["a"], content="another")
    assert "was built again" in audio_of(gone, ["a"], tmp_path).why_not
    (other / "arguments.yaml").unlink()
    assert "does not say" in audio_of(only_group(tmp_path / "runs").first, ["a"], tmp_path).why_not


def test_every_figure_is_drawn(study, tmp_path):
    one = only_group(study)
    history = {"ipr": label_history(one.systems["ipr"])}
    drawn = [
        figures.confusion(one, "d3", tmp_path / "a.png"),
        figures.reliability(one, "d3", tmp_path / "b.png"),
        figures.entropy(one, "d3", tmp_path / "c.png"),
        figures.trajectories(one, history, tmp_path / "d.png"),
    ]
    for path in drawn:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 8000
    assert figures.trajectories(one, {}, tmp_path / "e.png") is None
    assert not list(tmp_path.glob("*.part"))
    for mu in (0.1, 0.2, 0.3):
        made_cell(tmp_path / "runs" / str(mu), f"mu{mu}", arguments={"mu": mu})
    swept = only_group(tmp_path / "runs")
    (sweep,) = find_sweeps(swept)
    assert figures.sweep(swept, sweep, ["d3"], tmp_path / "f.png").stat().st_size > 8000


def test_confusion_averages_seeds_and_adds_folds(study):
    cells = only_group(study).systems["ipr"]
    expected = np.zeros((K, K))
    for cell in cells:
        read = cell.predictions("d3")
        for truth, answer in zip(read["consensus"], read["probabilities"].argmax(axis=1), strict=True):
            if truth >= 0:
                expected[truth, answer] += 0.5  # two seeds
    np.testing.assert_allclose(figures._counts(cells, "d3"), expected)


def test_reliability_takes_the_bins_of_all_runs_together(study):
    cells = only_group(study).systems["ipr"]
    confidence, accuracy, n = figures._bins(cells, "d3", "label")
    found: dict[int, list] = {}
    for cell in cells:
        read = cell.predictions("d3")
        for p, truth in zip(read["probabilities"], read["consensus"], strict=True):
            if truth >= 0:
                found.setdefault(int(np.ceil(p.max() * 15)) - 1, []).append((p.max(), p.argmax() == truth))
    assert n.tolist() == [len(found.get(b, [])) for b in range(15)]
    for b, pairs in found.items():
        assert (confidence[b], accuracy[b]) == pytest.approx(tuple(np.mean(pairs, axis=0)))


def test_tsne_separates_what_is_apart_and_says_what_it_lacks(study, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    points = embeddings_module.tsne(np.repeat(np.eye(3) * 50, 20, axis=0) + rng.normal(size=(60, 3)))
    groups = points.reshape(3, 20, 2)
    within = max(np.linalg.norm(g - g.mean(axis=0), axis=1).max() for g in groups)
    centres = groups.mean(axis=1)
    assert min(np.linalg.norm(centres[a] - centres[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 2 * within
    assert embeddings_module.tsne(np.ones((3, 1))).shape == (3, 2)
    one = only_group(study)
    out = embeddings(one, ["d3"], ["ipr"], tmp_path / "t.png")
    assert out == tmp_path / "t.png" and out.stat().st_size > 8000
    made_cell(tmp_path / "old" / "run")
    assert embeddings(only_group(tmp_path / "old"), ["d3"], ["ipr"], tmp_path / "n.png") == NO_EMBEDDINGS
    monkeypatch.setattr(embeddings_module, "find_spec", lambda _: None)
    assert embeddings(one, ["d3"], ["ipr"], tmp_path / "n.png") == NEEDS_SKLEARN and "[report]" in NEEDS_SKLEARN


class Reader(HTMLParser):
    """Tags and attributes of a page; every element that is opened must be closed in order."""

    VOID = frozenset(("meta", "img", "input", "rect", "br"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def page(study):
    write_report(study, progress=False)
    return (study / "report" / "report.html").read_text()


def test_the_page_is_whole_and_needs_nothing_from_outside(page):
    read = Reader(page)
    assert not re.search(r"https?://|//[a-z]+\.[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))
    for tag in ("img", "audio", "script", "link", "iframe", "source"):
        for attributes in read.all(tag):
            for name in ("src", "href"):
                assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert all(a["href"].startswith("#") for a in read.all("a"))
    ids = {attributes.get("id") for _, attributes in read.found}
    assert {a["href"][1:] for a in read.all("a")} <= ids
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page


def test_the_page_holds_tables_figures_and_clips_with_players(page):
    read = Reader(page)
    pictures = [base64.b64decode(a["src"].split(",")[1]) for a in read.all("img")]
    assert len(pictures) == 5 * 3 + 2 and all(p[:4] == b"\x89PNG" for p in pictures)
    articles = read.all("article")
    assert {a["data-kind"] for a in articles} == {MOVED, FAR} and {a["data-system"] for a in articles} == {
        "ipr",
        "base",
    }
    players = read.all("audio")
    assert players and all(base64.b64decode(a["src"].split(",")[1])[:4] == b"fLaC" for a in players)
    assert len(players) < len(articles) and "are not in the data set" in page
    assert len(read.all("svg")) == sum(a["data-kind"] == MOVED for a in articles)


def test_whatever_a_name_says_is_shown_and_not_obeyed(tmp_path):
    bad = '_<img src=x onerror="alert(1)">&"\'`**$\\frac$|'
    clips = {
        "d3": {**made_clips(), "id": [f"{bad}{i}" for i in range(48)], "speaker": [f"{bad}{i % 4}" for i in range(48)]}
    }
    run = made_cell(tmp_path / "run", f"{bad} system", clips=clips, corpus=bad, policy=bad)
    made_trajectory(run, ids=[f"{bad}{i}" for i in range(20)])
    write_report(tmp_path, progress=False)
    read = Reader((tmp_path / "report" / "report.html").read_text())
    assert not [a for _, a in read.found if "onerror" in a] and len(read.all("script")) == 1
    assert any(a["data-id"].startswith(bad) for a in read.all("article"))
    assert all(a["src"].startswith("data:") for a in read.all("img"))


@pytest.mark.skipif(CHROMIUM is None, reason="no headless browser (chromium) is installed")
def test_a_browser_opens_the_page_from_disk_and_runs_its_script(study, page, tmp_path):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    shown = subprocess.run(
        [*command, (study / "report" / "report.html").as_uri()], capture_output=True, text=True, timeout=120
    ).stdout
    articles = re.findall(r'<article class="utterance"[^>]*data-distance="([\d.]+)"', shown)
    assert len(articles) == page.count("<article") > 0
    # The script ran: the utterances are sorted and counted.
    assert [float(d) for d in articles] == sorted((float(d) for d in articles), reverse=True)
    assert f"{len(articles)} of {len(articles)} utterances shown" in shown
