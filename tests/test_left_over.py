"""What a writer that was killed has left neither stays in a run folder nor gets into what is written next."""

from __future__ import annotations

import numpy as np
import pytest

from hf_ambiser.run_folder.layout import RunFolder, whole
from hf_ambiser.run_folder.trajectory import write_trajectory


def test_a_part_folder_of_before_is_not_taken_over(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "base") as part:
        part.mkdir()
        (part / ".tmpAbCdEf").write_text("half")
        raise KeyboardInterrupt
    with whole(tmp_path / "base") as part:
        part.mkdir()
        (part / "weights").write_text("whole")
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["weights"]
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_models_folder_is_tidied(tmp_path):
    folder = RunFolder(tmp_path)
    folder.model.mkdir()
    for name in (".tmpAbCdEf", "training_args.bin", "config.json", "model.safetensors"):
        (folder.model / name).write_text("")
    folder.tidy_model()
    assert sorted(path.name for path in folder.model.iterdir()) == ["config.json", "model.safetensors"]


def test_tensors_are_written_under_one_name(tmp_path, monkeypatch):
    """A killed write leaves at most the file that the next write replaces."""
    seen = []
    monkeypatch.setattr("os.replace", lambda part, path: seen.append(sorted(p.name for p in part.parent.iterdir())))
    folder = RunFolder(tmp_path)
    columns = {"id": ["a"], "weight": np.ones(1)}
    write_trajectory(tmp_path, 1, columns, {"state": np.zeros((2, 3), np.float32)})
    assert seen[0] == [f"{folder.tensors_after(1).name}.part"]
