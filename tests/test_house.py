"""The rules of the house that a machine can hold and ruff does not: who may import whom, whose names stand where.

Each rule is one test, which lists every place that breaks it. Each rule also has examples: what it must see, and what
it must let pass.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.package_imports import PACKAGE, SOURCES, cycles, imports, room_of

from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.run_folder.layout import CHECKPOINT, RunFolder
from hf_ambiser.training.trainer import AmbiSERTrainer


# A room is a folder or a file at the top of the package. What each may import of the others, from the ground up.
ROOMS = {
    "untrusted": "",
    "entry_points": "",
    "labels": "entry_points",
    "models": "",
    "files": "",
    "run_folder": "files",
    "hub": "",
    "metrics": "labels",
    "plotting": "files run_folder",
    "evaluate_module": "labels metrics",
    "data": "labels files metrics hub entry_points",
    "label_analysis": "labels files metrics run_folder data",
    "run_scores": "labels files metrics run_folder data",
    "training": "labels files metrics run_folder data models",
    "methods": "labels files metrics run_folder data models training label_analysis plotting",
    "cards": "labels files metrics run_folder data models training label_analysis run_scores plotting hub methods",
    # A report reads the plan of a study through the class that wrote it, and nothing else of studies.
    "report": "labels files metrics run_folder data models training label_analysis run_scores plotting hub methods"
    " studies.plan_file",
    # Answers need no training but how ranks part: of data they know only how audio is checked. An annotated corpus is
    # published.
    "inference": "files run_folder models plotting data.audio data.sound_file hub training.distributed",
    # The page shows answers beside the raters' votes.
    "app": "labels files metrics run_folder data plotting inference",
    # What to rate next, by a model that is opened as for any answer, or by what finished runs have answered.
    "next_ratings": "labels files run_folder data inference",
    "runs": "labels files metrics run_folder data models training label_analysis run_scores plotting hub methods"
    " cards inference",
    "studies": "labels files metrics run_folder data models training label_analysis plotting hub methods cards runs",
    "benchmark": "labels files metrics run_folder data models training plotting hub methods inference runs",
    # What a user starts stands on top of all rooms, and no room knows it.
    "train": "*",
    "demo": "*",
    "cli": "* train demo",
    "hf_ambiser": "*",
}
# What is read from files is checked and escaped by one room, which every other may import; it imports none.
EVERYWHERE = "untrusted"
ENTRIES = ("train", "demo", "cli", "hf_ambiser")
# What these import of libraries, besides Python's own.
LIBRARIES = {
    "hf_ambiser/models/": ("torch", "transformers"),  # these files travel to the Hub
    "hf_ambiser/labels/": ("numpy", "scipy"),
    "hf_ambiser/metrics/": ("numpy", "scipy"),
    "hf_ambiser/training/losses.py": ("torch",),
    "hf_ambiser/training/schedules.py": ("torch",),
}
# Models of raters come from crowd-kit, which an installation may lack.
CROWD = ("hf_ambiser/labels/aggregation.py", ("crowdkit", "pandas"))
WITHOUT_TRANSFORMERS = (EVERYWHERE, "labels", "metrics", "files", "run_folder", "hub", "plotting", "data")
WITHOUT_TRANSFORMERS += ("label_analysis", "run_scores")
# What a training machine may lack, or what is slow to import.
HEAVY = ("datasets", "evaluate", "matplotlib", "torchaudio", "peft", "sklearn")
# An `evaluate` module and a `datasets` builder are those libraries' own kinds of file.
NEEDS_ITS_LIBRARY = ("hf_ambiser/evaluate_module/ambiser_metrics.py", "hf_ambiser/data/builder.py")
LONGEST = 400


# ---- the rules: what of a file breaks each one, as (line, what stands there) ---------------------------------------

Found = Iterator[tuple[int, str]]


def _rooms(file: str, source: str) -> Found:
    own = room_of(file)
    if own not in ROOMS:
        yield 1, f"is in a room of which ROOMS in {Path(__file__).name} does not say what it may import: {own}"
        return
    below = [room for room in ROOMS if room not in ENTRIES]
    allowed = [room for word in ROOMS[own].split() for room in (below if word == "*" else [word])]
    for i in imports(file, source):
        everywhere = i.room == EVERYWHERE and own != "models"  # these files travel to the Hub
        if i.ours and i.room != own and not everywhere and not any(i.within(f"hf_ambiser.{name}") for name in allowed):
            yield i.line, f"imports {i.name}; {own} may import {', '.join(allowed) or 'no other room'}"


def _methods(file: str, source: str) -> Found:
    own = file.split("/")[2] if file.startswith("hf_ambiser/methods/") else None
    for i in imports(file, source) if own else ():
        if i.within("hf_ambiser.methods") and i.name.count(".") > 1 and i.name.split(".")[2] != own:
            yield i.line, f"imports {i.name}, another method"


def _libraries(file: str, source: str) -> Found:
    allowed = next((tops for place, tops in LIBRARIES.items() if file.startswith(place)), None)
    for i in imports(file, source) if allowed is not None else ():
        crowd = file == CROWD[0] and i.late and i.top in CROWD[1]
        if not (i.ours or i.top in sys.stdlib_module_names or i.top in allowed or crowd):
            yield i.line, f"imports {i.name}; it may import {', '.join(allowed)} and Python's own library"


def _no_transformers(file: str, source: str) -> Found:
    for i in imports(file, source) if room_of(file) in WITHOUT_TRANSFORMERS else ():
        if i.top == "transformers" and not i.checking:
            yield i.line, f"imports {i.name}"


def _late(file: str, source: str) -> Found:
    for i in imports(file, source) if file not in NEEDS_ITS_LIBRARY else ():
        if i.top in HEAVY and not (i.late or i.checking):
            yield i.line, f"imports {i.name} outside a function"


def _style(file: str, source: str) -> Found:
    models = file.startswith("hf_ambiser/models/")
    for i in imports(file, source):
        sibling = i.relative is not None and i.relative.startswith(".") and i.relative[1:].isidentifier()
        if i.relative is not None and not (models and sibling):
            yield i.line, f"imports {i.relative}"
        elif models and i.ours and not sibling:
            yield i.line, f"imports {i.name}"


def _never_up(file: str, source: str) -> Found:
    for i in imports(file, source):
        if i.top in ("dataset_scripts", "train_scripts", "model_cards", "tests", "helpers", "conftest"):
            yield i.line, f"imports {i.name}"


def _length(file: str, source: str) -> Found:
    if (n := len(source.splitlines())) > LONGEST:
        yield n, f"is the last line; {LONGEST} are allowed"


# Two of its files have names that other folders have, too.
_PARTS = {path.name for path in vars(RunFolder("run")).values()} - {"run", "README.md", "figures"}
_PATH_CALLS = ("joinpath", "join", "open", "glob", "rglob", "iglob", "with_name", "Path", "PurePath", "startswith")


def _run_folder(file: str, source: str) -> Found:
    if file.startswith("hf_ambiser/run_folder/"):
        return
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [node.left, node.right]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in _PATH_CALLS:
            parts = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
        elif isinstance(node, ast.Assign | ast.Compare):
            # A name with a dot is a file's; `model` and the like may be any word.
            parts = [value for value in ast.walk(node) if isinstance(value, ast.Constant) and "." in str(value.value)]
        else:
            continue
        for part in parts:
            # Of `f"checkpoint-{step}"` the text before the braces.
            text = part.values[0] if isinstance(part, ast.JoinedStr) and part.values else part
            words = text.value.split("/") if isinstance(text, ast.Constant) and isinstance(text.value, str) else ()
            yield from (
                (node.lineno, f"spells {word!r}") for word in words if word in _PARTS or word.startswith(CHECKPOINT)
            )


# Rooms that read what others may have written, and the file that looks names up in a list of its own.
READERS, LOOKS_UP = ("run_folder", "report", "cards", "run_scores", "label_analysis", "runs"), "runs/config_files.py"


def _names(file: str, source: str) -> Found:
    if room_of(file) not in READERS or file.endswith(LOOKS_UP):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.JoinedStr):
            # A number has a format, as `{epoch:04d}`, and cannot be a path.
            if any(isinstance(part, ast.FormattedValue) and part.format_spec is None for part in node.right.values):
                yield node.lineno, f"makes a path of a name: {ast.unparse(node)}; use untrusted.names.path_of_name"


# Calls that read a stored file, and the files that may make them because what they read is no such file.
_READS = {
    "json": ("load", "loads"),
    "yaml": ("load", "load_all", "safe_load", "safe_load_all", "full_load", "unsafe_load"),
    "pq": ("read_table", "read_metadata", "read_schema", "ParquetFile", "ParquetDataset"),
    "pd": ("read_parquet", "read_json"),
    "": ("metadata_load",),
}
_MAY_READ = {
    "hf_ambiser/benchmark/grid.py": "its own text, to copy a value as JSON has it",
    "hf_ambiser/data/simulated/corpus.py": "its own text, to copy a value as JSON has it",
    "hf_ambiser/data/split_source.py": "the description of a data set in memory",
    "hf_ambiser/hub/edits.py": "a line of a card; CardError names the card and the line",
    "hf_ambiser/hub/leaks.py": "any bytes that are about to be published",
    "hf_ambiser/report/provenance.py": "its own text",
    "hf_ambiser/runs/given.py": "its own text, to copy a value as JSON has it",
    "hf_ambiser/training/checkpoints.py": "a marker, without which a checkpoint does not count",
}


def _readers(file: str, source: str) -> Found:
    if file.startswith("hf_ambiser/files/") or file in _MAY_READ:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            what, name = ["", *ast.unparse(node.func).split(".")][-2:]
            if name in _READS.get({"parquet": "pq", "pandas": "pd"}.get(what, what), ()):
                yield node.lineno, f"calls {ast.unparse(node.func)}; a reader of hf_ambiser.files.read names the file"


def _writers(file: str, source: str) -> Found:
    if file == "hf_ambiser/training/trainer.py":  # into a checkpoint, which counts only if it is whole
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "save_file":
            yield (
                node.lineno,
                "calls save_file, which leaves .tmp... if it is killed; write what `save` returns",
            )


@dataclass(frozen=True)
class Rule:
    """A rule, and examples (file, source) that break it and that keep it."""

    breaks: Callable[[str, str], Found]
    broken: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...] = ()

    def offenders(self, sources: dict[str, str]) -> list[str]:
        """`file:line what stands there`, for every place that breaks it."""
        found = {
            f"{file}:{line} {what}" for file, source in sources.items() for line, what in self.breaks(file, source)
        }
        return sorted(found)


RULES = {
    "a room imports what stands below it": Rule(
        _rooms,
        (
            ("hf_ambiser/untrusted/a.py", "from hf_ambiser.labels.votes import x"),
            ("hf_ambiser/models/a.py", "from hf_ambiser.untrusted.names import x"),
            ("hf_ambiser/labels/a.py", "from hf_ambiser.data.schema import x"),
            ("hf_ambiser/metrics/a.py", "from hf_ambiser.training.losses import x"),
            ("hf_ambiser/run_folder/a.py", "from hf_ambiser.labels.votes import x"),
            ("hf_ambiser/hub/a.py", "from hf_ambiser.runs.run import x"),
            ("hf_ambiser/plotting/a.py", "from hf_ambiser.report.table import x"),
            ("hf_ambiser/data/a.py", "from hf_ambiser import models"),
            ("hf_ambiser/data/splits/a.py", "def f():\n    from hf_ambiser.methods import x"),
            ("hf_ambiser/training/a.py", "from hf_ambiser.methods.ipr import x"),
            ("hf_ambiser/methods/ipr/a.py", "from hf_ambiser.runs.arguments import x"),
            ("hf_ambiser/methods/ipr/a.py", "from hf_ambiser.cards.facts import x"),
            ("hf_ambiser/cards/a.py", "def f():\n    from hf_ambiser.runs.push import x"),
            ("hf_ambiser/report/a.py", "from hf_ambiser import runs"),
            ("hf_ambiser/report/a.py", "from hf_ambiser.studies.cells import x"),
            ("hf_ambiser/report/a.py", "from hf_ambiser.studies.plan import x"),
            ("hf_ambiser/runs/a.py", "from hf_ambiser.studies import plan"),
            ("hf_ambiser/runs/a.py", "from ..cli import main"),
            ("hf_ambiser/demo.py", "import hf_ambiser.cli"),
            ("hf_ambiser/runs/a.py", "from hf_ambiser import load_split"),
            ("hf_ambiser/a_new_room/a.py", ""),
        ),
        (
            ("hf_ambiser/run_folder/a.py", "from hf_ambiser.untrusted.names import x"),
            ("hf_ambiser/metrics/a.py", "from hf_ambiser.labels.votes import x\nfrom hf_ambiser.metrics import y"),
            ("hf_ambiser/data/a.py", "import torch\nimport hf_ambiser.data.schema\nfrom hf_ambiser.hub import push"),
            (
                "hf_ambiser/report/a.py",
                "from hf_ambiser.studies.plan_file import x\nfrom hf_ambiser.studies import plan_file",
            ),
            ("hf_ambiser/cli.py", "def f():\n    from hf_ambiser.demo import x\n    from hf_ambiser import runs"),
        ),
    ),
    "a method imports no other method": Rule(
        _methods,
        (("hf_ambiser/methods/ipr/a.py", "from hf_ambiser.methods.self_training import x"),),
        (("hf_ambiser/methods/ipr/a.py", "from hf_ambiser.methods.ipr.prototypes import y"),),
    ),
    "some files import few libraries": Rule(
        _libraries,
        (
            ("hf_ambiser/models/a.py", "import numpy"),
            ("hf_ambiser/labels/votes.py", "import torch"),
            ("hf_ambiser/labels/aggregation.py", "import pandas"),
            ("hf_ambiser/labels/votes.py", "def f():\n    import crowdkit"),
            ("hf_ambiser/metrics/a.py", "def f():\n    import transformers"),
            ("hf_ambiser/training/losses.py", "from transformers import x"),
        ),
        (
            ("hf_ambiser/models/a.py", "import math\nimport torch.nn\nfrom transformers.utils import x"),
            ("hf_ambiser/metrics/a.py", "import numpy as np\nfrom scipy import stats"),
            ("hf_ambiser/labels/aggregation.py", "def f():\n    from crowdkit.aggregation import MACE"),
        ),
    ),
    "labels, figures and files on disk need no transformers": Rule(
        _no_transformers,
        (
            ("hf_ambiser/hub/a.py", "from transformers import x"),
            ("hf_ambiser/plotting/a.py", "def f():\n    import transformers.utils"),
        ),
        (("hf_ambiser/data/a.py", "if TYPE_CHECKING:\n    from transformers import x"),),
    ),
    "what a training machine may lack is imported late": Rule(
        _late,
        (("hf_ambiser/report/a.py", "import matplotlib.pyplot as plt"), ("hf_ambiser/data/a.py", "import datasets")),
        (("hf_ambiser/report/a.py", "def f():\n    import sklearn"),),
    ),
    "models/ says `from .sibling import Name`, and all others import absolutely": Rule(
        _style,
        (
            ("hf_ambiser/models/a.py", "from . import b"),
            ("hf_ambiser/models/a.py", "from ..labels import b"),
            ("hf_ambiser/models/a.py", "from .sub.b import c"),
            ("hf_ambiser/models/a.py", "def f():\n    import hf_ambiser"),
            ("hf_ambiser/report/a.py", "from .table import x"),
        ),
        (("hf_ambiser/models/a.py", "from .b import C"),),
    ),
    "a name becomes a path in one function": Rule(
        _names,
        (
            ("hf_ambiser/cards/a.py", 'x = out / f"{split}.png"'),
            ("hf_ambiser/run_folder/a.py", 'x = self.predictions / "a" / f"{name}"'),
        ),
        (
            ("hf_ambiser/run_folder/a.py", 'x = self.trajectory / f"epoch_{epoch:04d}.parquet"\ny = a / "b"'),
            ("hf_ambiser/cards/a.py", 'x = path_of_name(out, split, "split", source, suffix=".png")\ny = n / total'),
        ),
    ),
    "scripts and tests import the package, never the reverse": Rule(
        _never_up, (("hf_ambiser/report/a.py", "from train_scripts import train"),)
    ),
    "files are short": Rule(
        _length, (("hf_ambiser/a.py", "\n" * (LONGEST + 1)),), (("hf_ambiser/a.py", "\n" * LONGEST),)
    ),
    "only files/ reads JSON, YAML and Parquet": Rule(
        _readers,
        (
            ("hf_ambiser/report/a.py", "x = json.loads(path.read_text())"),
            ("hf_ambiser/report/a.py", "with open(path) as f:\n    x = json.load(f)"),
            ("hf_ambiser/runs/a.py", "x = yaml.safe_load(text)"),
            ("hf_ambiser/runs/a.py", "x = yaml.load(text, Loader=Strict)"),
            ("hf_ambiser/data/a.py", "x = pq.read_table(path)"),
            ("hf_ambiser/data/a.py", "x = pyarrow.parquet.read_metadata(path)"),
            ("hf_ambiser/data/a.py", "with pq.ParquetFile(path) as f:\n    pass"),
            ("hf_ambiser/data/a.py", "x = pandas.read_parquet(path)"),
            ("hf_ambiser/data/a.py", "x = metadata_load(card)"),
        ),
        (
            ("hf_ambiser/files/a.py", "x = json.loads(text)"),
            ("hf_ambiser/hub/leaks.py", "x = json.loads(text)"),
            ("hf_ambiser/report/a.py", "x = json.dumps(y)\nz = yaml.safe_dump(y)\npq.write_table(t, path)"),
        ),
    ),
    "a killed writer leaves no file of another name": Rule(
        _writers,
        (("hf_ambiser/methods/ipr/a.py", "from safetensors.torch import save_file\nsave_file({}, part)"),),
        (("hf_ambiser/methods/ipr/a.py", "part.write_bytes(save({}))"),),
    ),
    "only run_folder/ spells the names of a run's files": Rule(
        _run_folder,
        (
            ("hf_ambiser/report/a.py", 'x = run / "predictions" / name'),
            ("hf_ambiser/report/a.py", 'x = run.joinpath("model")'),
            ("hf_ambiser/report/a.py", 'x = open(f"{run}/x") or run.glob("trajectory/*.parquet")'),
            ("hf_ambiser/studies/a.py", 'x = folder / f"checkpoint-{step}"'),
            ("hf_ambiser/studies/a.py", 'found = path.name == "results.json"'),
            ("hf_ambiser/studies/a.py", 'RESULTS = "results.json"'),
        ),
        (
            ("hf_ambiser/report/a.py", '"""Reads predictions."""\nx = {"base_model": 1}["base_model"]'),
            ("hf_ambiser/report/a.py", 'kind = "model"\nraise ValueError("there is no results.json; run it again.")'),
            ("hf_ambiser/report/a.py", 'x = run / "figures" / "model.safetensors"'),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule):
    assert RULES[rule].offenders(SOURCES) == []


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_seen(rule):
    seen = [RULES[rule].offenders({file: source}) for file, source in RULES[rule].broken]
    assert all(file in found[0] for (file, _), found in zip(RULES[rule].broken, seen, strict=True)), seen
    assert [found for found in seen if len(found) != 1] == []
    assert RULES[rule].offenders(dict(RULES[rule].kept)) == []
    for file, source in RULES[rule].kept:
        assert RULES[rule].offenders({file: source}) == []


# ---- rules about the package as a whole ----------------------------------------------------------------------------


def test_the_exceptions_of_the_readers_are_needed():
    without = {file: source for file, source in SOURCES.items() if file in _MAY_READ}
    assert sorted(without) == sorted(_MAY_READ)
    assert [f for f, source in without.items() if not list(_readers(f"{f}.py", source))] == []


def test_rooms_import_each_other_in_no_circle():
    assert cycles(SOURCES) == []


def test_a_circle_is_seen_with_its_lines():
    circle = {
        "hf_ambiser/cards/a.py": "from hf_ambiser.runs.push import x",
        "hf_ambiser/runs/b.py": "def f():\n    from hf_ambiser.report import y",
        "hf_ambiser/report/c.py": "import os\nimport hf_ambiser.cards",
        "hf_ambiser/demo.py": "from hf_ambiser.runs.run import run",
    }
    assert cycles(circle) == [
        "cards -> runs: hf_ambiser/cards/a.py:1",
        "report -> cards: hf_ambiser/report/c.py:2",
        "runs -> report: hf_ambiser/runs/b.py:2",
    ]


def test_every_method_is_a_folder_with_its_trainer():
    folders = sorted(p.name for p in (PACKAGE / "methods").iterdir() if p.is_dir() and not p.name.startswith("_"))
    assert available_methods() == folders
    for name in folders:
        trainer = load_method(name)
        assert issubclass(trainer, AmbiSERTrainer) and trainer.name == name
    with pytest.raises(ValueError, match="no method 'irp'; choose one of .*'ipr'"):
        load_method("irp")
