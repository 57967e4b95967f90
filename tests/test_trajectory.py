"""The label trajectory on disk."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from hf_ambiser.run_folder.trajectory import read_tensors, read_trajectory, trajectory_epochs, write_trajectory
from hf_ambiser.training.label_table import LabelTable


IDS = ["Ses01F_impro01_F000", "größe", "c"]


def table() -> LabelTable:
    t = LabelTable(IDS, torch.tensor([[1.0, 0], [0, 0], [0.25, 0.75]]))
    t.add_column("classifier_label", torch.tensor([-1, 1, 0]))
    t.add_column("soft_label", torch.rand(3, 2, generator=torch.Generator().manual_seed(0)))
    t.write(torch.tensor([1]), target=torch.tensor([[0.1, 0.9]]), weight=torch.tensor([0.3]))
    return t


def test_what_is_written_is_read_exactly(tmp_path):
    t = table()
    prototypes = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    path = write_trajectory(tmp_path, 3, t.arrays(), {"prototypes": prototypes.T.contiguous().T.numpy()})
    assert path == tmp_path / "trajectory" / "epoch_0003.parquet" and path.is_file()
    columns = read_trajectory(tmp_path, 3)
    assert columns["id"].tolist() == IDS
    assert set(columns) == {"id", "observed", "target", "weight", "classifier_label", "soft_label"}
    for name, tensor in {"observed": t.observed, **t.columns}.items():
        np.testing.assert_array_equal(columns[name], tensor.numpy(), err_msg=name)
        assert columns[name].shape == tuple(tensor.shape)
    np.testing.assert_array_equal(read_tensors(tmp_path, 3)["prototypes"], prototypes.numpy())


def test_the_file_is_plain_parquet_in_the_tables_precision(tmp_path):
    write_trajectory(tmp_path, 1, table().arrays(), {})
    stored = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "trajectory" / "epoch_0001.parquet")}
    assert stored["id"] == "string" and stored["weight"] == "float" and stored["classifier_label"] == "int64"
    assert (
        stored["target"].startswith("fixed_size_list<") and "float" in stored["target"] and "[2]" in stored["target"]
    )


def test_epochs_are_listed_in_order_and_a_missing_one_is_named(tmp_path):
    assert trajectory_epochs(tmp_path) == [] and read_tensors(tmp_path, 1) == {}
    for epoch in (10, 2, 1):
        write_trajectory(tmp_path, epoch, table().arrays(), {"p": np.ones(1)} if epoch == 2 else {})
    assert trajectory_epochs(tmp_path) == [1, 2, 10]
    assert read_tensors(tmp_path, 10) == {} and read_tensors(tmp_path, 2)["p"].tolist() == [1]
    with pytest.raises(FileNotFoundError, match=r"no label trajectory for epoch 3; it has \[1, 2, 10\]"):
        read_trajectory(tmp_path, 3)


def test_training_on_after_writing_does_not_change_what_was_written(tmp_path):
    t = table()
    write_trajectory(tmp_path, 1, t.arrays(), {})
    before = t.columns["target"].clone()
    t.write(torch.tensor([0, 2]), target=torch.tensor([[0.5, 0.5], [0, 1]]))
    write_trajectory(tmp_path, 2, t.arrays(), {})
    np.testing.assert_array_equal(read_trajectory(tmp_path, 1)["target"], before.numpy())
    np.testing.assert_array_equal(read_trajectory(tmp_path, 2)["target"], t.columns["target"].numpy())


def test_a_write_cut_short_leaves_no_epoch_or_the_one_before(tmp_path, monkeypatch):
    t = table()
    write_trajectory(tmp_path, 1, t.arrays(), {})

    def killed(_, path):
        path.write_bytes(b"PAR1 and no more")
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", killed)
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            write_trajectory(tmp_path, epoch, t.arrays(), {})
    monkeypatch.undo()
    assert trajectory_epochs(tmp_path) == [1]
    assert read_trajectory(tmp_path, 1)["id"].tolist() == IDS
    write_trajectory(tmp_path, 2, t.arrays(), {})  # the half file is no obstacle
    assert trajectory_epochs(tmp_path) == [1, 2]
