"""What the package's files import, read from their source: for the rules of the house."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hf_ambiser"
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


@dataclass(frozen=True)
class Import:
    """One imported module, absolute (`hf_ambiser.data.splits`), and where it stands."""

    name: str
    line: int
    late: bool  # inside a function
    checking: bool  # under `if TYPE_CHECKING`
    relative: str | None = None

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    @property
    def ours(self) -> bool:
        return self.top == "hf_ambiser"

    @property
    def room(self) -> str:
        return (self.name.split(".") + [""])[1] or "hf_ambiser"

    def within(self, package: str) -> bool:
        return f"{self.name}.".startswith(f"{package}.")


@functools.cache
def imports(file: str, source: str) -> list[Import]:
    """All imports of a file, at any level."""
    return list(_imports(ast.parse(source), file.removesuffix(".py").split("/")[:-1], False, False))


def _imports(node: ast.AST, package: list[str], late: bool, checking: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, late, checking)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        dots = "." * node.level + (node.module or "") if node.level else None
        for alias in node.names:
            # `from hf_ambiser.training import checkpoints` imports a module, not a name of one.
            inner = f"{module}.{alias.name}"
            yield Import(inner if _is_module(inner) else module, node.lineno, late, checking, dots)
    late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    guarded = node.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else []
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, package, late, checking or child in guarded)


def _is_module(name: str) -> bool:
    path = name.replace(".", "/")
    return f"{path}.py" in SOURCES or f"{path}/__init__.py" in SOURCES


def room_of(file: str) -> str:
    """`hf_ambiser/data/audio.py` -> `data`, `hf_ambiser/cli.py` -> `cli`, `hf_ambiser/__init__.py` -> `hf_ambiser`."""
    name = file.split("/")[1].removesuffix(".py")
    return "hf_ambiser" if name == "__init__" else name


def cycles(sources: dict[str, str]) -> list[str]:
    """Rooms that import each other, directly or through others, with the lines that make the arrows."""
    arrows: dict[str, dict[str, list[str]]] = {}
    for file, source in sources.items():
        for i in imports(file, source):
            if i.ours and i.room != room_of(file):
                arrows.setdefault(room_of(file), {}).setdefault(i.room, []).append(f"{file}:{i.line}")

    def reached(start: str) -> set[str]:
        found, ahead = set(), [start]
        while ahead:
            new = set(arrows.get(ahead.pop(), ())) - found
            found |= new
            ahead += new
        return found

    after = {room: reached(room) for room in arrows}
    return [
        f"{room} -> {other}: {', '.join(lines)}"
        for room, others in sorted(arrows.items())
        for other, lines in sorted(others.items())
        if room in after.get(other, ())
    ]
