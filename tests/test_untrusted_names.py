"""A name that is read from a file is never a path: whatever it is set to, nothing outside the folder is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.made_report import made_cell, made_clips
from helpers.made_run import built
from helpers.recorded_run import change, digest, recorded_run

from hf_ambiser.cli import main
from hf_ambiser.data.label_noise import LabelNoise, add_label_noise
from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.inference.load_model import load_model
from hf_ambiser.run_folder.layout import RunFolder, is_name, whole
from hf_ambiser.untrusted.names import NotAName, path_of_name


HOSTILE = [
    "../../../victim",
    "../victim",
    "/victim",
    "",
    " ",
    "a\0b",
    "a\nb",
    "..",
    "x/../../victim",
    "\\\\host\\x",
    "C:\\x",
]
HOSTILE += [7, None, ["a"], "a" * 300, "\ud800"]
NAMES = ["d3", "test_clear", "all test utterances with votes", "ipr@gamma=0.9,mu=0.1", "größe", ".hidden", "a" * 255]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name)[:20])
@pytest.mark.parametrize("below", [False, True])
def test_what_is_no_name_is_refused_in_one_line(name, below, tmp_path):
    with pytest.raises(NotAName) as error:
        path_of_name(tmp_path, name, "split", "results.json", below=below)
    said = str(error.value)
    assert said.startswith("results.json: the split ") and str(tmp_path) in said and len(said.splitlines()) == 1
    assert "Allowed are" in said and "make it again" in said and len(said) < 600


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_names_stay_names(name, tmp_path):
    assert path_of_name(tmp_path, name, "split", "results.json") == tmp_path / name
    assert path_of_name(tmp_path, f"figures/{name}", "figure", "x", below=True) == tmp_path / "figures" / name
    assert is_name(name) and not is_name(f"a/{name}")


def test_a_link_that_leads_out_is_refused_and_one_that_stays_inside_is_not(tmp_path):
    inside, victim = tmp_path / "inside", tmp_path / "victim"
    (inside / "folder").mkdir(parents=True)
    victim.mkdir()
    (inside / "out").symlink_to(victim)
    (inside / "round").symlink_to(inside / "round")
    (inside / "stays").symlink_to(inside / "folder")
    for name in ("out", "out/x", "round"):
        with pytest.raises(NotAName, match="link that leads out|cannot be followed"):
            path_of_name(inside, name, "entry", "list", below=True)
    assert path_of_name(inside, "stays/x", "entry", "list", below=True) == inside / "stays" / "x"
    assert path_of_name(inside, "out", "entry", "list", follow=True) == inside / "out"
    link = tmp_path / "link"
    link.symlink_to(inside)
    assert path_of_name(link, "x", "entry", "list") == link / "x"  # the folder itself may be a link


def one_line(capsys) -> str:
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


OUT = ["../../../victim", "../victim", "/ABSOLUTE", "", "a\0b", "LINK"]


def hostile(name: str, folder: Path, place: Path) -> str:
    """The name to plant; for `LINK`, an ordinary one whose file in `place` is a link to the victim."""
    if name != "LINK":
        return name.replace("/ABSOLUTE", str(folder / "victim"))
    place.mkdir(parents=True, exist_ok=True)
    for suffix in ("", ".png", ".parquet"):
        (place / f"link{suffix}").unlink(missing_ok=True)
        (place / f"link{suffix}").symlink_to(folder / "victim")
    return "link"


def victims(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("victim*"))]


# ---- the run folder ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("key", ["scores", "held_out_splits"])
def test_a_split_in_the_results_of_a_run(key, name, tmp_path, capsys):
    run = recorded_run(tmp_path)
    before = victims(tmp_path)
    for command in (["card"], ["report"], ["push", "me/x", "--dry-run"]):
        for place in ("predictions", "model/figures"):
            planted = hostile(name, tmp_path, run / place)
        change(
            run / "results.json",
            lambda results, name=planted: {
                **results, key: {**results["scores"], name: results["scores"]["d3"]} if key == "scores" else [name],
            },
        )  # fmt: skip
        assert main([command[0], str(run), *command[1:]]) == 2, command
        assert "results.json" in one_line(capsys)
        assert victims(tmp_path) == before
        shutil.rmtree(run)
        recorded_run(tmp_path)


@pytest.mark.parametrize("field", ["method", "corpus", "system"])
@pytest.mark.parametrize("name", ["../../../victim", "a\0b"])
def test_method_corpus_and_system_are_never_paths(field, name, tmp_path, capsys, request):
    if (field, name) != ("system", "a\0b"):  # this one may also break the drawing of its figures
        request.getfixturevalue("blank_figures")
    run = recorded_run(tmp_path)
    before = victims(tmp_path)

    def plant(results):
        data = {**results["data"], "corpus": name} if field == "corpus" else results["data"]
        return {**results, "data": data} if field == "corpus" else {**results, field: name}

    change(run / "results.json", plant)
    for command in (
        ["card"],
        ["push", "me/x", "--dry-run"],
        *([["report", "--no-html"]] if field == "system" else []),
    ):
        status = main([command[0], str(run), *command[1:]])
        said = capsys.readouterr().err.strip().splitlines()
        assert status == 0 or (status == 2 and len(said) == 1), (command, said)
        assert victims(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"run", "victim", "victim.png", "victim.parquet"}


@pytest.mark.parametrize("shard", [name for name in OUT if name != "LINK"] + ["notes.txt", "other.bin"])
def test_a_shard_of_the_weights(shard, tmp_path, capsys):
    run = recorded_run(tmp_path)
    planted = hostile(shard, tmp_path, run / "model")
    (run / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": planted}}))
    assert main(["push", str(run), "me/x", "--dry-run"]) == 2
    assert "model.safetensors.index.json" in one_line(capsys)
    with pytest.raises(ValueError, match=r"index\.json: the file of weights"):
        load_model(str(run / "model"))


def test_a_system_that_a_run_starts_from_is_a_name_or_a_folder(tmp_path):
    run = RunFolder(tmp_path / "ipr" / "fold" / "seed-0")
    assert run.sibling("soft").path == tmp_path / "soft" / "fold" / "seed-0"
    with pytest.raises(ValueError, match=r"the system '\.\./soft'"):
        run.sibling("../soft")


def test_a_planted_part_file_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_text("somebody's own")
    (tmp_path / "a.txt.part").symlink_to(tmp_path / "victim")
    with whole(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new" and (tmp_path / "victim").read_text() == "somebody's own"


# ---- the report ----------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path) -> Path:
    (tmp_path / "study").mkdir()
    for name in ("victim", "victim.png"):
        (tmp_path / name).write_text("somebody's own")
    made_cell(tmp_path / "study" / "run", clips={"d3": made_clips(24)})
    return tmp_path / "study"


@pytest.mark.parametrize(
    "entry", ["../victim", "../../victim", "figures/../../victim", "/ABSOLUTE", "a\0b", "out/victim"]
)
def test_an_entry_of_what_the_last_report_wrote(entry, study, tmp_path, capsys):
    out = study / "report"
    out.mkdir()
    (out / "out").symlink_to(tmp_path)
    (out / ".written").write_text(f"report.md\n{entry.replace('/ABSOLUTE', str(tmp_path / 'victim'))}\n")
    assert main(["report", str(study), "--no-html"]) == 2
    assert "report/.written: the entry" in one_line(capsys)
    assert (tmp_path / "victim").read_text() == "somebody's own" and not (out / "report.md").exists()


@pytest.mark.usefixtures("blank_figures")
def test_what_the_last_report_wrote_is_still_deleted_and_nothing_else(study, capsys):
    out = study / "report"
    (out / "figures").mkdir(parents=True)
    for name in ("old.csv", "figures/old.png", "mine.txt"):
        (out / name).write_text("x")
    (out / ".written").write_text("figures/old.png\nold.csv\nreport.md")
    assert main(["report", str(study), "--no-html"]) == 0
    assert not (out / "old.csv").exists() and not (out / "figures" / "old.png").exists()
    assert (out / "mine.txt").exists() and (out / "report.md").is_file()


def test_a_folder_of_the_report_that_leads_out_is_refused(study, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (study / "report").symlink_to(tmp_path / "elsewhere")
    assert main(["report", str(study), "--no-html"]) == 2
    assert "is a link that leads out" in one_line(capsys) and not list((tmp_path / "elsewhere").iterdir())


# ---- data sets -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("data"), configs=("slc-strict",))


def planted_dataset(dataset: Path, folder: Path, what: str, name: str) -> Path:
    """A copy of a data set, one name of whose build report is another."""
    out = folder / "a" / "b" / "dataset"
    shutil.copytree(dataset, out)
    (folder / "victim").write_text("somebody's own")

    def plant(info):
        ((config, about),) = info["configs"].items()
        split, part = next(iter(about["splits"].items()))
        if what == "config":
            return {**info, "configs": {name: about}}
        if what == "split":
            splits = {name if key == split else key: value for key, value in about["splits"].items()}
        else:
            splits = {**about["splits"], split: {**part, "data_files": [name]}}
        return {**info, "configs": {config: {**about, "splits": splits}}}

    change(out / "build_report.json", plant)
    return out


@pytest.mark.parametrize("name", [name for name in OUT if name != "LINK"])
@pytest.mark.parametrize("what", ["config", "split", "data file"])
def test_a_name_in_a_build_report(what, name, dataset, tmp_path, capsys):
    out = planted_dataset(dataset, tmp_path, what, hostile(name, tmp_path, tmp_path))
    before = digest(out)
    noisy = str(tmp_path / "noisy")
    commands = [
        ["push", str(out), "me/x", "--dry-run"],
        ["evaluate", "--model", "m", "--dataset", str(out), "--split", "clear"],
        ["count-labels", str(out)],
        ["add-label-noise", "--dataset", str(out), "--out", noisy, "--config", "slc-strict"],
        ["train", "--method", "hard_vote", "--dataset", str(out), "--output_dir", str(tmp_path / "run")],
    ]
    for command in commands:
        try:
            status = main(command)
        except SystemExit as exit_:
            status = exit_.code
        assert status == 2, command
        assert f"build_report.json: the {what}" in capsys.readouterr().err.strip().splitlines()[-1], command
    with pytest.raises(NotAName):
        read_dataset_info(out)
    assert (tmp_path / "victim").read_text() == "somebody's own" and digest(out) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "victim"}


@pytest.mark.parametrize("pattern", ["../victim*.parquet", "/ABSOLUTE", "x/../../y.parquet"])
@pytest.mark.parametrize("file", ["README.md", ".huggingface.yaml"])
def test_a_data_file_in_the_card_of_a_data_set(file, pattern, dataset, tmp_path):
    out = tmp_path / "dataset"
    shutil.copytree(dataset, out)
    text = (out / "README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    header["configs"][0]["data_files"][0]["path"] = [pattern.replace("/ABSOLUTE", str(tmp_path / "v.parquet"))]
    text = yaml.safe_dump(header)
    (out / file).write_text(f"---\n{text}---\n" if file == "README.md" else text)
    with pytest.raises(NotAName, match=rf"{re.escape(file)}: the data file"):
        load_split(out, "slc-strict", "clear", cache_dir=tmp_path / "cache")


def test_label_noise_is_not_written_beside_the_new_folder(dataset, tmp_path):
    """Of a pattern that leads out, the copy would have been written outside of the new data set, too."""
    out = planted_dataset(dataset, tmp_path, "data file", "../../../victim")
    with pytest.raises(NotAName):
        add_label_noise(out, tmp_path / "noisy", LabelNoise("slc-strict"), progress=False)
    assert not (tmp_path / "noisy").exists() and os.listdir(tmp_path / "a" / "b") == ["dataset"]
