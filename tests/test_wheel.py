"""An installed wheel does everything: built from the checkout, installed where the checkout is not visible, used."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from helpers.made_run import TINY


ROOT = Path(__file__).parents[1]
COMMANDS = (
    "demo", "build", "count-labels", "add-label-noise", "configs", "train", "evaluate", "calibrate", "study",
    "report", "card", "push", "benchmark",
)  # fmt: skip
# The help of every command but train's, where torch, transformers and datasets cannot be imported.
HELP_WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "datasets", "scipy"):
    sys.modules[name] = None
from hf_ambiser.cli import COMMANDS, main
for words in [[], *([name] for name in COMMANDS if name != "train")]:
    try:
        main([*words, "--help"])
    except SystemExit as end:
        assert end.code == 0, words
"""
# Commands one after the other, for each process imports torch and transformers anew: what each of them printed.
COMMANDS_OF_ONE_PROCESS = """
import contextlib, io, json, sys
from hf_ambiser.cli import main
said = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(words)
    assert not status, (words, status)
    said.append(out.getvalue())
print(json.dumps(said))
"""


class Installed:
    """A virtual environment with the wheel, and a folder outside the checkout to work in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.venv = folder, folder / "venv"

    def python(self, *words: str) -> subprocess.CompletedProcess:
        """Its interpreter, which must succeed."""
        return self._call(self.venv / "bin" / "python", *words)

    def hf_ambiser(self, *words: str) -> subprocess.CompletedProcess:
        """Its `hf-ambiser`, which must succeed."""
        return self._call(self.venv / "bin" / "hf-ambiser", *words)

    def _call(self, *words: object) -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, cwd=self.folder, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
        return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    """The wheel of the files that git knows, as a user has it, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves folders behind, which the checkout should not have
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "pyproject.toml", "README.md",
         "LICENSE", "hf_ambiser"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, files):
        if (ROOT / name).is_file():  # not one that is deleted and not committed yet
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index", "--quiet"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    place = Installed(folder / "work")
    venv.create(place.venv, with_pip=False, symlinks=True)
    subprocess.run(
        [*pip, "--python", str(place.venv / "bin" / "python"), "install", *offline, "--no-compile", str(wheel)],
        check=True,
        cwd=folder,
    )
    # What the wheel depends on is where these tests have it. Of a folder that a .pth names Python reads no .pth files,
    # so an editable installation of the checkout stays invisible.
    (packages,) = (place.venv / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # The environment lies in a repository of the user's, whose commit is none of the package's.
    for words in (["init", "--quiet"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "x"]):
        subprocess.run(
            ["git", *words, *(["--allow-empty"] if "commit" in words else [])], check=True, cwd=place.folder
        )
    return place


def test_the_package_is_the_wheels_and_has_every_file_of_the_checkout(installed):
    done = installed.python("-c", "import hf_ambiser; print(hf_ambiser.__file__)")
    package = Path(done.stdout.strip()).parent
    assert package.is_relative_to(installed.venv)
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "hf_ambiser"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    there = {path.relative_to(package.parent).as_posix() for path in package.rglob("*") if path.is_file()}
    missing = [name for name in files if name and (ROOT / name).is_file() and name not in there]
    assert missing == [] and "hf_ambiser/configs/crema_d/ipr.yaml" in there


def test_help_waits_for_no_torch_and_names_every_command(installed):
    said = installed.python("-c", HELP_WITHOUT_TORCH).stdout
    for name in COMMANDS:
        assert f"\n    {name} " in said or f"\n    {name}\n" in said
        assert name == "train" or f"usage: hf-ambiser {name}" in said
    listed = installed.hf_ambiser("configs").stdout
    assert "  crema_d/ipr " in listed and "  crema_d/study " in listed
    shown = installed.hf_ambiser("configs", "crema_d/ipr").stdout
    assert shown == (ROOT / "hf_ambiser" / "configs" / "crema_d" / "ipr.yaml").read_text()


@pytest.fixture(scope="module")
def said(installed) -> dict[str, str]:
    """What each command prints, by its name."""
    build = [
        "build", "simulated", "--root", "corpus", "--out", "data", "--n-utterances", "80", "--n-speakers", "10",
        "--configs", "slc-strict", "--no-progress",
    ]  # fmt: skip
    train = [
        "train", "--config", "simulated/slc", "--dataset", "data", "--output_dir", "runs/slc/0",
        "--num_train_epochs", "1", "--finetune_epochs", "1", "--encoder_fields", json.dumps(TINY),
        "--disable_tqdm", "true",
    ]  # fmt: skip
    evaluate = [
        "evaluate", "--model", "runs/slc/0/model", "--dataset", "data", "--config", "slc-strict", "--split", "test",
        "--out", "scores.json",
    ]  # fmt: skip
    study = ["study", "--plan", "papers/ipr_table_3", "--dry-run"]
    commands = [build, train, evaluate, ["report", "runs"], study]
    done = installed.python("-c", COMMANDS_OF_ONE_PROCESS, json.dumps(commands))
    return dict(zip([words[0] for words in commands], json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_from_a_corpus_to_a_report_outside_the_checkout(installed, said):
    assert said["build"].splitlines()[-1].startswith("80 in = ")
    assert said["train"].splitlines()[-1] == "run folder: runs/slc/0"
    results = json.loads((installed.folder / "runs/slc/0/results.json").read_text())
    assert results["method"] == "slc" and results["environment"]["commit"] is None
    assert "protocol strict" in said["evaluate"]
    scores = json.loads((installed.folder / "scores.json").read_text())
    assert scores["all"]["class_counts"] == results["scores"]["test"]["all"]["class_counts"]
    assert "| slc | 1 |" in said["report"]
    for name in ("runs/slc/0/model/README.md", "runs/report/report.md", "runs/report/report.html"):
        assert (installed.folder / name).is_file(), name


def test_a_shipped_plan_is_read_by_its_name(said):
    assert (
        said["study"].startswith("ipr_table_3: 20 cells") and "d1 1539" in said["study"] and "d3 400" in said["study"]
    )
