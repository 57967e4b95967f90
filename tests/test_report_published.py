"""Published figures stand beside ours on the same corpus, ratings and classes, and nowhere else."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.made_report import made_whole

from hf_ambiser.data.corpora import available_corpora, load_corpus
from hf_ambiser.data.rating_kinds import rating_kinds
from hf_ambiser.labels.policies import get_policy
from hf_ambiser.metrics.display import QUOTABLE
from hf_ambiser.report import published
from hf_ambiser.report.groups import Group, find, group
from hf_ambiser.report.published import PUBLISHED, published_table
from hf_ambiser.report.write import write_report


pytestmark = pytest.mark.usefixtures("blank_figures", "few_resamples")
SIX = list(get_policy("crema-d-6").classes)
# The made runs have four classes, so the published systems are given these four here.
FOUR = ["anger", "happiness", "sadness", "neutral"]


@pytest.fixture
def four(monkeypatch):
    shown = tuple(replace(entry, classes=tuple(reversed(FOUR))) for entry in PUBLISHED)
    monkeypatch.setattr(published, "PUBLISHED", shown)
    return shown


def only_group(folder: Path) -> Group:
    return group(find(folder)[0])[0].with_all_figures()


def test_published_entries_name_what_exists():
    assert len({(entry.source, entry.system) for entry in PUBLISHED}) == len(PUBLISHED) > 0
    for entry in PUBLISHED:
        assert entry.corpus in available_corpora() and set(entry.figures) <= set(QUOTABLE)
        assert set(entry.ratings) <= set(rating_kinds(load_corpus(entry.corpus)))
        assert entry.source and entry.protocol and entry.ratings == tuple(sorted(entry.ratings))


def test_the_published_systems_are_on_six_classes_of_voice_only_votes(tmp_path):
    one = only_group(made_whole(tmp_path / "run", corpus="crema_d"))
    assert not any(entry.is_on(one) for entry in PUBLISHED)  # four classes
    six = Group("six", one.systems)
    one.first.data["classes"] = SIX[::-1]
    assert all(entry.is_on(six) for entry in PUBLISHED)  # voice is the corpus' default
    one.first.data["ratings"] = ["voice"]
    assert all(entry.is_on(six) for entry in PUBLISHED)
    for other in (["face"], ["voice", "voice_and_face"]):
        one.first.data["ratings"] = other
        assert not any(entry.is_on(six) for entry in PUBLISHED)
    del one.first.data["ratings"]
    one.first.data["corpus"] = "simulated"
    assert not any(entry.is_on(six) for entry in PUBLISHED)


def test_they_stand_beside_ours_in_the_report(tmp_path, four):
    for seed in range(2):
        made_whole(tmp_path / str(seed), seed=seed, corpus="crema_d")
    one = only_group(tmp_path)
    table = published_table(one)
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [row["system"] for row in rows] == [*(entry.system for entry in four), "ipr"]
    for row, entry in zip(rows, four, strict=False):
        assert float(row["JS (bit): mean"]) == entry.figures["js"] and row["source"] == entry.source
        assert float(row["Bhattacharyya: mean"]) == entry.figures["bhattacharyya"]
    for name in ("js", "bhattacharyya"):
        mean = np.mean([run.figure(one.whole, name) for run in one.runs])
        assert float(rows[-1][f"{QUOTABLE[name].title}: mean"]) == pytest.approx(mean)
    text = write_report(tmp_path, html=False, progress=False)
    assert "| Qwen2-Audio, 7 billion parameters, preference optimisation (DPO) | 0.17 | 0.86 |" in text
    assert text.count("these runs |") == 1


def test_nothing_is_quoted_beside_another_set_of_utterances(tmp_path, four):
    made_whole(tmp_path / "made", corpus="simulated")
    assert published_table(only_group(tmp_path)) is None and "Qwen" not in write_report(tmp_path, progress=False)
    folder = made_whole(tmp_path / "old", corpus="crema_d")
    text = (folder / "results.json").read_text().replace('"held_out_splits"', '"another_key"')
    (folder / "results.json").write_text(text)
    assert published_table(only_group(tmp_path / "old")) is None
