"""A push publishes only what the package wrote: no link, no foreign code or table; a dry run writes nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from helpers.made_run import built
from helpers.recorded_run import CODE, change, digest, recorded_run

from hf_ambiser.cards import read_facts
from hf_ambiser.cli import main
from hf_ambiser.data.corpora import simulated
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.published import code_digests
from hf_ambiser.runs.push import publication


pytestmark = pytest.mark.usefixtures("blank_figures")
PASSWORDS = "annika:correct-horse-battery"


@pytest.fixture(scope="module")
def built_once(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("data"), configs=("slc-strict",))


@pytest.fixture
def dataset(built_once, tmp_path) -> Path:
    shutil.copytree(built_once, tmp_path / "dataset")
    return tmp_path / "dataset"


def refused(folder: Path, capsys, *more: str) -> str:
    """The one line with which a dry run refuses a folder."""
    assert main(["push", str(folder), "me/x", "--dry-run", *more]) == 2
    out, err = capsys.readouterr()
    (line,) = err.strip().splitlines()
    assert not out and PASSWORDS not in line
    return line


# ---- a data set that is there already ------------------------------------------------------------------------------


def test_a_build_that_is_there_is_pushed_only_if_it_is_what_was_asked_for(dataset, built_once, monkeypatch, capsys):
    pushed, corpus, other = [], built_once.parent / "corpus", dataset.parent / "other"
    monkeypatch.setattr("hf_ambiser.data.build_cli.check_access", lambda repo: None)
    monkeypatch.setattr("hf_ambiser.data.build_cli.push_dataset", lambda *given: pushed.append(given[:2]))
    monkeypatch.setattr("hf_ambiser.data.build_cli.describe", str)
    asked = ["build", "simulated", "--root", str(corpus), "--out", str(dataset)]
    asked += ["--n-utterances", "60", "--n-speakers", "10", "--no-progress", "--push_to_hub", "me/x"]
    cases = [
        ("--validation-share 0.4", "validation_share=0.4 changes nothing in the configs ['slc-strict']"),
        ("--d1-quota per_class", "d1_quota='per_class' changes nothing"),
        ("--clear-threshold unanimous", "in another way (clear_threshold differ)"),
        ("--seed 1", "in another way (seed differ)"),
        ("--configs slc", "in another way (a config slc-strict, no config slc differ)"),
        ("--configs slc-strict slc-paper", "(no config slc-paper differ)"),
        ("--n-utterances 50", "n_utterances: 60 there, 50 asked for"),
        ("--n-speakers 5", "n_speakers: 10 there, 5 asked for"),
        ("--corpus-seed 1", "seed: 0 there, 1 asked for"),
        (f"--root {dataset.parent / 'gone'}", "gone does not exist, so nobody can tell whether"),
        (f"--root {other} --n-utterances 6", "(60 utterances there, 6 in the release, 300 votes there, "),
        (f"--root {other} --n-utterances 60 --corpus-seed 1", "as it is now (votes of 'sim_"),
    ]
    for more, fault in cases:
        if str(other) in more:
            shutil.rmtree(other, ignore_errors=True)
            other.mkdir()  # an empty folder, where the corpus is generated
        configs = [] if "--configs" in more else ["--configs", "slc-strict"]
        assert main([*asked, *configs, *more.split()]) == 2, more
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert fault in line and not pushed, line
    scans, scan = [], simulated.scan
    monkeypatch.setattr(simulated, "scan", lambda root: scans.append(root) or scan(root))
    monkeypatch.setattr("hf_ambiser.data.corpus_rows.inspect_audio", None)  # no audio is opened
    asked = [*asked[:6], "--configs", "slc-strict", *asked[6:]]
    assert main(asked) == 0 and pushed == [(dataset, "me/x")] and scans == [corpus]
    with pytest.raises(SystemExit):
        main([*asked[:-2], "--private"])
    assert "--private is of a push: give --push_to_hub" in capsys.readouterr().err


# ---- links ---------------------------------------------------------------------------------------------------------

OF_A_RUN = [
    "results.json", "arguments.yaml", "predictions/d3.parquet", "predictions", "trajectory", "model", "model/figures",
    "model/README.md", "model/config.json", "model/model.safetensors", "model/encoders.py", "model/figures/a.png",
]  # fmt: skip
OF_A_DATASET = ["build_report.json", "listed.csv", "README.md", "slc-strict", "a file of slc-strict"]


def linked(path: Path, elsewhere: Path) -> None:
    """Move a file or folder elsewhere, and leave a link; a file that is not there is a link to the passwords."""
    target = elsewhere / path.name
    if path.exists():
        shutil.move(path, target)
    else:
        target.write_text(PASSWORDS)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_link_in_a_run_is_named_and_nothing_is_published_or_written(name, tmp_path, capsys):
    run = recorded_run(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    linked(run / name, tmp_path / "elsewhere")
    before = digest(tmp_path)
    line = refused(run, capsys)
    in_a_split = "the split 'd3' is a link that leads out" in line  # predictions are looked at first
    assert f"{run / name} is a link to the" in line or (in_a_split and name == "predictions/d3.parquet")
    assert digest(tmp_path) == before
    if name not in ("model/model.safetensors", "model/encoders.py"):  # a card reads neither weights nor code
        assert main(["card", str(run)]) == 2 and digest(tmp_path) == before


@pytest.mark.parametrize("name", OF_A_DATASET)
def test_a_link_in_a_data_set_is_named(name, dataset, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    place = sorted((dataset / "slc-strict").iterdir())[0] if name.startswith("a file") else dataset / name
    linked(place, tmp_path / "elsewhere")
    before = digest(tmp_path)
    assert f"{place} is a link to the" in refused(dataset, capsys)
    assert digest(tmp_path) == before


def test_the_folder_that_a_user_names_may_be_a_link(tmp_path, capsys):
    run = recorded_run(tmp_path)
    (tmp_path / "link").symlink_to(run)
    assert main(["push", str(tmp_path / "link"), "me/x", "--dry-run"]) == 0
    assert "Nothing was sent" in capsys.readouterr().out


# ---- foreign files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [("sitecustomize.py", "import os\n"), ("encoders.py", "import os\n")])
def test_code_that_is_not_the_packages_own_is_not_published(name, code, tmp_path, capsys):
    run = recorded_run(tmp_path)
    (run / "model" / name).write_text(code)
    line = refused(run, capsys)
    assert f"Python files that are not this package's own: {name}" in line and f"--allow {name}" in line
    assert main(["push", str(run), "me/x", "--dry-run", "--allow", name]) == 0
    assert f"  {name}\n" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["evil/repo--encoders.Model", "../evil.Model"])
def test_a_configuration_that_names_code_of_somebody_else_is_not_published(place, tmp_path, capsys):
    run = recorded_run(tmp_path)
    change(run / "model" / "config.json", lambda config: {**config, "auto_map": {"AutoConfig": place}})
    assert f"auto_map names the code {place!r}" in refused(run, capsys)
    pipelines = {"custom_pipelines": {"listen": {"impl": place}}}
    change(run / "model" / "config.json", lambda config: {**config, "auto_map": {}, **pipelines})
    assert f"custom_pipelines names the code {place!r}" in refused(run, capsys)
    pipelines["custom_pipelines"]["listen"] = {"impl": "emotion_pipeline.EmotionPipeline"}
    change(run / "model" / "config.json", lambda config: {**config, **pipelines})
    change(run / "model" / "config.json", lambda config: {**config, "auto_map": {"AutoConfig": "encoders.Model"}})
    (run / "model" / "tests.py").mkdir()  # a folder is no file
    assert main(["push", str(run), "me/x", "--dry-run"]) == 0


def test_code_of_an_earlier_version_is_published_if_the_run_noted_it(tmp_path, capsys):
    run = recorded_run(tmp_path)
    (run / "model" / "encoders.py").write_text("# as an earlier version had it\n")
    change(run / "results.json", lambda results: {**results, "code": code_digests(RunFolder(run))})
    assert main(["push", str(run), "me/x", "--dry-run"]) == 0
    (run / "model" / "encoders.py").write_text("# changed since then\n")
    capsys.readouterr()
    assert "encoders.py" in refused(run, capsys)


def test_the_code_that_is_published_is_the_packages(tmp_path):
    run = recorded_run(tmp_path, code=("encoders.py", "valid_frames.py"))
    files = publication(read_facts(run)).files
    published = {name for name in files if name.endswith(".py")}
    assert published == {"encoders.py", "valid_frames.py"}
    assert all(Path(files[name]).read_bytes() == (CODE / name).read_bytes() for name in published)


def test_other_files_of_a_run_are_not_published(tmp_path, capsys):
    run = recorded_run(tmp_path)
    for name in (
        "notes.txt",
        "passwords.json",
        "model-extra.safetensors",
        "data.parquet",
        "figures/mine.png",
        "x.csv",
    ):
        (run / "model" / name).parent.mkdir(exist_ok=True)
        (run / "model" / name).write_text(PASSWORDS)
    names = set(publication(read_facts(run)).files)
    own = {"config.json", "model.safetensors", "encoders.py", "results.json", "arguments.yaml"}
    assert {name for name in names if not name.startswith("figures/")} == own
    assert "figures/mine.png" not in names and "figures/d3.png" in names


@pytest.mark.parametrize("name", ["mine.parquet", "slc-strict/mine.parquet", "other/train-00000-of-00001.parquet"])
def test_a_foreign_parquet_file_is_named(name, dataset, capsys):
    (dataset / name).parent.mkdir(exist_ok=True)
    shutil.copyfile(sorted((dataset / "slc-strict").iterdir())[0], dataset / name)
    assert f"knows nothing: {name}." in refused(dataset, capsys)


def test_a_changed_parquet_file_is_seen(dataset, capsys):
    first, second, *_ = sorted((dataset / "slc-strict").iterdir())
    shutil.copyfile(first, second)
    line = refused(dataset, capsys)
    assert "are not those that were built" in line and "Build the data set again" in line


# ---- a dry run -----------------------------------------------------------------------------------------------------


def read_only(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    folder.chmod(0o555)


def writable(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


@pytest.mark.parametrize("kind", ["run", "dataset"])
def test_a_dry_run_works_on_a_read_only_folder_and_changes_nothing(kind, tmp_path, dataset, capsys, monkeypatch):
    folder = recorded_run(tmp_path) if kind == "run" else dataset
    read_only(folder)
    before = digest(folder)
    # Root may write anywhere, so what is opened for writing inside is refused here, too.
    opened: list[str] = []
    real = os.replace

    def replace(source, target, **more):
        opened.append(str(target))
        return real(source, target, **more)

    monkeypatch.setattr(os, "replace", replace)
    try:
        assert main(["push", str(folder), "me/x", "--dry-run"]) == 0
    finally:
        writable(folder)
        read_only(folder)
        after = digest(folder)
        writable(folder)
    assert after == before and not [path for path in opened if path.startswith(str(folder))]
    out = capsys.readouterr().out
    assert "Nothing was sent" in out and "README.md" in out


def test_the_dry_run_of_a_study_writes_nothing(dataset, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("method: hard_vote\nuse_cpu: true\ntrain_splits: [clear]\n")
    (tmp_path / "plan.yaml").write_text(
        json.dumps(
            {
                "name": "s",
                "datasets": [{"dataset": str(dataset), "configs": ["slc-strict"]}],
                "systems": {"one": {"config": "config.yaml", "test_splits": ["test"]}},
            }
        )
    )
    before = digest(tmp_path)
    assert main(["study", "--plan", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert digest(tmp_path) == before and "one" in capsys.readouterr().out
