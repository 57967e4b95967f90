"""How good corrected labels are, against literal loops over made trajectories; and the paper's figures."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from hf_ambiser.label_analysis.corrected import (
    SMOOTHING,
    distance_by_temperature,
    distance_from_truth,
    first_and_last_agreement,
    pseudo_label_agreement,
)
from hf_ambiser.methods.ipr.figures import plot_prototype_similarity, plot_pseudo_label_agreement
from hf_ambiser.report.groups import Group
from hf_ambiser.report.pseudo_label_table import labels_given_table
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.trajectory import write_trajectory
from hf_ambiser.training.label_table import LabelTable


N, K, EPOCHS = 30, 4, 3
NAMES = ["a", "b", "c", "d"]


class Made:
    """A run folder with a made trajectory: a third of the utterances labelled ones, soft labels from epoch 2 on."""

    def __init__(self, folder: Path, truth: bool = True, soft: bool = True) -> None:
        rng = np.random.default_rng(0)
        self.folder, self.ids = folder, [f"u{i}" for i in range(N)]
        self.truth = rng.dirichlet(np.ones(K), size=N)
        self.votes = np.stack([rng.multinomial(4, p) for p in self.truth]).astype(float)
        self.label = [int(v.argmax()) if (v == v.max()).sum() == 1 else -1 for v in self.votes]
        self.soft, self.guess = {}, {}
        folder.mkdir()
        (folder / "arguments.yaml").write_text("method: ipr\nwarmup_epochs: 1\n")
        order = rng.permutation(N)  # the reference need not be in the trajectory's order
        rows = {
            "id": [self.ids[i] for i in order],
            "reference_votes": self.votes[order].tolist(),
            "reference_label": [self.label[i] for i in order],
            "true_distribution": (self.truth if truth else np.zeros((N, K)))[order].tolist(),
        }
        pq.write_table(pa.table(rows), folder / "reference.parquet")
        for epoch in range(1, EPOCHS + 1):
            given = rng.dirichlet(np.ones(K), size=N).astype(np.float32)
            given[: N // 3] = 0
            if epoch == 1:
                given[:] = 0
            self.soft[epoch], self.guess[epoch] = given, rng.integers(K, size=N)
            table = LabelTable(self.ids, torch.zeros(N, K))
            if soft:
                table.columns |= {
                    "soft_label": torch.from_numpy(given),
                    "classifier_label": torch.from_numpy(self.guess[epoch]),
                }
            prototypes = torch.nn.functional.normalize(torch.randn(K, 8), dim=1)
            write_trajectory(folder, epoch, table.arrays(), {"prototypes": prototypes.numpy()} if soft else {})


@pytest.fixture
def made(tmp_path) -> Made:
    return Made(tmp_path / "run")


def test_agreement_is_the_share_of_labels_that_are_the_raters(made):
    rows = {row.epoch: row for row in pseudo_label_agreement(made.folder)}
    assert sorted(rows) == [2, 3]  # in epoch 1 nothing was labelled
    for epoch, row in rows.items():
        n = prototype = classifier = 0
        mine, raters = [0] * K, [0] * K
        right = {"prototype": [0] * K, "classifier": [0] * K}
        for i in range(N):
            soft = made.soft[epoch][i].tolist()
            if sum(soft) == 0 or made.label[i] < 0:
                continue
            nearest = max(range(K), key=lambda k: soft[k])
            n += 1
            prototype += nearest == made.label[i]
            classifier += made.guess[epoch][i] == made.label[i]
            right["prototype"][made.label[i]] += nearest == made.label[i]
            right["classifier"][made.label[i]] += int(made.guess[epoch][i]) == made.label[i]
            mine[nearest] += 1
            raters[made.label[i]] += 1
        assert 0 < n < N and row.n == n
        assert (row.prototype, row.classifier) == pytest.approx((prototype / n, classifier / n))
        for kind, recall in (("prototype", row.prototype_recall), ("classifier", row.classifier_recall)):
            recalls = [right[kind][k] / raters[k] for k in range(K) if raters[k]]
            assert recall == pytest.approx(sum(recalls) / len(recalls))
        assert row.class_shares == pytest.approx([x / n for x in mine])
        assert row.rater_shares == pytest.approx([x / n for x in raters])


def test_the_table_of_given_labels_is_of_the_first_and_the_last_epoch_with_labels(made):
    cell = FinishedRun(made.folder, {"system": "ipr", "seed": 0, "data": {"classes": NAMES, "split_family": "x"}})
    rows = pseudo_label_agreement(made.folder)
    assert first_and_last_agreement(made.folder) == (rows[0], rows[-1]) and rows[0].epoch == 2
    lines = labels_given_table(Group("made", {"ipr": [cell, cell]})).markdown().splitlines()
    lines = [line for line in lines if line.startswith("| ipr |")]
    assert len(lines) == 2
    for line, row in zip(lines, (rows[0], rows[-1]), strict=True):
        figures = (row.prototype, row.classifier, row.prototype_recall, row.classifier_recall)
        shown = " | ".join(f"{100 * figure:.1f}" for figure in figures)
        better = [2 * (row.prototype > row.classifier), 2 * (row.prototype_recall > row.classifier_recall)]
        assert f"| {better[0]}, {better[1]} |" in line  # both of the two runs, or none
        assert line.startswith(f"| ipr | {row.epoch} | 2 | {shown} | ")
        assert f"| a {100 * row.class_shares[0]:.0f} ({100 * row.rater_shares[0]:.0f}), b " in line


def test_one_epoch_with_labels_is_one_row(made):
    """A run that ends one epoch after its warm-up has no other end."""
    for path in (made.folder / "trajectory").glob("epoch_0003.*"):
        path.unlink()
    cell = FinishedRun(made.folder, {"system": "ipr", "seed": 0, "data": {"classes": NAMES, "split_family": "x"}})
    table = labels_given_table(Group("made", {"ipr": [cell]})).markdown()
    assert table.count("| ipr |") == 1 and "| ipr | 2 | 1 |" in table


def test_both_ends_stand_there_if_runs_differ_in_their_epochs(tmp_path):
    """Epochs 2 to 3 at both ends, and not the same runs at 2."""
    cells = []
    for name, gone in (("both", None), ("late", 2), ("early", 3)):
        made = Made(tmp_path / name)
        for path in (made.folder / "trajectory").glob(f"epoch_000{gone}.*"):
            path.unlink()
        cells.append(FinishedRun(made.folder, {"system": "ipr", "data": {"classes": NAMES, "split_family": "x"}}))
    lines = labels_given_table(Group("made", {"ipr": cells})).markdown().splitlines()
    first, last = (line for line in lines if line.startswith("| ipr | 2 to 3 | 3 |"))
    assert first != last


def test_runs_that_gave_no_labels_have_no_table(tmp_path):
    plain = Made(tmp_path / "plain", soft=False)
    cell = FinishedRun(plain.folder, {"system": "x", "seed": 0, "data": {"classes": NAMES, "split_family": "x"}})
    assert first_and_last_agreement(plain.folder) is None and pseudo_label_agreement(plain.folder) == []
    assert labels_given_table(Group("made", {"x": [cell]})) is None


def js(p, q) -> float:
    def kl(x, y):
        return sum(a * math.log2(a / b) for a, b in zip(x, y, strict=True) if a > 0)

    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (kl(p, middle) + kl(q, middle)) / 2


def test_distance_from_truth_is_the_mean_over_utterances_that_were_labelled(made):
    seen = [i for i in range(N) if made.soft[EPOCHS][i].sum() > 0]
    votes = {i: [v / sum(made.votes[i]) for v in made.votes[i]] for i in seen}

    def mean(belief) -> float:
        return sum(js(made.truth[i].tolist(), belief(i)) for i in seen) / len(seen)

    smoothed = {s: mean(lambda i, s=s: [(1 - s) * v + s / K for v in votes[i]]) for s in SMOOTHING}
    best = min(smoothed, key=lambda s: smoothed[s])
    found = distance_from_truth(made.folder)
    assert found["n"] == len(seen) == N - N // 3 and found["smoothing"] == best
    assert found["votes"] == pytest.approx(mean(lambda i: votes[i]), abs=1e-6)
    assert found["votes_smoothed"] == pytest.approx(smoothed[best], abs=1e-6)
    assert found["method"] == pytest.approx(mean(lambda i: made.soft[EPOCHS][i].tolist()), abs=1e-5)
    assert found["uniform"] == pytest.approx(mean(lambda i: [1 / K] * K), abs=1e-6)


def test_distance_at_another_temperature_is_that_of_the_softmax_at_that_temperature(made):
    """The saved labels are made softmaxes of known similarities, so those of any temperature are known."""
    similarity = np.random.default_rng(1).uniform(-1, 1, size=(N, K))

    def softmax(row, temperature):
        e = [math.exp(s / temperature) for s in row]
        return [x / sum(e) for x in e]

    table = LabelTable(made.ids, torch.zeros(N, K))
    table.columns["soft_label"] = torch.tensor([softmax(row, 0.2) for row in similarity])
    write_trajectory(made.folder, EPOCHS + 1, table.arrays(), {})
    (made.folder / "model").mkdir()
    (made.folder / "model" / "config.json").write_text('{"prototype_temperature": 0.2}')
    found = distance_by_temperature(made.folder, [0.1, 0.2, 1.0])
    for temperature, value in found.items():
        expected = [js(made.truth[i].tolist(), softmax(similarity[i], temperature)) for i in range(N)]
        assert value == pytest.approx(sum(expected) / N, abs=1e-5)
    assert found[0.2] == pytest.approx(distance_from_truth(made.folder)["method"], abs=1e-6)


def test_without_truth_or_soft_labels_there_is_no_distance(tmp_path):
    with pytest.raises(ValueError, match="no true distribution"):
        distance_from_truth(Made(tmp_path / "real", truth=False).folder)
    hard = Made(tmp_path / "hard", soft=False).folder
    with pytest.raises(ValueError, match="no label was corrected|no label trajectory"):
        distance_from_truth(hard)
    assert pseudo_label_agreement(hard) == []


def test_before_any_label_was_given_there_is_no_distance_either(made):
    for epoch in (2, 3):
        (made.folder / "trajectory" / f"epoch_{epoch:04d}.parquet").unlink()
    with pytest.raises(ValueError, match="no label was corrected|no label trajectory"):
        distance_from_truth(made.folder)
    assert pseudo_label_agreement(made.folder) == []


def test_the_papers_figures_are_drawn(made, tmp_path):
    first = plot_prototype_similarity(made.folder, tmp_path / "figures" / "two.png", NAMES)
    second = plot_pseudo_label_agreement(made.folder, tmp_path / "figures" / "three.png")
    for path in (first, second):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) > 5000
    assert first != second and first.read_bytes() != second.read_bytes()


def test_a_run_without_prototypes_or_labels_has_no_figure(tmp_path):
    hard = Made(tmp_path / "hard", soft=False).folder
    with pytest.raises(ValueError, match="no prototypes"):
        plot_prototype_similarity(hard, tmp_path / "two.png", NAMES)
    with pytest.raises(ValueError, match="gave no labels"):
        plot_pseudo_label_agreement(hard, tmp_path / "three.png")
    assert not (tmp_path / "two.png").exists() and not (tmp_path / "three.png").exists()
