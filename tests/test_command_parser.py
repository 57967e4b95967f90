"""A mistake on any command line gets one line that names the thing, the value and what is allowed."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from helpers.scripts import start_script

from hf_ambiser.cli import COMMANDS, main
from hf_ambiser.files.command_parser import CommandParser


ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(
    path for folder in ("train_scripts", "dataset_scripts") for path in (ROOT / folder).glob("*.py")
    if "CommandParser(" in path.read_text()
)  # fmt: skip


def refused(call, capture) -> str:
    try:
        status = call()
    except SystemExit as stop:
        status = stop.code
    said = capture.readouterr().err
    assert status == 2 and said.count("\n") == 1 and "usage" not in said, said
    return said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_in_one_line_that_it_has_no_such_option(command, capsys):
    words = {"build": ["crema_d", "--root", "x", "--out", "y"], "study": ["--plan", "x"], "train": ["--method", "ipr"]}
    said = refused(lambda: main([command, *words.get(command, []), "--no-such-option"]), capsys)
    assert "--no-such-option" in said or "must be given" in said


def test_a_threshold_that_is_neither_word_nor_number(capsys):
    said = refused(lambda: main(["build", "crema_d", "--root", "x", "--out", "y", "--clear-threshold", "abc"]), capsys)
    assert "--clear-threshold: 'abc' is neither a number nor 'unanimous'." in said


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_of_ours_does_so(script, capfd):
    said = refused(lambda: start_script(script, "--no-such-option"), capfd)
    assert "--no-such-option is not known here" in said or "must be given" in said


def test_no_command_has_another_parser():
    """`train` alone has transformers' own, with the same sentences."""
    files = [*(ROOT / "hf_ambiser").rglob("*.py"), *(ROOT / "train_scripts").glob("*.py")]
    files += (ROOT / "dataset_scripts").glob("*.py")
    assert not [path for path in files if " argparse.ArgumentParser(" in path.read_text()]


def parser() -> CommandParser:
    made = CommandParser(prog="tool")
    made.add_argument("--window", type=float)
    made.add_argument("--jobs", "-j", type=int)
    made.add_argument("--form", choices=("table", "csv"))
    made.add_argument("--splits", nargs="+")
    made.add_argument("--sizes", nargs=3)
    made.add_argument("--quiet", action="store_true")
    made.add_argument("--share", type=share)
    made.add_argument("folder")
    return made


def share(text: str) -> float:
    raise argparse.ArgumentTypeError(f"{text} is no share; give a number from 0 to 1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x", "--window", "abc"], "--window 'abc' is not a number."),
        (["x", "-j", "1.5"], "--jobs/-j '1.5' is not a whole number."),
        (["x", "--form", "xml"], "--form 'xml' is not one of"),
        (["x", "--window"], "--window needs a value."),
        (["x", "--splits"], "--splits needs one value or more."),
        (["x", "--sizes", "1", "2"], "--sizes needs 3 values."),
        (["x", "--quiet=yes"], "--quiet takes no value, and got 'yes'."),
        (["x", "--splits", "a", "--splits", "b"], "--splits is given twice; give all its values after one of them."),
        (["x", "--share", "2"], "--share: 2 is no share; give a number from 0 to 1."),
        ([], "folder must be given."),
        (["--widnow", "2"], "--widnow is not known here (did you mean '--window'?)."),
        (["--widnow=2"], "--widnow=2 is not known here (did you mean '--window'?)."),
        (["--wind", "2"], "folder must be given."),
        (["x", "--widnow", "2"], "--widnow 2 are not known here (did you mean '--window'?)."),
        (["x", "y"], "y is not known here."),
    ],
)
def test_what_is_said(words, said, capsys):
    line = refused(lambda: parser().parse_args(words), capsys)
    assert line.startswith(f"tool: {said}") and line.endswith("See tool --help.\n")


def test_of_an_option_with_one_value_the_last_one_counts_and_a_parser_can_be_used_again():
    made = parser()
    assert made.parse_args(["x", "-j", "1", "--jobs", "2"]).jobs == 2
    for _ in range(2):
        assert made.parse_args(["x", "--splits", "a", "b"]).splits == ["a", "b"]
