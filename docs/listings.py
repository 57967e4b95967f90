"""Lists that pages show and that come from the code, so that nobody has to keep them by hand.

A page asks for one with a line `<!-- from the code: NAME -->`; `docs/hook.py` puts the list there.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

from transformers import TrainingArguments

import hf_ambiser
from hf_ambiser import (
    available_corpora,
    available_families,
    available_methods,
    available_policies,
    cli,
    get_policy,
    load_family,
    load_method,
)
from hf_ambiser.data.corpora import load_corpus
from hf_ambiser.data.schema import REASONS
from hf_ambiser.inference.no_audio import STATUSES
from hf_ambiser.models.encoders import ADAPTERS, REFUSED
from hf_ambiser.run_folder import layout
from hf_ambiser.runs.config_files import SHIPPED, available_configs
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.data_arguments import DataArguments
from hf_ambiser.training.inherited_arguments import verdicts
from hf_ambiser.training.model_arguments import ModelArguments


PACKAGE = Path(hf_ambiser.__file__).parent
# Column of the tree in which the words begin, and the width of a page.
_WORDS, _WIDTH = 33, 104


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a line break or a bar inside a cell would end it."""
    lines = [header, ["---"] * len(header), *rows]
    clean = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in clean)


def first_line(docstring: str | None) -> str:
    """The first paragraph of a docstring, as one line."""
    return " ".join((docstring or "").split("\n\n")[0].split())


def methods() -> str:
    """Name, summary, paper and needs of every method."""
    rows = []
    for name in available_methods():
        method = load_method(name)
        needs = ["ambiguous utterances"] * method.needs_ambiguous + ["augmented copies"] * method.needs_augmented
        classes = f"`{method.__name__}`, `{method.arguments_class.__name__}`"
        paper = method.paper.reference() if method.paper else ""
        rows.append(
            (
                f"[{name}](methods/{name}/README.md)",
                method.summary,
                classes,
                method.model_family,
                ", ".join(needs),
                paper,
            )
        )
    return table(("method", "what it does", "in Python", "family", "needs", "paper"), rows)


def families() -> str:
    """Name, class and description of every model family."""
    rows = []
    for name in available_families():
        model = load_family(name)
        config = model.config_class
        classes = f"`{model.__name__}`, `{config.__name__}`"
        methods = ", ".join(m for m in available_methods() if load_method(m).model_family == name)
        rows.append((f"`{name}`", first_line(config().describe()), classes, f"`{config.model_type}`", methods))
    return table(("family", "architecture above the encoder", "in Python", "model_type", "default of"), rows)


def encoders() -> str:
    """Model types of every kind of encoder, what it is, whether it wants scaled waveforms, what LoRA adapts."""
    rows = []
    for adapter in ADAPTERS:
        types = ", ".join(f"`{model_type}`" for model_type in adapter.model_types)
        lora = " or ".join(", ".join(f"`{name}`" for name in names) for names in adapter.lora_targets)
        rows.append((types, adapter.description, "yes" if adapter.scales_waveforms else "no", lora))
    return table(("model_type", "encoder", "scales waveforms", "LoRA adapts"), rows)


def refused_encoders() -> str:
    """Model types that are refused, and why."""
    return table(("model_type", "why it is refused"), ((f"`{name}`", why) for name, why in REFUSED.items()))


def corpora() -> str:
    """What every corpus holds, what is read of it, who rated it, its licence, and what could not be verified."""
    rows = []
    for name in available_corpora():
        corpus = load_corpus(name)
        named = f"[`{name}`]({corpus.HOMEPAGE})" if corpus.HOMEPAGE else f"`{name}`"
        public = "A public copy is allowed." if corpus.REDISTRIBUTABLE else "No public copy."
        licence = f"{corpus.LICENSE.rstrip('.')}. {corpus.TERMS} {public}"
        rows.append(
            (
                named,
                corpus.SPEECH,
                corpus.FILES_READ,
                corpus.RATERS,
                licence,
                f"`{corpus.POLICY}`, {corpus.GROUP}",
                corpus.NOT_VERIFIED or "nothing",
            )
        )
    header = (
        "corpus",
        "who speaks",
        "what is read",
        "raters, votes an utterance",
        "licence, and what it forbids",
        "policy, unit of strict splits",
        "not verified",
    )
    return table(header, rows)


def policies() -> str:
    """Name, classes and rules of every label policy."""
    rows = []
    for name in available_policies():
        policy = get_policy(name)
        outside = [label for label, target in policy.class_map.items() if target is None]
        rows.append(
            (
                f"`{name}`",
                ", ".join(policy.classes),
                ", ".join(outside) or "none",
                policy.rule,
                policy.merge,
                f"`{policy.fingerprint()}`",
            )
        )
    return table(("policy", "classes", "labels left out", "rule", "classes are merged", "fingerprint"), rows)


def reasons() -> str:
    """Why an item of a corpus may not be in a data set."""
    return table(("reason", "meaning"), ((f"`{name}`", text) for name, text in REASONS.items()))


def statuses() -> str:
    """What may come of a recording."""
    return table(("status", "meaning"), ((f"`{name}`", text) for name, text in STATUSES.items()))


def configs() -> str:
    """Every config and plan that ships with the package, with the first line of its comment."""
    rows = []
    for name in available_configs():
        text = (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")
        kind = "plan" if re.search(r"^systems:", text, re.MULTILINE) else "config"
        rows.append((f"`{name}`", kind, text.splitlines()[0].removeprefix("#")))
    return table(("name", "kind", "what it is"), rows)


def commands() -> str:
    """What `hf-ambiser --help` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        cli.main(["--help"])
    return f"```text\n{printed.getvalue().strip()}\n```"


def run_folder() -> str:
    """What a run folder holds, in the words of the module that names its files."""
    lines = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in _indented(layout.__doc__ or "")]
    return table(("file", "content"), ((f"`{line[0]}`", line[1]) for line in lines))


def _indented(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("    ")]


def tree() -> str:
    """Folders and modules of the package, each with the first line of its docstring."""
    lines = ["hf_ambiser/"]
    for path in [*sorted(PACKAGE.glob("*.py")), *sorted(PACKAGE.glob("*/"))]:
        if path.is_file():
            lines.append(_leaf(path, 1))
        elif (path / "__init__.py").is_file():
            lines += _branch(path, 1)
    return "```text\n" + "\n".join(line.rstrip() for line in lines) + "\n```"


def _branch(folder: Path, depth: int) -> list[str]:
    lines = [_line(f"{folder.name}/", folder / "__init__.py", depth)]
    modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    # Every method has the same files; the method's own line says enough.
    if folder.parent.name != "methods":
        lines += [_leaf(path, depth + 1) for path in modules]
    for inner in sorted(path for path in folder.glob("*/") if (path / "__init__.py").is_file()):
        lines += _branch(inner, depth + 1)
    return lines


def _leaf(path: Path, depth: int) -> str:
    return _line(path.name, path, depth)


def _line(name: str, module: Path, depth: int) -> str:
    words = first_line(ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))))
    wrapped = textwrap.wrap(words, _WIDTH - _WORDS)
    return f"{'  ' * depth}{name}".ljust(_WORDS - 1) + " " + f"\n{' ' * _WORDS}".join(wrapped)


def arguments() -> str:
    """What a run can be given, by name: the shared fields, and those of each method that has its own."""
    parts = [
        _fields("Data", DataArguments, object, "Fields of a configuration file and of `hf-ambiser train`."),
        _fields("Model", ModelArguments, object, "Fields of a configuration file and of `hf-ambiser train`."),
        _fields(
            "Training, every method",
            AmbiSERTrainingArguments,
            TrainingArguments,
            "Beside all fields of `TrainingArguments` of transformers; some of their defaults are changed here.",
        ),
    ]
    for name in available_methods():
        kind = load_method(name).arguments_class
        if kind is not AmbiSERTrainingArguments:
            parts.append(_fields(name, kind, AmbiSERTrainingArguments, f"Fields of `{kind.__name__}`."))
    return "\n\n".join(parts)


def _fields(title: str, kind: type, base: type, words: str) -> str:
    """A section with the fields of a dataclass that its base does not have, or that it gives another default."""
    known = {field.name: field.default for field in fields(base)} if is_dataclass(base) else {}
    rows = []
    for field in fields(kind):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name not in known or known[field.name] != field.default:
            rows.append((f"`{field.name}`", f"`{default!r}`", str(field.metadata.get("help", ""))))
    return f"## {title}\n\n{words}\n\n" + table(("field", "default", "what it is"), rows)


def inherited_arguments() -> str:
    """What each field of the Trainer's own arguments does in a run."""
    return table(("field of `TrainingArguments`", "what it does here"), ((f"`{n}`", said) for n, said in verdicts()))


def public_names() -> str:
    """Everything that `from hf_ambiser import ...` gives, with a link to its entry."""
    rows = []
    for name in _all_public():
        thing = getattr(hf_ambiser, name)
        place = f"{thing.__module__}.{thing.__qualname__}"
        rows.append((f"[`{name}`][{place}]", first_line(thing.__doc__), f"`{thing.__module__}`"))
    return table(("name", "what it is", "where"), rows)


def _all_public() -> list[str]:
    """Listed names, trainers and arguments of all methods, models and configurations of all families."""
    names = set(hf_ambiser.__all__)
    for method in map(load_method, available_methods()):
        names |= {method.__name__, method.arguments_class.__name__}
    for model in map(load_family, available_families()):
        names |= {model.__name__, model.config_class.__name__}
    return sorted(names)


def api_pages() -> dict[str, str]:
    """File name -> text of the API reference: one page a folder of the package, and one of the public names."""
    pages = {
        "index.md": "# API reference\n\nThese names are imported with `from hf_ambiser import NAME`. The other pages"
        " hold everything that is public, folder by folder.\n\n<!-- from the code: public_names -->\n"
    }
    pages["arguments.md"] = (
        "# Arguments of a run\n\n<!-- from the code: arguments -->\n\n## The Trainer's own\n\nEach field of"
        " transformers' `TrainingArguments` acts, or is refused before the first step. A run that was begun with a"
        " refused one goes on.\n\n<!-- from the code: inherited_arguments -->\n"
    )
    for folder in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        paths = [path.relative_to(PACKAGE.parent).as_posix() for path in sorted(folder.rglob("*.py"))]
        parts = [f"::: {module}" for path in paths if (module := module_of(path))]
        pages[f"{folder.name}.md"] = f"# hf_ambiser.{folder.name}\n\n" + "\n\n".join(parts) + "\n"
    return pages


def module_of(path: str) -> str | None:
    """`hf_ambiser/data/schema.py` -> `hf_ambiser.data.schema`; None of a file that the API reference does not have."""
    parts = Path(path).with_suffix("").parts
    if not path.endswith(".py") or len(parts) < 3 or parts[0] != PACKAGE.name:
        return None
    if parts[-1] == "__init__":
        return ".".join(parts[:-1])
    return None if parts[-1].startswith("_") else ".".join(parts)


LISTINGS = {
    function.__name__: function
    for function in (
        methods,
        families,
        encoders,
        refused_encoders,
        corpora,
        policies,
        reasons,
        statuses,
        configs,
        commands,
        run_folder,
        tree,
        arguments,
        inherited_arguments,
        public_names,
    )
}
