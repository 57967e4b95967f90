"""The rules of the house that a machine can hold: who may import whom, file sizes, no printing."""

import ast
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hf_ambiser"
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
NUMPY_ONLY = (
    "hf_ambiser/labels/aggregation.py",
    "hf_ambiser/labels/votes.py",
    "hf_ambiser/labels/policies.py",
    "hf_ambiser/metrics",
)
LABELS = [f"hf_ambiser.{name}" for name in ("aggregation", "label_policies", "labels")]
RUN = [f"hf_ambiser.{name}" for name in ("cards", "cli", "demo", "report", "runs", "train")]
HEAVY = ("datasets", "evaluate", "matplotlib", "torchaudio", "peft", "sklearn")


class Import:
    """One imported module, absolute (`hf_ambiser.data.splits`), and where it stands."""

    def __init__(self, name: str, line: int, late: bool, checking: bool, relative: str | None = None) -> None:
        self.name, self.line, self.late, self.checking, self.relative = name, line, late, checking, relative
        self.top = name.split(".")[0]

    def within(self, *packages: str) -> bool:
        return any(self.name == p or self.name.startswith(p + ".") for p in packages)


def imports(file: str, source: str) -> list[Import]:
    """All imports of a file; `late` inside a function, `checking` under `if TYPE_CHECKING`."""
    package = file.removesuffix(".py").split("/")[:-1]
    found: list[Import] = []

    def visit(node: ast.AST, late: bool, checking: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, late, checking) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1] + ([node.module] if node.module else [])
                dots = "." * node.level + (node.module or "")
                found.append(Import(".".join(base), node.lineno, late, checking, dots))
            else:
                # `from hf_ambiser import checkpoints` imports hf_ambiser.training.checkpoints.
                submodules = [f"{node.module}.{alias.name}" for alias in node.names]
                known = [s for s in submodules if s.replace(".", "/") + ".py" in FILES or _is_package(s)]
                names = known if len(known) == len(submodules) else [node.module or "", *known]
                found.extend(Import(name, node.lineno, late, checking) for name in names)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            late = True
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                visit(child, late, True)
            for child in node.orelse:
                visit(child, late, checking)
            return
        for child in ast.iter_child_nodes(node):
            visit(child, late, checking)

    visit(ast.parse(source), False, False)
    return found


def _is_package(name: str) -> bool:
    return name.replace(".", "/") + "/__init__.py" in FILES


def violations(file: str, source: str) -> list[str]:
    """What of the import direction a file breaks."""
    broken = []

    def check(allowed: bool, imported: Import, rule: str) -> None:
        if not allowed:
            broken.append(f"{file}:{imported.line} imports {imported.relative or imported.name}: {rule}")

    stem = file.removeprefix("hf_ambiser/")
    for i in imports(file, source):
        library = i.top in sys.stdlib_module_names or i.top == "__future__"
        check(
            i.top not in ("dataset_scripts", "train_scripts", "tests", "conftest", "made_data"),
            i,
            "scripts and tests import the package, never the reverse",
        )
        if stem.startswith("models/"):
            sibling = i.relative is not None and i.relative.startswith(".") and i.relative[1:].isidentifier()
            check(
                library or i.top in ("torch", "transformers") or sibling,
                i,
                "models/ imports torch, transformers and `from .sibling import Name` only",
            )
            continue
        check(i.relative is None, i, "outside models/ imports are absolute")
        if file.startswith(NUMPY_ONLY):
            mine = i.top == "hf_ambiser" and f"{i.name.replace('.', '/')}.py".startswith(NUMPY_ONLY)
            # Models of raters come from crowd-kit, which an installation may lack.
            crowd = stem == "aggregation.py" and i.late and i.top in ("crowdkit", "pandas")
            check(library or i.top in ("numpy", "scipy") or mine or crowd, i, "labels and metrics are numpy only")
        if stem in ("losses.py", "schedules.py"):
            check(library or i.top == "torch", i, "losses and schedules are functions of tensors and numbers")
        if stem.startswith("data/"):
            inside = i.within("hf_ambiser.data", "hf_ambiser.hub", *LABELS)
            check(i.top != "hf_ambiser" or inside, i, "data -> labels, hub")
            check(i.top != "transformers" or i.checking, i, "data knows no transformers")
        if stem.startswith("hub/"):
            check(
                i.top != "hf_ambiser" or i.within("hf_ambiser.hub"),
                i,
                "hub knows files and cards, not what is in them",
            )
        if stem.startswith("methods/"):
            own = stem.split("/")[1]
            method = i.name.split(".")[2] if i.name.startswith("hf_ambiser.methods.") else own
            check(method == own, i, "a method never imports another one")
            check(not i.within(*RUN), i, "a method knows the trainer, not the run")
        if stem in ("trainer.py", "training_arguments.py", "label_table.py", "trajectory.py", "distributed.py"):
            check(not i.within("hf_ambiser.methods"), i, "what methods build on does not know them")
    return broken


@pytest.mark.parametrize("file", FILES)
def test_imports_go_one_way(file):
    assert violations(file, FILES[file].read_text()) == []


@pytest.mark.parametrize(
    "file,source,words",
    [
        ("hf_ambiser/models/a.py", "import numpy", "models/"),
        ("hf_ambiser/models/a.py", "from hf_ambiser.training.losses import x", "models/"),
        ("hf_ambiser/models/a.py", "from . import b", "models/"),
        ("hf_ambiser/models/a.py", "from ..labels import b", "models/"),
        ("hf_ambiser/models/a.py", "from .sub.b import c", "models/"),
        ("hf_ambiser/models/a.py", "def f():\n    import hf_ambiser", "models/"),
        ("hf_ambiser/labels/votes.py", "import torch", "numpy only"),
        ("hf_ambiser/labels/policies.py", "from hf_ambiser.data.schema import x", "numpy only"),
        ("hf_ambiser/labels/aggregation.py", "import pandas", "numpy only"),
        ("hf_ambiser/labels/votes.py", "def f():\n    import crowdkit", "numpy only"),
        ("hf_ambiser/metrics/more.py", "def f():\n    import transformers", "numpy only"),
        ("hf_ambiser/metrics/__init__.py", "from hf_ambiser.training.losses import x", "numpy only"),
        ("hf_ambiser/training/losses.py", "from transformers import x", "losses"),
        ("hf_ambiser/training/losses.py", "from hf_ambiser.training.label_table import x", "losses"),
        ("hf_ambiser/data/a.py", "from hf_ambiser.training.trainer import x", "data -> labels"),
        ("hf_ambiser/hub/a.py", "from hf_ambiser.runs.run import x", "hub knows files"),
        ("hf_ambiser/data/a.py", "from hf_ambiser import models", "data -> labels"),
        ("hf_ambiser/data/splits/a.py", "def f():\n    from hf_ambiser.methods import x", "data -> labels"),
        ("hf_ambiser/data/a.py", "from transformers import x", "no transformers"),
        ("hf_ambiser/methods/ipr/a.py", "from hf_ambiser.methods.self_training import x", "another"),
        ("hf_ambiser/methods/ipr/a.py", "from hf_ambiser.runs.arguments import x", "not the run"),
        ("hf_ambiser/training/trainer.py", "from hf_ambiser.methods.ipr import x", "does not know them"),
        ("hf_ambiser/report.py", "from train_scripts import train", "never the reverse"),
        ("hf_ambiser/report.py", "from .scoring import x", "absolute"),
    ],
)
def test_a_broken_rule_is_seen(file, source, words):
    (broken,) = violations(file, source)
    assert words in broken and file in broken


@pytest.mark.parametrize(
    "file,source",
    [
        ("hf_ambiser/models/a.py", "import torch.nn\nfrom transformers.utils import x\nfrom .b import C\nimport math"),
        (
            "hf_ambiser/metrics/more.py",
            "import numpy as np\nfrom scipy import stats\nfrom hf_ambiser.labels.votes import x",
        ),
        ("hf_ambiser/labels/aggregation.py", "import numpy\ndef f():\n    from crowdkit.aggregation import MACE"),
        ("hf_ambiser/data/a.py", "import torch\nfrom hf_ambiser.labels.policies import x\nimport hf_ambiser.data.b"),
        (
            "hf_ambiser/methods/ipr/a.py",
            "from hf_ambiser.training.trainer import x\nfrom hf_ambiser.methods.ipr.b import y",
        ),
        (
            "hf_ambiser/training/trainer.py",
            "from hf_ambiser import checkpoints\nfrom hf_ambiser.training.losses import x",
        ),
    ],
)
def test_what_is_allowed_is_not_called_broken(file, source):
    assert violations(file, source) == []


# An `evaluate` module and a `datasets` builder are those libraries' own kinds of file.
NEEDS_ITS_LIBRARY = {"hf_ambiser/evaluate_module/ambiser_metrics.py", "hf_ambiser/data/builder.py"}


@pytest.mark.parametrize("file", sorted(set(FILES) - NEEDS_ITS_LIBRARY))
def test_what_a_training_machine_may_lack_is_imported_late(file):
    early = [i for i in imports(file, FILES[file].read_text()) if i.top in HEAVY and not (i.late or i.checking)]
    assert [f"{file}:{i.line} {i.name}" for i in early] == []


@pytest.mark.parametrize("file", FILES)
def test_no_file_is_longer_than_400_lines(file):
    assert len(FILES[file].read_text().splitlines()) <= 400


@pytest.mark.parametrize("file", [file for file in FILES if file != "hf_ambiser/cli.py"])
def test_the_library_does_not_print(file):
    calls = [n for n in ast.walk(ast.parse(FILES[file].read_text())) if isinstance(n, ast.Call)]
    assert [f"{file}:{c.lineno}" for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"] == []


@pytest.mark.parametrize("file", FILES)
def test_every_file_says_what_it_holds(file):
    source = FILES[file].read_text()
    assert not source.strip() or ast.get_docstring(ast.parse(source)), f"{file} has no docstring"


def test_every_method_is_a_folder_with_its_trainer():
    from hf_ambiser.methods import available_methods, load_method
    from hf_ambiser.training.trainer import AmbiSERTrainer

    folders = sorted(p.name for p in (PACKAGE / "methods").iterdir() if p.is_dir() and not p.name.startswith("_"))
    assert available_methods() == folders
    for name in folders:
        trainer = load_method(name)
        assert issubclass(trainer, AmbiSERTrainer) and trainer.name == name
    with pytest.raises(ValueError, match="no method 'irp'; choose one of .*'ipr'"):
        load_method("irp")
