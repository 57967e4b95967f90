"""A data set in a folder whose name `datasets` would read as a pattern or as an address: its own rows are loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from datasets import concatenate_datasets, disable_progress_bars
from helpers.made_run import built

from hf_ambiser.data import parquet_files
from hf_ambiser.data.loading import load_split
from hf_ambiser.files.read import FileError


disable_progress_bars()
CONFIGS = ("ipr-strict", "ipr-strict-kfold5")
READ = {"ipr-strict": "ipr-strict", "a fold": "ipr-strict-kfold5-1"}
# A folder's name, and the neighbour that `datasets` would load in its place or beside it.
NAMES = {
    "set[1]": "set1",
    "set?": "sets",
    "se*": "set",
    "set::1": "set",
    "{set,x}": "set",
    "100 % #1": "set",
    "[": "set",
}


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, Path]:
    """Two data sets of different utterances."""
    folder = tmp_path_factory.mktemp("two")
    return built(folder / "mine", configs=CONFIGS), built(folder / "other", n=40, configs=CONFIGS)


@pytest.mark.parametrize("config", READ)
@pytest.mark.parametrize("name", NAMES)
def test_its_own_rows_are_loaded(name, config, two, tmp_path):
    mine, other = two
    shutil.copytree(other, tmp_path / NAMES[name])
    folder = shutil.copytree(mine, tmp_path / name)
    expected = load_split(mine, READ[config], "d1")
    found = load_split(folder, READ[config], "d1", cache_dir=tmp_path / "cache")
    for column in ("id", "audio", "votes", "soft_label", "label", "reference_votes"):
        assert found[column] == expected[column], column
    assert found.features == expected.features and str(found.split) == str(expected.split)


def test_what_is_loaded_is_compared_with_the_files(two, tmp_path, monkeypatch):
    """Whatever gives other rows, such as a copy in the cache that is not of these files, is found."""
    import datasets

    mine, _ = two
    real = datasets.load_dataset
    for other in (
        lambda loaded: loaded.select(range(len(loaded) - 1)),
        lambda loaded: concatenate_datasets([loaded, loaded]),
        lambda loaded: loaded.select(list(range(len(loaded)))[::-1]),
    ):
        monkeypatch.setattr(datasets, "load_dataset", lambda *a, other=other, **k: other(real(*a, **k)))
        for config in READ.values():
            with pytest.raises(FileError, match="holds other rows than `datasets` has loaded"):
                load_split(mine, config, "d1", cache_dir=tmp_path)


def test_a_cache_with_such_a_name_is_refused(two, tmp_path, monkeypatch):
    import datasets

    folder = shutil.copytree(two[0], tmp_path / "set[1]")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache*")
    with pytest.raises(ValueError, match="reads as a pattern. Rename one of them"):
        parquet_files.plain(folder)
    assert parquet_files.plain(two[0]) == two[0]
