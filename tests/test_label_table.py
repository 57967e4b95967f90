"""The table of targets and weights that training changes."""

import pytest
import torch
from safetensors.torch import load, save

from hf_ambiser.training.label_table import LabelTable


OBSERVED = torch.tensor([[1.0, 0, 0], [0, 0.25, 0.75], [0, 0, 0], [0, 0, 0]])


def table() -> LabelTable:
    return LabelTable(["a", "b", "c", "d"], OBSERVED.clone())


def test_it_starts_with_what_the_annotators_said():
    t = table()
    assert len(t) == 4 and t.ids == ["a", "b", "c", "d"]
    assert torch.equal(t.columns["target"], OBSERVED)
    assert t.columns["weight"].tolist() == [1, 1, 0, 0]  # unlabelled utterances weigh nothing
    assert LabelTable(["a"], torch.ones(1, 2, dtype=torch.float64)).observed.dtype == torch.float32


def test_writing_rows_changes_those_rows_and_never_what_was_observed():
    t = table()
    t.add_column("pseudo", torch.full((4,), -1))
    # As training hands them over: half precision values, any order of rows.
    t.write(
        torch.tensor([3, 1]),
        target=torch.tensor([[0, 1.0, 0], [0.5, 0.5, 0]], dtype=torch.bfloat16),
        weight=torch.tensor([0.25, 2], dtype=torch.float64),
        pseudo=torch.tensor([1, 0], dtype=torch.int32),
    )
    assert t.columns["target"].tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 1, 0]]
    assert t.columns["weight"].tolist() == [1, 2, 0, 0.25]
    assert t.columns["pseudo"].tolist() == [-1, 0, -1, 1]
    assert {c.dtype for c in t.columns.values()} == {torch.float32, torch.int64}
    assert torch.equal(t.observed, OBSERVED)
    t.write(torch.zeros(0, dtype=torch.int64), target=torch.zeros(0, 3), weight=torch.zeros(0))
    assert t.columns["weight"].tolist() == [1, 2, 0, 0.25]


def test_state_survives_a_file():
    t = table()
    t.add_column("embedding", torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
    t.add_column("label", torch.tensor([0, 2, -1, 1]))
    t.write(torch.tensor([2]), target=torch.tensor([[0.1, 0.2, 0.7]]))
    saved = load(save(t.state()))
    fresh = table()
    fresh.add_column("embedding", torch.zeros(4, 5))
    fresh.add_column("label", torch.zeros(4, dtype=torch.int64))
    fresh.load_state(saved)
    assert fresh.columns.keys() == t.columns.keys()
    for name, column in t.columns.items():
        assert torch.equal(fresh.columns[name], column) and fresh.columns[name].dtype == column.dtype


def test_restored_state_is_a_copy():
    t, other = table(), table()
    other.load_state(t.state())
    other.write(torch.tensor([0]), weight=torch.tensor([9.0]))
    assert t.columns["weight"][0] == 1


def test_moving_it_moves_everything():
    t = table().to("meta")
    assert {t.observed.device.type, *(c.device.type for c in t.columns.values())} == {"meta"}


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: LabelTable(["a", "b"], OBSERVED), ["2 ids", "4 rows"]),
        (lambda: LabelTable(["a", "b", "a", "d"], OBSERVED), ["'a'", "twice"]),
        (lambda: table().add_column("x", torch.zeros(4, dtype=torch.float16)), ["'x'", "float16", "float32 or int64"]),
        (lambda: table().add_column("x", torch.zeros(3)), ["'x'", "3 rows", "the table 4"]),
        (lambda: table().load_state({"target": OBSERVED}), ["['target']", "['target', 'weight']"]),
        (
            lambda: table().load_state({"target": torch.zeros(5, 3), "weight": torch.zeros(5)}),
            ["'target'", "(5, 3)", "(4, 3)", "other training data", "new run folder"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_sizes(make, words):
    with pytest.raises(ValueError) as error:
        make()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_state_that_does_not_fit_changes_nothing():
    t = table()
    with pytest.raises(ValueError, match="weight"):
        t.load_state({"target": torch.ones(4, 3), "weight": torch.zeros(5)})
    assert torch.equal(t.columns["target"], OBSERVED)
