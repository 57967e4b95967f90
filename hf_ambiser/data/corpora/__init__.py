"""Corpora: one module or one folder each, found by listing this folder; a new corpus is one new file or folder.

A corpus module has the constants `NAME`, `POLICY` (its default label policy), `LICENSE`, `HOMEPAGE`, `CITATION` and
`GROUP` (`speaker` or `session`: the unit that is never on two sides of a strict split), and
`scan(root: Path, **options) -> CorpusScan`. For model cards and for pushing it also says `SPEECH` (who speaks, how,
in which language), `LANGUAGE` (its ISO code, None where nobody speaks), `TERMS` (what its licence forbids) and
`REDISTRIBUTABLE` (whether a data set built from it may be public). It may have `LICENSE_ID` (the Hub's identifier),
`compare(scan, table) -> list[str]` (its counts beside the published ones), `published(config) -> (SplitInput, str)`
(utterances in published numbers, for the sizes of splits without the corpus), and, for its command line,
`add_arguments(parser)` and `prepare(root, args)`, which is called before the scan. A corpus that is generated has
`generate(root, **options)`, which `build` calls where the folder is not there yet.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType


REQUIRED = (
    "NAME", "POLICY", "GROUP", "LICENSE", "TERMS", "REDISTRIBUTABLE", "SPEECH", "LANGUAGE", "HOMEPAGE", "CITATION",
    "scan",
)  # fmt: skip


def available_corpora() -> list[str]:
    """Names of the corpora in this folder, sorted."""
    here = Path(__file__).parent
    modules = [path.stem for path in here.glob("*.py")] + [path.parent.name for path in here.glob("*/__init__.py")]
    return sorted(name for name in modules if not name.startswith("_"))


def load_corpus(name: str) -> ModuleType:
    """The module of one corpus.

    Raises:
        ValueError: If there is no such corpus, or its module lacks one of the names every corpus has.
    """
    if name not in available_corpora():
        raise ValueError(
            f"there is no corpus {name!r}; available: {available_corpora()}. A new one is a new file"
            f" {Path(__file__).parent.name}/{name}.py."
        )
    module = importlib.import_module(f"{__name__}.{name}")
    missing = [attribute for attribute in REQUIRED if not hasattr(module, attribute)]
    if missing:
        raise ValueError(f"corpus module {module.__name__} lacks {missing}; every corpus has {list(REQUIRED)}.")
    return module
