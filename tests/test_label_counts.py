"""Counts of labels by speaker: each clip once, and beside a paper's."""

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.made_run import built

from hf_ambiser.data.corpora import iemocap
from hf_ambiser.data.label_counts import LabelCounts, count_labels
from hf_ambiser.data.label_counts_cli import main, table


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return built(tmp_path_factory.mktemp("counts"), configs=("ipr-strict", "slc-strict"))


@pytest.mark.parametrize("config", ["ipr-strict", "slc-strict"])
def test_each_clip_counts_once_hidden_labels_as_what_they_are(dataset, config):
    rows = {}
    for file in (dataset / config).glob("*.parquet"):
        table = pq.read_table(file, columns=["id", "speaker", "reference_label"]).to_pylist()
        rows |= {row["id"]: (row["speaker"], row["reference_label"]) for row in table}
    want, found = Counter(rows.values()), count_labels(dataset, config)
    assert found.total.sum() == len(rows) and found.counts.keys() == {speaker for speaker, _ in rows.values()}
    for speaker, counts in found.counts.items():
        assert counts.tolist() == [want[speaker, label] for label in (0, 1, 2, 3, -1)]


def test_the_command_prints_a_row_a_speaker(dataset, capsys):
    assert main([str(dataset)]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = count_labels(dataset)
    assert len(lines) == 2 + len(found.counts) + 1
    assert lines[-1] == "| all | " + " | ".join(str(n) for n in (*found.total, found.total.sum())) + " |"


def test_a_papers_count_and_the_difference_stand_behind_ours():
    classes = ("anger", "happiness", "sadness", "neutral")
    reference, theirs = iemocap.labels_published(classes)
    assert reference.startswith("Fujioka") and theirs["Ses03M"] == [148, 55, 133, 190]
    assert theirs["all"] == [1103, 595, 1084, 1708]
    ours = {name: np.array([*row, 0]) for name, row in theirs.items() if name != "all"}
    ours["Ses01F"] = ours["Ses01F"] + [0, 2, 0, -1, 5]
    text = table(LabelCounts("iemocap", classes, ours)).splitlines()
    assert text[2] == "| Ses01F | 147 (147, +0) | 71 (69, +2) | 78 (78, +0) | 170 (171, -1) | 5 | 471 |"
    assert text[12] == "| all | 1103 (1103, +0) | 597 (595, +2) | 1084 (1084, +0) | 1707 (1708, -1) | 5 | 4496 |"
    assert reference in text[-1]
    assert iemocap.labels_published(("anger", "joy")) is None
    six = table(LabelCounts("iemocap", ("a", "b"), {"Ses01F": np.array([1, 2, 3])}))
    assert six.splitlines()[2] == "| Ses01F | 1 | 2 | 3 | 6 |" and "Fujioka" not in six


@pytest.mark.parametrize(
    ("given", "words"), [(["--config", "loso-strict"], "no config 'loso-strict'"), (None, "not a built data set")]
)
def test_mistakes_are_one_line(dataset, tmp_path, capsys, given, words):
    assert main([str(tmp_path if given is None else dataset), *(given or [])]) == 2
    assert words in (error := capsys.readouterr().err) and error.count("\n") == 1
