"""Table 3 and Figure 3 over the runs of a study, against means by hand of made trajectories."""

import numpy as np
import pytest
import torch
from helpers.made_report import CLASSES, K, made_cell
from helpers.scripts import load_script
from safetensors.torch import save_file

from hf_ambiser.run_folder.columns import write_columns


learnt_labels = load_script("train_scripts/learnt_labels.py")
#            two of each class
OBSERVED = np.eye(K, dtype=np.float32)[[0, 0, 1, 1, 2, 2, 3, 3]]
INITIAL = np.array([1.0, 1.0, 1.0, 1.0], np.float32)


def made(folder, system, seed, moved_to=(0, 0, 1, 1, 2, 2, 3, 3), w=(1.0,) * 8, logits=True, initial=INITIAL):
    run = made_cell(folder / system / str(seed), system, seed)
    columns = {"id": list("abcdefgh"), "observed": OBSERVED, "target": OBSERVED, "w": np.array(w, np.float32)}
    if logits:
        columns["label_logits"] = np.eye(K, dtype=np.float32)[list(moved_to)]
    write_columns(run / "trajectory" / "epoch_0002.parquet", columns)
    save_file({"initial_w": torch.tensor(initial)}, run / "trajectory" / "epoch_0002.safetensors")
    return run


def rows(text: str) -> dict[str, list[float]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {name: [float(cell) for cell in cells] for name, *cells in lines if cells[0][:1].isdigit()}


def test_tables_are_means_over_the_runs_of_a_system(tmp_path, capsys):
    made(tmp_path, "labels_weights", 0, moved_to=(1, 0, 1, 1, 2, 2, 3, 3), w=(2, 2, 1, 1, 0.5, 0.5, 0.5, 0.5))
    made(tmp_path, "labels_weights", 1, moved_to=(1, 1, 1, 1, 2, 2, 2, 3), w=(1, 1, 1, 2, 0.5, 0.5, 1, 1))
    made(tmp_path, "attention", 0, logits=False)
    assert learnt_labels.main([str(tmp_path), "--out", str(tmp_path / "figures")]) == 0
    text = capsys.readouterr().out
    assert "labels_weights (made, ipr-strict, 2 runs)" in text and "attention" not in text
    found = rows(text)
    assert found["learnt w"] == [1.5, 1.25, 0.5, 0.75] and found["initial w"] == [1, 1, 1, 1]
    assert found["anger"] == [25, 75, 0, 0] and found["happiness"] == [0, 100, 0, 0]  # (1/2 + 0) / 2 of anger stay
    assert found["neutral"] == [0, 0, 25, 75]
    drawn = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert drawn == [f"made__ipr-strict_labels_weights_{what}.png" for what in ("moved_labels", "weights")]
    assert CLASSES[0] in text


def test_weights_alone_and_labels_alone_show_only_what_was_learnt(tmp_path, capsys):
    made(tmp_path, "weights", 0, logits=False, w=(2, 2, 1, 1, 0.5, 0.5, 0.5, 0.5))
    made(tmp_path, "labels", 0)
    assert learnt_labels.main([str(tmp_path), "--system", "weights"]) == 0
    assert "Table 3" in (text := capsys.readouterr().out) and "Figure 3" not in text
    assert learnt_labels.main([str(tmp_path), "--system", "labels"]) == 0
    assert "Figure 3" in (text := capsys.readouterr().out) and "Table 3" not in text


def test_doubtful_labels_are_listed_by_how_far_w_rose_above_its_class(tmp_path, capsys):
    began = np.array([0.5, 1, 1, 1], np.float32)
    made(tmp_path, "weights", 0, logits=False, initial=began, w=(0.5, 2, 1.5, 1, 1, 1, 0.2, 1))
    made(tmp_path, "weights", 1, logits=False, initial=began, w=(0.5, 0.5, 1.5, 1, 1, 1, 0.2, 1))
    assert learnt_labels.main([str(tmp_path), "--doubtful", "2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith("| 2 |")]
    # b: sqrt(2 / 0.5 * 0.5 / 0.5) = 2; c: 1.5 in both.
    assert lines == ["| b | anger | anger | 2.00 | 2 |", "| c | happiness | happiness | 1.50 | 2 |"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--system", "ipr"], "--system ipr: there is no finished run of it; there are ['attention']"),
        ([], "no run of"),
    ],
)
def test_nothing_to_show_is_one_line(tmp_path, capsys, given, words):
    made(tmp_path, "attention", 0, logits=False)
    assert learnt_labels.main([str(tmp_path), *given]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
