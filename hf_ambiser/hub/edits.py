"""Write cards again without losing what a human wrote into them.

A card is a YAML header and named sections. Each generated section is between two comments that hold its name and a
digest of its text. A comment below the header holds a digest of each generated header field. If a section or field no
longer fits its digest, a human edited it, and it is kept as it is; so is all text outside the sections. Readers of a
card do not see the comments, and inside a code block they have no meaning.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import yaml


_MARK = "<!-- hf_ambiser:"
_STATE = re.compile(rf"\s*{_MARK}card (\{{.*\}}) -->\s*")
_BEGIN = re.compile(rf"\s*{_MARK}begin ([\w-]+) ([0-9a-f]+) -->\s*")
_END = _MARK + "end {} -->"
# The form that the Hub and `ModelCard` accept as a header.
_HEADER = re.compile(r"\s*---[ \t]*\n(.*?\n|)---[ \t]*(?:\n|\Z)", re.DOTALL)
_FENCE = re.compile(r" {0,3}(`{3,}(?!.*`)|~{3,})")

# A section `(name, digest, text)`, or a human's text `(None, "", text)`.
_Item = tuple[str | None, str, str]


class CardError(ValueError):
    """The card cannot be read; the message says where and what to do."""


@dataclass(frozen=True)
class Card:
    """A generated card: header fields and sections by name, in their order."""

    metadata: dict[str, Any]
    sections: dict[str, str]


@dataclass
class Parsed:
    """A card as it was found.

    Args:
        metadata: Header fields.
        header: Field -> its YAML text as it stands, with the comments above it. The key None holds a header without
            fields.
        items: Sections `(name, digest, text)` and a human's text `(None, "", text)`, in their order.
        digests: Generated header field -> digest of its value, also for fields that a human deleted.
        known: Generated sections in their order, also those that a human deleted.
    """

    metadata: dict[str, Any] = field(default_factory=dict)
    header: dict[str | None, str] = field(default_factory=dict)
    items: list[_Item] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)

    def edited(self, name: str) -> bool:
        """Return whether a human added, changed or deleted this header field."""
        there, generated = name in self.metadata, name in self.digests
        return there != generated or (there and self.digests[name] != digest(_canonical(self.metadata[name])))

    def human(self) -> dict[str, str]:
        """Return what a human changed: `header: <field>`, `section <name>`, `text <n>` ... -> what is there now."""
        changed = {
            f"header: {name}": _canonical(self.metadata[name]) if name in self.metadata else ""
            for name in filter(self.edited, {**self.digests, **self.metadata})
        }
        if comments := "".join(map(_comments, self.header.values())):
            changed["comments in the header"] = comments
        present = list(dict.fromkeys(name for name, _, _ in self.items if name is not None))
        changed |= {f"section {name}": "" for name in self.known if name not in present}
        if present != [name for name in self.known if name in present]:
            changed["order of the sections"] = ", ".join(present)
        texts = 0
        for name, mark, text in self.items:
            if name is None:
                texts += 1
                changed[f"text {texts}"] = text
            elif mark != digest(text):
                changed[f"section {name}"] = text
        return changed


def digest(text: str) -> str:
    """Eight hex digits over a text, without the blank lines around it."""
    return hashlib.sha256(_trim(text).encode()).hexdigest()[:8]


def render(card: Card) -> str:
    """Return the text of a generated card."""
    return merge(card, "")[0]


def merge(card: Card, existing: str, name: str = "README.md") -> tuple[str, list[str]]:
    """Write a card again over one that a human may have edited.

    From `existing` it keeps edited and deleted sections and their order, text outside the sections (behind the section
    that it follows), header fields that were added, changed or removed, and comments in the header. An edit that
    equals the generated text does not count as an edit. In a card without our marks everything is a human's: all its
    text is kept, and the generated sections follow it.

    Args:
        card: The card as it is generated now.
        existing: The text of the card that is there.
        name: Name of the file, for errors.

    Returns:
        The new text, and the names of the human's edits that were kept (see `Parsed.human`).

    Raises:
        CardError: If the header or the marks of a section cannot be read.
    """
    old = parse(existing, name)
    metadata, digests = _merge_metadata(card.metadata, old)
    items, known = _merge_sections(card.sections, old)
    header = _header(metadata, old)
    state = f"{_MARK}card {json.dumps({'header': digests, 'sections': known})} -->"
    parts = [f"---\n{header}---\n{state}" if header else state]
    for section, mark, text in items:
        parts.append(text if section is None else f"{_MARK}begin {section} {mark} -->\n{text}\n{_END.format(section)}")
    written = "\n\n".join(parts) + "\n"
    return written, sorted(parse(written, name).human())


# ---- reading -----------------------------------------------------------------------------------------------------


def parse(text: str, name: str = "README.md") -> Parsed:
    """Read a card.

    Raises:
        CardError: If the header is not a YAML mapping, or if a mark is damaged or missing.
    """
    text = re.sub("\r\n?", "\n", text.removeprefix("\ufeff"))
    card, start = Parsed(), 0
    if match := _HEADER.match(text):
        start = match.end()
        _read_header(match[1], name, text[: match.start(1)].count("\n") + 1, card)
    elif re.match(r"\s*---[ \t]*(\n|\Z)", text):
        raise CardError(f"{name}: no second `---` line ends its header. Add one below the YAML.")
    # Replace the header by as many empty lines, so that errors name the right line.
    lines = ["" for _ in range(text[:start].count("\n"))] + text[start:].split("\n")
    _read_state(lines, name, card)
    _read_items(lines, name, card)
    card.known += [section for section, _, _ in card.items if section is not None and section not in card.known]
    return card


def _read_header(header: str, name: str, first: int, card: Parsed) -> None:
    """Fill in the header fields, each with its own lines, so that a human's YAML stays as it was written."""
    try:
        loader = yaml.SafeLoader(header)
        node = loader.get_single_node()
        metadata = loader.construct_document(node) if node else None
        _canonical(metadata)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {first + mark.line}: " if mark else ""
        what = " ".join(str(getattr(error, "problem", None) or error).split())
        raise CardError(f"{name}: its YAML header cannot be read ({where}{what}). Mend it there.") from None
    if node is None:
        card.header[None] = header
        return
    if not isinstance(metadata, dict):
        raise CardError(f"{name}: its YAML header is a {type(metadata).__name__}, it must be `field: value` lines.")
    keys = [key for key, _ in node.value]
    at, ends = 0, [*(key.start_mark.index for key in keys[1:]), len(header)]
    for key, end in zip(keys, ends, strict=False):  # without keys, `ends` still has one element
        line = f"line {first + key.start_mark.line}"
        if key.start_mark.column or node.flow_style or not key.tag.endswith(":str"):
            raise CardError(f"{name}: {line} of its YAML header must be `word: value`, without indentation.")
        if key.value in card.header:
            raise CardError(f"{name}: its YAML header has {key.value!r} twice, again in {line}. Delete one of them.")
        card.header[key.value] = header[at:end]
        if end < len(header):  # comments belong to the field below them
            card.header[key.value] = re.sub(r"(?:^(?:#.*|[ \t]*)\n)+\Z", "", header[at:end], flags=re.MULTILINE)
        at += len(card.header[key.value])
    card.metadata = metadata


def _read_state(lines: list[str], name: str, card: Parsed) -> None:
    """Read, and remove from `lines`, the line with the digests of the header and the names of the sections."""
    at = next((i for i in _outside_code(lines, 0) if re.match(rf" {{0,3}}{_MARK}card", lines[i])), None)
    if at is None:
        return
    above = [line.rstrip() for line in lines[:at] if line.strip()]
    if not card.header and above[-1:] == ["---"] and "---" in above[:-1]:
        raise CardError(f"{name}: text stands above its header, which must come first. Move that text below it.")
    try:
        state = json.loads(_STATE.fullmatch(lines[at])[1])  # type: ignore[index]
        card.digests = {str(key): str(value) for key, value in state["header"].items()}
        card.known = [str(section) for section in state["sections"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CardError(f"{name}: line {at + 1}, `{_MARK}card ... -->`, is damaged. Restore or delete it.") from None
    lines[at] = ""


def _read_items(lines: list[str], name: str, card: Parsed) -> None:
    """Fill in the sections and the human's text between them."""
    at = 0
    while True:
        begin = next((i for i in _outside_code(lines, at) if re.match(rf" {{0,3}}{_MARK}begin", lines[i])), None)
        if between := _trim("\n".join(lines[at:begin])):
            card.items.append((None, "", between))
        if begin is None:
            return
        mark = _BEGIN.fullmatch(lines[begin])
        if not mark:
            raise CardError(f"{name}: line {begin + 1}, `{_MARK}begin ... -->`, is damaged. Restore or delete it.")
        end, where = _END.format(mark[1]), f"section {mark[1]!r} (line {begin + 1})"
        ends = [i for i in range(begin + 1, len(lines)) if end in lines[i]]
        if not ends:
            raise CardError(f"{name}: {where} has lost its last line, `{end}`. Restore it.")
        last = next((i for i in _outside_code(lines, begin + 1) if end in lines[i]), ends[0])
        inner = [i for i in _outside_code(lines[:last], begin + 1) if _BEGIN.fullmatch(lines[i])]
        if inner:
            raise CardError(
                f"{name}: {where} does not end before line {inner[0] + 1}. Restore `{end}` above that line."
            )
        before, _, lines[last] = lines[last].partition(end)
        card.items.append((mark[1], mark[2], _trim("\n".join([*lines[begin + 1 : last], before]))))
        at = last


def _outside_code(lines: Sequence[str], at: int) -> Iterator[int]:
    """Yield the numbers of lines from `at` on outside fenced code blocks; a fence that is never closed is ignored."""
    while at < len(lines):
        yield at
        fence = _FENCE.match(lines[at])
        at += 1
        if fence:
            close = re.compile(rf" {{0,3}}{fence[1]}{fence[1][0]}*\s*")
            at = next((i + 1 for i in range(at, len(lines)) if close.fullmatch(lines[i])), at)


# ---- merging -----------------------------------------------------------------------------------------------------


def _merge_metadata(new: Mapping[str, Any], old: Parsed) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge the header fields and the digests of generated ones; a field that a human changed keeps its old digest."""
    metadata: dict[str, Any] = {}
    digests: dict[str, str] = {}
    for name in {**new, **old.metadata, **old.digests}:
        if old.edited(name) and not _same(old.metadata, new, name):
            metadata |= {name: old.metadata[name]} if name in old.metadata else {}
            digests |= {name: digest(_canonical(new[name]))} if name in new else {}
            digests |= {name: old.digests[name]} if name in old.digests else {}
        elif name in new:
            metadata[name], digests[name] = new[name], digest(_canonical(new[name]))
    return metadata, digests


def _header(metadata: Mapping[str, Any], old: Parsed) -> str:
    """Write the header: an unchanged field as it stood, a changed one below its comments."""
    parts = []
    for name, value in metadata.items():
        source = old.header.get(name, "")
        parts.append(source if _same(old.metadata, metadata, name) else _comments(source) + _yaml({name: value}))
    parts += [_comments(source) for name, source in old.header.items() if name not in metadata]
    return "".join(parts)


def _merge_sections(new: Mapping[str, str], old: Parsed) -> tuple[list[_Item], list[str]]:
    """Merge the sections and the human's text; also return the names of the sections that a human may have deleted."""
    items: list[_Item] = []
    for name, mark, text in old.items:
        generated = None if name is None else new.get(name)
        edited = mark != digest(text) and (generated is None or digest(text) != digest(generated))
        if edited:  # a human's text has no digest
            items.append((name, mark, text))
        elif generated is not None:
            items.append((name, digest(generated), _trim(generated)))
    before, after = {name for name, _, _ in old.items}, {name for name, _, _ in items}
    # Forget a section that is no longer generated, so that it comes back when it is generated again.
    known = [name for name in old.known if name in new or name in after or name not in before]
    for i, name in enumerate(new):
        if name not in old.known:
            at = _place([there for there, _, _ in items], list(new)[:i])
            items.insert(at, (name, digest(new[name]), _trim(new[name])))
            known.insert(_place(known, list(new)[:i]), name)
    return items, known


def _place(names: Sequence[str | None], before: Collection[str]) -> int:
    """Return the place of a new section: behind the last of those before it and behind the human's text there."""
    at = max((i + 1 for i, name in enumerate(names) if name in before), default=0)
    while at < len(names) and names[at] is None:
        at += 1
    return at


def _comments(source: str) -> str:
    """Return the comments in a field's YAML, one per line; between YAML tokens there are only blanks and comments."""
    if "#" not in source:
        return ""
    between = [source[one.end_mark.index : two.start_mark.index] for one, two in pairwise(yaml.scan(source))]
    return "".join(f"{comment.rstrip()}\n" for gap in between for comment in re.findall("#.*", gap))


def _same(one: Mapping[str, Any], two: Mapping[str, Any], name: str) -> bool:
    return name in one and name in two and _canonical(one[name]) == _canonical(two[name])


def _canonical(value: Any) -> str:
    """Write a header field's value as a text that does not depend on the form of its YAML."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _yaml(metadata: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=1000) if metadata else ""


def _trim(text: str) -> str:
    """Remove blank lines around a text, but keep the first line's indentation, because it may be code."""
    return re.sub(r"\A(?:[ \t]*\n)+", "", text.replace("\r\n", "\n")).rstrip(" \t\n")
