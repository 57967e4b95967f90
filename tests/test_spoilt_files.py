"""Every file that a command reads is spoilt in every way: one line with its path, exit status 2, no traceback."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from helpers.made_report import made_cell
from helpers.made_run import TINY, built, fields
from helpers.package_imports import SOURCES

from hf_ambiser import cli
from hf_ambiser.cards import Address, model_card, read_facts
from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.data.push import dataset_publication
from hf_ambiser.files import read as reader
from hf_ambiser.inference.load_model import load_model
from hf_ambiser.run_folder.attempts import Attempts
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.published import check_shards
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run
from hf_ambiser.training.checkpoints import best_of
from hf_ambiser.training.loop_state import LoopState


pytestmark = pytest.mark.usefixtures("blank_figures")


# ---- the ways in which a file is spoilt -----------------------------------------------------------------------------


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


WAYS: dict[str, Callable[[Path], object]] = {
    "random bytes": lambda path: path.write_bytes(bytes(range(255, 0, -1)) * 20),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
    "another encoding": lambda path: path.write_bytes("{name: \u00e4\u00f6\u00fc}".encode("utf-16")),
    "a list at the top": lambda path: path.write_text("[1, 2]"),
    "a number at the top": lambda path: path.write_text("3"),
    "cut off": cut_off,
    "a folder": a_folder,
    "no permission": lambda path: None,  # see `no_permission`: a test may run as root, who may read everything
}


@contextlib.contextmanager
def no_permission(path: Path) -> Iterator[None]:
    real = open

    def refusing(file, *args, **more):
        if isinstance(file, str | os.PathLike) and Path(file) == path:
            raise PermissionError(13, "Permission denied", str(path))
        return real(file, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("io.open", refusing)
        patch.setattr("builtins.open", refusing)
        yield


def command(capsys, *words: str | Path) -> tuple[int, str]:
    """Exit status, and what stands on standard error, without bars and remarks of other packages."""
    capsys.readouterr()
    status = cli.main([str(word) for word in words])
    return status, "\n".join(line for line in capsys.readouterr().err.splitlines() if "hf-ambiser" in line)


def refused(capsys, path: Path, way: str, words: list[str | Path]) -> str:
    WAYS[way](path)
    with no_permission(path) if way == "no permission" else contextlib.nullcontext():
        status, said = command(capsys, *words)
    assert status == 2 and str(path) in said and "Traceback" not in said, (status, said)
    assert said.count("\n") == 0 and len(said.split(str(path))[1]) > 20, said  # with a cure behind it
    return said


# ---- what is read: a run folder, a study, a data set, a plan --------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A data set, a short finished run on it, and a run that was only begun."""
    folder = tmp_path_factory.mktemp("spoilt")
    data = built(folder)
    for name, more in (("finished", {}), ("begun", {})):
        given = fields(data, folder / name, num_train_epochs=2, seed=3, **more)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(given))
    run(RunArguments.from_mapping(yaml.safe_load((folder / "finished.yaml").read_text())))
    (folder / "finished" / "speakers.json").write_text(json.dumps({"speaker": {"sex": "female", "age": 30}}))
    shutil.copytree(folder / "finished", folder / "begun")
    RunFolder(folder / "begun").results.unlink()
    return folder


@pytest.fixture
def here(place, tmp_path) -> Path:
    """A copy that a test may spoil, in which the data set stays where it was."""
    for name in ("finished", "begun"):
        shutil.copytree(place / name, tmp_path / name)
    config = yaml.safe_load((place / "begun.yaml").read_text())
    (tmp_path / "begun.yaml").write_text(yaml.safe_dump({**config, "output_dir": str(tmp_path / "begun")}))
    return tmp_path


def of_a_run() -> list[tuple[str, str]]:
    """Files of a run folder, each with the commands that read it."""
    found = [
        ("finished", command, file)
        for file in ("results.json", "arguments.yaml", "speakers.json", "reference.parquet", "predictions/d3.parquet")
        for command in ("report", "card")
        if (command, file) not in {("report", "speakers.json"), ("report", "arguments.yaml")}
    ]
    found += [("finished", "report", "arguments.yaml"), ("finished", "report", "trajectory/epoch_0002.parquet")]
    found += [("finished", "card", "model/config.json"), ("finished", "card", "trajectory/epoch_0002.parquet")]
    found += [("finished", "card", "trajectory/epoch_0002.safetensors")]
    found += [("finished", "evaluate", f"model/{f}") for f in ("config.json", "preprocessor_config.json")]
    found += [("finished", "evaluate", "model/model.safetensors")]
    found += [("begun", "train", file) for file in ("arguments.yaml", "data.json", ".attempts/00001.json")]
    return [(f"{folder}/{file}", command) for folder, command, file in found]


def harmless(file: str, way: str) -> bool:
    """Half of a YAML file is often a whole one, and an attempt's file is empty while its holder writes it."""
    return (file.endswith(".yaml") and way == "cut off") or (file.endswith("00001.json") and way == "empty")


# A report finds a spoilt file of these two only after half of its work, so it is given fewer ways of spoiling.
_LATE = ("reference.parquet", "trajectory/epoch_0002.parquet")


@pytest.mark.parametrize(
    "file,what,way",
    [
        (file, what, way)
        for file, what in of_a_run()
        for way in (["random bytes", "a folder"] if what == "report" and file.endswith(_LATE) else WAYS)
        if not harmless(file, way)
    ],
)
def test_a_file_of_a_run_folder(here, place, capsys, file, what, way):
    path = here / file
    words = {
        "report": ["report", here / "finished", "--no-html"],
        "card": ["card", here / "finished"],
        "train": ["train", "--config", here / "begun.yaml"],
        "evaluate": ["evaluate", "--model", here / "finished" / "model", "--dataset", place / "dataset"],
    }[what]
    refused(capsys, path, way, [*words, *(["--split", "d3"] if what == "evaluate" else [])])


# Files that only some runs have, with what reads each.
_RARE: dict[str, Callable[[Path], object]] = {
    "legs.json": lambda folder: RunFolder(folder).read_legs(),
    "loop_state.json": LoopState.read,
    "trainer_state.json": best_of,
    "model.safetensors.index.json": check_shards,
    "adapter_config.json": lambda folder: load_model(str(folder)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("file", _RARE)
def test_a_file_that_only_some_runs_have(tmp_path, file, way):
    path = tmp_path / file
    path.write_text('{"key": 1}')
    WAYS[way](path)
    with no_permission(path) if way == "no permission" else contextlib.nullcontext():
        with pytest.raises(reader.FileError) as error:
            _RARE[file](tmp_path)
    assert str(error.value).startswith(f"{path} ") and len(str(error.value)) > len(str(path)) + 20


@pytest.mark.parametrize("way", ["random bytes", "another encoding", "a folder", "no permission"])
def test_the_list_of_a_report_s_files(here, capsys, way):
    path = here / "finished" / "report" / ".written"
    path.parent.mkdir()
    path.write_text("report.md")
    refused(capsys, path, way, ["report", here / "finished", "--no-html"])


@pytest.mark.parametrize(
    "name,value",
    [("scores", []), ("data", 3), ("environment", "x"), ("held_out_splits", {}), ("held_out_rows", []), ("code", [1])],
)
def test_a_value_of_another_kind_in_results(here, capsys, name, value):
    path = RunFolder(here / "finished").results
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    for words in (["report", here / "finished"], ["card", here / "finished"], ["push", here / "finished", "me/x"]):
        status, said = command(capsys, *words)
        assert status == 2 and f"{path} must hold" in said and f"under {name!r}" in said, said


def test_every_value_of_results_is_of_its_kind(here):
    path = RunFolder(here / "finished").results
    whole = json.loads(path.read_text())
    for name in set(whole) - {"system"}:  # which becomes a text, whatever it is
        path.write_text(json.dumps({**whole, name: [] if isinstance(whole[name], dict) else {}}))
        with pytest.raises(reader.FileError, match=f"{path} must hold .* under {name!r}"):
            FinishedRun.read(here / "finished")


def test_a_value_deep_in_a_file_that_only_a_card_shows(here, data):
    finished, report = RunFolder(here / "finished"), data / "build_report.json"
    whole, built = json.loads(finished.results.read_text()), json.loads(report.read_text())
    for change in (
        {"best_epochs": {"loss": 3}},
        {"environment": {"versions": 3}},
        {"training": {"train_runtime": []}},
    ):
        finished.results.write_text(json.dumps({**whole, **change}))
        with pytest.raises(reader.FileError, match=f"{finished.results} holds a value that cannot be used"):
            model_card(read_facts(finished.path), {}, Address("me/x"))
    for change in ({"votes": 3}, {"overlap": 3}, {"policy": {**built["policy"], "aggregation_options": 3}}):
        report.write_text(json.dumps({**built, **change}))
        with pytest.raises(reader.FileError, match=f"{report} holds a value that cannot be used"):
            dataset_publication(data).card("me/x", "main")
    finished.results.write_text(json.dumps(whole))
    config = finished.model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "dtype": [3], "id2label": 3}))
    with pytest.raises(ValueError, match=f"{config} is not the configuration of a model"):
        read_facts(finished.path)


_READ_BY_BOTH = ("system", "seed", "method", "data", "scores", "environment", "log")
_READ_BY_CARDS = ("training", "parameters", "scored_clips_cut_at_max_seconds")


@pytest.mark.parametrize(
    "what,name",
    [*product(("report", "card"), _READ_BY_BOTH), *product(("card",), _READ_BY_CARDS)],
)
def test_a_key_that_results_lack(here, capsys, name, what):
    path = RunFolder(here / "finished").results
    content = json.loads(path.read_text())
    del content[name]
    path.write_text(json.dumps(content))
    status, said = command(capsys, what, here / "finished")
    if (what, name) in {("report", "method"), ("report", "log")}:
        assert status == 0  # it reads neither
    else:
        assert status == 2 and str(path) in said and f"{name}" in said and said.count("\n") == 0, said


@pytest.mark.parametrize("column", ["id", "speaker", "probabilities", "votes", "consensus"])
def test_a_column_that_predictions_lack(here, capsys, column):
    path = RunFolder(here / "finished").predictions_of("d3")
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    status, said = command(capsys, "report", here / "finished")
    assert status == 2 and f"{path} lacks {column!r}" in said


@pytest.fixture
def data(place, tmp_path) -> Path:
    return Path(shutil.copytree(place / "dataset", tmp_path / "dataset"))


# A card without a header is a human's; then the files are found by their names.
_NO_HEADER = ("empty", "a list at the top", "a number at the top", "zeros", "cut off")


@pytest.mark.parametrize(
    "file,way",
    [
        (file, way)
        for file in ("build_report.json", "README.md", "ipr-strict/d1-00000-of-00001.parquet")
        for way in WAYS
        if not (file == "README.md" and way in _NO_HEADER)
    ],
)
def test_a_file_of_a_data_set(data, tmp_path, capsys, file, way, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    path = data / file
    given = fields(data, tmp_path / "run")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given))
    refused(capsys, path, way, ["train", "--config", tmp_path / "run.yaml"])


@pytest.mark.parametrize("way", ["random bytes", "another encoding", "a folder", "no permission", "empty"])
def test_a_data_set_s_file_of_speakers(data, tmp_path, capsys, way):
    path = data / "speakers.csv"
    path.write_text("speaker,sex,age\ns1,female,30\n")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(fields(data, tmp_path / "run")))
    refused(capsys, path, way, ["train", "--config", tmp_path / "run.yaml"])


def test_a_data_set_with_a_missing_or_doubled_row(data, tmp_path, capsys):
    path = data / "ipr-strict" / "d3-00000-of-00001.parquet"
    table = pq.read_table(path)
    for other in (table.slice(1), pa.concat_tables([table, table.slice(0, 1)])):
        pq.write_table(other, path)
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(fields(data, tmp_path / "run")))
        for words in (["train", "--config", tmp_path / "run.yaml"], ["count-labels", data]):
            status, said = command(capsys, *words)
            assert status == 2 and f"hold {len(other)} rows, but {len(table)} were built" in said, said


@pytest.mark.parametrize("configs", ["[3]", "3", "{a: b}", "[{data_files: 3}]", "[{data_files: [{split: d1}]}]"])
def test_a_card_or_report_of_a_data_set_that_describes_its_configs_in_another_way(data, capsys, configs):
    report = json.loads((data / "build_report.json").read_text())
    (data / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    with pytest.raises(reader.FileError, match=r"README.md has a header .* Restore it"):
        load_split(data, "ipr-strict", "d1")
    for about in (3, {"splits": 3}, {"splits": {"d1": 3}}, {"splits": {"d1": {"data_files": 3}}}):
        (data / "build_report.json").write_text(json.dumps({**report, "configs": {"ipr-strict": about}}))
        with pytest.raises(reader.FileError, match=r"build_report.json describes its configs .* Restore it"):
            read_dataset_info(data)


# Half of a YAML file is often a whole one.
@pytest.mark.parametrize("way", [way for way in WAYS if way != "cut off"])
@pytest.mark.parametrize("file", ["plan.yaml", "config.yaml"])
def test_a_plan_and_its_config(place, tmp_path, capsys, file, way):
    own = {"method": "hard_vote", "encoder_fields": TINY, "use_cpu": True}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own))
    datasets = [{"dataset": str(place / "dataset"), "configs": ["ipr-strict"]}]
    plan = {"name": "x", "datasets": datasets, "systems": {"a": {"config": "config.yaml"}}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    refused(capsys, tmp_path / file, way, ["study", "--plan", tmp_path / "plan.yaml", "--out", tmp_path / "out"])


@pytest.mark.parametrize(
    "file,what,way",
    [
        (file, what, way)
        for file, what in [("plan.yaml", "report"), (".runner/a/ipr-strict/seed-0/00001.json", "study")]
        for way in WAYS
        if not harmless(file, way)
    ],
)
def test_a_file_of_a_study(place, tmp_path, capsys, file, what, way):
    own = {"method": "hard_vote", "encoder_fields": TINY, "use_cpu": True}
    datasets = [{"dataset": str(place / "dataset"), "configs": ["ipr-strict"]}]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"name": "x", "datasets": datasets, "systems": {"a": own}}))
    study = tmp_path / "study"
    made_cell(study / "cells" / "b", "b")
    attempts = Attempts(study / ".runner" / "a" / "ipr-strict" / "seed-0")
    attempts.end(attempts.take(), "failed", "why")
    (study / "plan.yaml").write_text(yaml.safe_dump({"datasets": datasets, "systems": {"a": own}, "seeds": [0]}))
    words = {"report": ["report", study], "study": ["study", "--plan", tmp_path / "p.yaml", "--out", study]}[what]
    refused(capsys, study / file, way, words)


# ---- rows that are missing, doubled or foreign ----------------------------------------------------------------------


def rows_changed(path: Path, how: str) -> None:
    table = pq.read_table(path)
    n = len(table)
    if how == "missing":
        table = table.slice(1)
    elif how == "doubled":
        table = pa.concat_tables([table, table.slice(0, 1)])
    elif how == "doubled for missing":
        table = pa.concat_tables([table.slice(1), table.slice(1, 1)])
    elif how == "not a number":
        shares = table["probabilities"].combine_chunks().flatten().to_numpy().reshape(n, -1).copy()
        shares[0] = np.nan
        column = pa.FixedSizeListArray.from_arrays(pa.array(shares.ravel()), shares.shape[1])
        table = table.set_column(table.schema.get_field_index("probabilities"), "probabilities", column)
    else:
        votes = table["votes"].combine_chunks().flatten().to_numpy().reshape(n, -1).copy()
        votes[0] = votes[0][::-1] + [1, 0, 0, 0]
        column = pa.FixedSizeListArray.from_arrays(pa.array(votes.ravel()), votes.shape[1])
        ids = pa.array(["foreign", *table["id"].to_pylist()[1:]])
        table = table.set_column(table.schema.get_field_index("votes"), "votes", column)
        table = table.set_column(table.schema.get_field_index("id"), "id", ids)
    pq.write_table(table, path)


@pytest.mark.parametrize("how", ["missing", "doubled", "doubled for missing", "foreign", "not a number"])
@pytest.mark.parametrize("what", ["report", "card", "a test in Python"])
def test_predictions_with_other_rows_than_were_scored(here, capsys, what, how):
    path = RunFolder(here / "finished").predictions_of("d3")
    rows_changed(path, how)
    if what == "a test in Python":
        with pytest.raises(ValueError, match="d3.parquet holds"):
            FinishedRun.read(here / "finished").predictions("d3")
        return
    status, said = command(capsys, what, here / "finished")
    assert status == 2 and str(path) in said and said.count("\n") == 0, said


@pytest.mark.parametrize("how", ["missing", "doubled"])
def test_predictions_that_were_not_scored_are_counted_too(here, how):
    one = FinishedRun.read(here / "finished")
    (name,) = set(one.results["held_out_splits"]) - set(one.splits)
    rows_changed(one.files.predictions_of(name), how)
    with pytest.raises(ValueError, match="holds"):
        one.predictions(name)


def test_two_seeds_of_a_fold_with_other_utterances_are_not_averaged(tmp_path, capsys):
    for seed in (0, 1):
        made_cell(tmp_path / f"{seed}", "ipr", seed=seed)
    path = RunFolder(tmp_path / "1").predictions_of("d3")
    table = pq.read_table(path)
    ids = pa.array(["foreign", *table["id"].to_pylist()[1:]])
    pq.write_table(table.set_column(table.schema.get_field_index("id"), "id", ids), path)
    status, said = command(capsys, "report", tmp_path)
    assert status == 2 and "are of one fold and hold other utterances (2 differ" in said and str(path) in said


def test_a_record_names_its_file_wherever_something_is_missing(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('\ufeff{"a": {"b": [{"c": 1}]}}', encoding="utf-8")
    found = reader.read_json(path, "Do this.")
    assert found == {"a": {"b": [{"c": 1}]}} and found.get("z") is None and "z" not in found
    with pytest.raises(reader.FileError) as error:
        found["a"]["b"][0]["d"]
    assert str(error.value) == f"{path} lacks 'd'. Do this."


@pytest.mark.parametrize("number,words", [(errno.EROFS, "copy its folder"), (errno.ENOSPC, "Free space")])
def test_a_folder_that_may_not_or_cannot_be_written_is_named_with_the_cure(here, capsys, monkeypatch, number, words):
    def refuse(*args, **more):
        raise OSError(number, os.strerror(number), str(here / "finished" / "model" / "README.md"))

    monkeypatch.setattr("hf_ambiser.cards.write_whole", refuse)
    status, said = command(capsys, "card", here / "finished")
    assert status == 2 and f"README.md cannot be opened or written ({os.strerror(number)})" in said and words in said


def test_every_command_says_an_error_of_the_system_in_these_words():
    """Each command prints its own errors, so that its script in `train_scripts/` does."""
    printed = [
        (file, line.strip())
        for file, source in SOURCES.items()
        for line in source.splitlines()
        if "prog" in line and "error)" + "}" in line or "{error}\\n" in line
    ]
    assert len(printed) >= 9
    assert all("in_words(error)" in line for _, line in printed), printed
