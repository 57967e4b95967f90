"""Cards that are written again without losing what a human wrote into them.

A card is a YAML header and named sections. Each generated section stands between two comments that hold its name and
a digest of its text; a comment below the header holds a digest of each generated header field. What no longer fits
its digest was edited by a human and is kept as it is, as is all text outside the sections. The comments are invisible
where a card is shown.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml


_STATE = re.compile(r"^<!-- hf_ambiser:card (\{.*\}) -->$", re.MULTILINE)
_BEGIN = re.compile(r"^<!-- hf_ambiser:begin ([\w-]+) ([0-9a-f]+) -->$", re.MULTILINE)
_END = "<!-- hf_ambiser:end {} -->"
_HEADER = re.compile(r"\A\ufeff?---[ \t]*\n(.*?\n|)---[ \t]*(?:\n|\Z)", re.DOTALL)


class CardError(ValueError):
    """A card that cannot be read; the message says where and what to do."""


@dataclass(frozen=True)
class Card:
    """What is generated: header fields and sections by name, in their order."""

    metadata: dict[str, Any]
    sections: dict[str, str]


@dataclass
class Parsed:
    """A card as it was found.

    Args:
        metadata: Header fields.
        header: The header's text as it stands.
        items: Sections `(name, digest, text)` and a human's text `(None, "", text)`, in their order.
        digests: Of the generated header fields.
        known: Sections that were generated, deleted ones included.
    """

    metadata: dict[str, Any]
    header: str
    items: list[tuple[str | None, str, str]]
    digests: dict[str, str] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)

    def human(self) -> dict[str, str]:
        """What a human changed: `header: <field>`, `section <name>` or `text <n>` -> what stands there now."""
        changed = {
            f"header: {name}": json.dumps(self.metadata.get(name), sort_keys=True, default=str)
            for name in {**self.digests, **self.metadata}
            if name not in self.metadata or self.digests.get(name) != digest(self.metadata[name])
        }
        present = [name for name, _, _ in self.items]
        changed |= {f"section {name}": "" for name in self.known if name not in present}
        texts = 0
        for name, mark, text in self.items:
            if name is None:
                texts += 1
                changed[f"text {texts}"] = text.strip()
            elif mark != digest(text):
                changed[f"section {name}"] = text
        return changed


def digest(value: Any) -> str:
    """Eight hex digits of a text, or of a header field's value."""
    text = value.strip() if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()[:8]


def render(card: Card) -> str:
    """The card's text, as generated."""
    marks = {name: digest(value) for name, value in card.metadata.items()}
    items = [(name, digest(text), text) for name, text in card.sections.items()]
    return _text(_yaml(card.metadata), Parsed(card.metadata, "", list(items), marks, list(card.sections)))


def merge(card: Card, existing: str, name: str = "README.md") -> tuple[str, list[str]]:
    """Write a card again over one that a human may have edited.

    Kept from `existing`: edited and deleted sections, text outside the sections (after the section it stands after),
    header fields that were added, changed or removed. A card without any of our marks is a human's: all its text is
    kept, and the generated sections follow it.

    Args:
        card: What would be generated now.
        existing: The text that is there.
        name: The file's name, for errors.

    Returns:
        The new text, and what of a human was kept (as `Parsed.human` names it).

    Raises:
        CardError: If the header or a section's marks cannot be read.
    """
    old = parse(existing, name)
    metadata, marks = _merge_metadata(card.metadata, old)
    new = Parsed(metadata, "", _merge_sections(card.sections, old), marks, [*old.known])
    new.known += [section for section in card.sections if section not in new.known]
    header = old.header if metadata == old.metadata and old.header else _yaml(metadata)
    return _text(header, new), sorted(old.human())


def parse(text: str, name: str = "README.md") -> Parsed:
    """Read a card.

    Raises:
        CardError: If its header is no YAML mapping, or a generated section has no end.
    """
    text = text.replace("\r\n", "\n")
    header, metadata, body = "", {}, text
    if text.lstrip("\ufeff").startswith("---"):
        match = _HEADER.match(text)
        if not match:
            raise CardError(
                f"{name}: its header begins with `---` and no second `---` line ends it. Add one below the YAML."
            )
        header, body = match[1], text[match.end() :]
        metadata = _read_yaml(header, name)
    state: dict[str, Any] = {}
    if mark := _STATE.search(body):
        try:
            state = json.loads(mark[1])
        except ValueError:
            raise CardError(
                f"{name}: the line `<!-- hf_ambiser:card ... -->` is damaged. Restore it, or delete the file to have"
                " it written anew."
            ) from None
        body = body[: mark.start()] + body[mark.end() :]
    items: list[tuple[str | None, str, str]] = []
    at = 0
    for begin in _BEGIN.finditer(body):
        if begin.start() < at:
            raise CardError(
                f"{name}: section {begin[1]!r} begins inside another one. Restore the `<!-- hf_ambiser:end ... -->`"
                " above it."
            )
        end = body.find(_END.format(begin[1]), begin.end())
        if end < 0:
            raise CardError(
                f"{name}: section {begin[1]!r} has lost its last line, `{_END.format(begin[1])}`. Restore it."
            )
        if between := body[at : begin.start()].strip():
            items.append((None, "", between))
        items.append((begin[1], begin[2], body[begin.end() : end].strip()))
        at = end + len(_END.format(begin[1]))
    if rest := body[at:].strip():
        items.append((None, "", rest))
    return Parsed(metadata, header, items, state.get("header", {}), state.get("sections", []))


def _read_yaml(header: str, name: str) -> dict[str, Any]:
    try:
        metadata = yaml.safe_load(header) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 2}: " if mark else ""
        what = " ".join(str(getattr(error, "problem", None) or error).split())
        raise CardError(
            f"{name}: its YAML header cannot be read ({where}{what}). Mend that line, or delete the file to have it"
            " written anew."
        ) from None
    if not isinstance(metadata, dict):
        raise CardError(f"{name}: its YAML header is a {type(metadata).__name__}, it must be `field: value` lines.")
    return metadata


def _merge_metadata(new: Mapping[str, Any], old: Parsed) -> tuple[dict[str, Any], dict[str, str]]:
    """Header fields, and the digests of the generated ones; a field that a human changed keeps its old digest."""
    metadata: dict[str, Any] = {}
    marks = {}
    for name, value in new.items():
        there, generated = name in old.metadata, name in old.digests
        human = generated and (not there or old.digests[name] != digest(old.metadata[name]))
        if human or (there and not generated):
            marks[name] = old.digests.get(name, digest(value))
            if there:
                metadata[name] = old.metadata[name]
        else:
            metadata[name], marks[name] = value, digest(value)
    for name, value in old.metadata.items():
        if name not in new and old.digests.get(name) != digest(value):
            metadata[name] = value
            if name in old.digests:
                marks[name] = old.digests[name]
    return metadata, marks


def _merge_sections(new: Mapping[str, str], old: Parsed) -> list[tuple[str | None, str, str]]:
    items: list[tuple[str | None, str, str]] = []
    for name, mark, text in old.items:
        if name is None or mark != digest(text):
            items.append((name, mark, text))
        elif name in new:
            items.append((name, digest(new[name]), new[name]))
    names = list(new)
    for i, name in enumerate(names):
        if name in old.known or any(name == there for there, _, _ in items):
            continue
        before = [at for at, (there, _, _) in enumerate(items) if there in names[:i]]
        items.insert(
            before[-1] + 1 if before else (0 if old.known else len(items)), (name, digest(new[name]), new[name])
        )
    return items


def _yaml(metadata: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=1000)


def _text(header: str, card: Parsed) -> str:
    state = json.dumps({"header": card.digests, "sections": card.known})
    parts = [f"---\n{header}---\n<!-- hf_ambiser:card {state} -->"]
    for name, mark, text in card.items:
        if name is None:
            parts.append(text)
        else:
            parts.append(f"<!-- hf_ambiser:begin {name} {mark} -->\n{text.strip()}\n{_END.format(name)}")
    return "\n\n".join(parts) + "\n"
