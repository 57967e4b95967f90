"""Corpora: each is one module or folder here and is found by listing, so a new corpus is one new file or folder.

Other packages may offer corpora, too, as entry points of the group `hf_ambiser.corpora`; `hf_ambiser/entry_points.py`
says how.

Every corpus module has:

- the constants `NAME`, `POLICY` (default label policy), `LICENSE`, `HOMEPAGE`, `CITATION`, and `GROUP` (`speaker` or
  `session`: the unit that a strict split never puts on two sides);
- for cards and pushes `SPEECH` (who speaks, how, in which language), `LANGUAGE` (ISO code, None if nobody speaks),
  `TERMS` (what the licence forbids) and `REDISTRIBUTABLE` (whether a data set built from it may be public);
- for the table of our corpora `FILES_READ`, `RATERS` (whether they have names, how many votes an utterance has) and
  `NOT_VERIFIED` (what of the layout no public document shows, "" if nothing);
- `scan(root: Path, **options) -> CorpusScan`, whose `lost` has every vote that is in no utterance.

It may also have:

- `LICENSE_ID` (the Hub's identifier of the licence);
- `STYLE`, one of `STYLES` (whether people acted, were recorded as they posed an emotion, or spoke as they do), which a
  corpus of people's speech must have; without it a card says that it is not recorded;
- `RATINGS` (kind of rating -> what these raters did, "heard the voice alone"; the first kind is the default), where a
  label policy may choose between kinds. Then `scan` takes `ratings`, the kinds to read, and `speech(ratings)` is
  `SPEECH` for any choice of them;
- `compare(scan, table) -> list[str]` (compares its counts with published ones);
- `published(config) -> (SplitInput, str)` (as many utterances as published, to compute split sizes without the
  corpus);
- `labels_published(classes)` (a paper's counts per speaker);
- `add_arguments(parser)`, `prepare(root, args)` and `scan_options(args)` for its command line; `prepare` is called
  before the scan, and `scan_options` gives the keyword arguments of the scan;
- `generate(root, **options)`, if it is generated and not downloaded; `build` calls it where the folder does not exist.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from hf_ambiser.entry_points import CORPORA, load, offered


STYLES = ("acted", "posed", "natural")
REQUIRED = (
    "NAME", "POLICY", "GROUP", "LICENSE", "TERMS", "REDISTRIBUTABLE", "SPEECH", "LANGUAGE", "HOMEPAGE", "CITATION",
    "scan",
)  # fmt: skip
# For docs/corpora.md, which has the corpora of this folder only.
IN_THE_TABLE = ("FILES_READ", "RATERS", "NOT_VERIFIED")


def available_corpora() -> list[str]:
    """List the names of the corpora in this folder and of those that other packages offer, sorted."""
    return sorted({*_own(), *offered(CORPORA)})


def _own() -> list[str]:
    here = Path(__file__).parent
    modules = [path.stem for path in here.glob("*.py")] + [path.parent.name for path in here.glob("*/__init__.py")]
    return [name for name in modules if not name.startswith("_")]


def load_corpus(name: str) -> ModuleType:
    """Import the module of one corpus.

    Raises:
        ValueError: If there is no such corpus, or if its module lacks a name that every corpus has. If another package
            offers it, the message names the package.
    """
    if name not in available_corpora():
        raise ValueError(
            f"there is no corpus {name!r}; available: {available_corpora()}. To add one, write"
            f" hf_ambiser/data/{Path(__file__).parent.name}/{name}.py, or offer it from a package of your own."
        )
    if name in offered(CORPORA):
        module, said = load(CORPORA, name, own=name in _own())
    else:
        module = importlib.import_module(f"{__name__}.{name}")
        said = f"corpus module {module.__name__}"
    required = REQUIRED if name in offered(CORPORA) else (*REQUIRED, *IN_THE_TABLE)
    missing = [attribute for attribute in required if not hasattr(module, attribute)]
    if missing:
        raise ValueError(f"{said} lacks {missing}; every corpus must have {list(required)}.")
    return module
