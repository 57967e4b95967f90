"""Registers these models with the Auto classes of transformers when one of them is first looked up.

`import hf_ambiser` must not wait for transformers and torch, but `AutoModel...from_pretrained` must know our models.
A look-up starts in one of two tables of transformers: that of configurations or that of feature extractors. Both get
an appendix, which registers our models at the first look-up that needs them. If transformers is already imported, the
tables get it at once; otherwise they get it right after the import.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


_AUTO = "transformers.models.auto."
_TABLES = {
    _AUTO + "configuration_auto": "CONFIG_MAPPING",
    _AUTO + "feature_extraction_auto": "FEATURE_EXTRACTOR_MAPPING",
}


def register_when_looked_up(register: Callable[[], None]) -> None:
    """Let the Auto classes find our models, without importing anything. It may be called more than once.

    Args:
        register: Function that registers our models with the Auto classes.
    """
    _Appendix.load_ours = staticmethod(register)
    for name in _TABLES:
        if name in sys.modules:
            _append_to(sys.modules[name])
    if not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _append_to(module: ModuleType) -> None:
    """Give a table its appendix, in the attribute where transformers keeps what `register` adds (a test checks it)."""
    table = getattr(module, _TABLES[module.__name__])
    if not isinstance(table._extra_content, _Appendix):
        table._extra_content = _Appendix(table._extra_content)


class _Appendix(dict[Any, Any]):
    """The models registered with a table; a look-up that may be for one of ours registers ours first."""

    load_ours: Callable[[], None]

    def __contains__(self, key: object) -> bool:
        if _ours(key):
            _Appendix.load_ours()
        return super().__contains__(key)

    def __getitem__(self, key: Any) -> Any:
        if _ours(key):
            _Appendix.load_ours()
        return super().__getitem__(key)

    def values(self) -> Any:
        """Return all values: feature extractors are searched by the name of their class."""
        _Appendix.load_ours()
        return super().values()


def _ours(key: object) -> bool:
    return isinstance(key, str) and key.startswith("ambiser_")


class _AfterImport:
    """Finds the tables' modules as Python does, and gives each table its appendix after the import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a table's module; None for any other module, which the next finder finds."""
        if name not in _TABLES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_append(module: ModuleType) -> None:
                execute(module)
                _append_to(module)

            spec.loader.exec_module = execute_and_append  # type: ignore[method-assign]
        return spec
