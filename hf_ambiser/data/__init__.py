"""From a corpus release to a data set on disk, and back: scan, check, tally, split, write, load."""

from __future__ import annotations

import importlib
from typing import Any


# Imported on first use: some machines that train have no `datasets`, and building needs more packages than loading.
_HOME = {
    "AmbiguousSpeech": "builder",
    "AmbiguousSpeechConfig": "builder",
    "BuildReport": "build",
    "SplitError": "splits",
    "SplitOptions": "splits",
    "available_corpora": "corpora",
    "load_corpus": "corpora",
    "load_split": "loading",
    "make_split": "splits",
    "read_dataset_info": "loading",
}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
