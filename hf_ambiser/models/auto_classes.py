"""Registration of these models with the Auto classes of transformers, at the moment when one is first looked up.

`import hf_ambiser` must not wait for transformers and torch, and yet `AutoModel...from_pretrained` must know our
models. So the two tables of transformers in which a look-up can begin, that of configurations and that of feature
extractors, get an appendix that registers our models when something in it is asked for: at once where transformers
has been imported already, or else right after it is.
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
    """Let the Auto classes find our models; nothing is imported for it. May be called more than once.

    Args:
        register: What makes them known to the Auto classes.
    """
    _Appendix.load_ours = staticmethod(register)
    for name in _TABLES:
        if name in sys.modules:
            _append_to(sys.modules[name])
    if not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _append_to(module: ModuleType) -> None:
    """Give a table its appendix. The attribute is transformers' own for what `register` adds; a test watches it."""
    table = getattr(module, _TABLES[module.__name__])
    if not isinstance(table._extra_content, _Appendix):
        table._extra_content = _Appendix(table._extra_content)


class _Appendix(dict[Any, Any]):
    """What was registered with a table; a look-up that may be for one of our models registers those first."""

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
        """All of it: feature extractors are looked for by their class's name."""
        _Appendix.load_ours()
        return super().values()


def _ours(key: object) -> bool:
    return isinstance(key, str) and key.startswith("ambiser_")


class _AfterImport:
    """Finds the tables' modules as Python does, and gives each its appendix when it has been imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a table's module; None for any other, which the next finder answers."""
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
