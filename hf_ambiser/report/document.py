"""The sections of a report (sentences, tables and figures, in order), as Markdown and as parts of a page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_ambiser.plotting.panels import DPI
from hf_ambiser.report.table import Table
from hf_ambiser.untrusted.markdown import as_address, as_sentence, as_text


PAGE_DPI = 100  # CSS pixels that an inch of a figure is given


@dataclass(frozen=True)
class Picture:
    """A PNG below the report's folder, with its caption."""

    path: Path
    caption: str


Block = str | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading (level 2, 3, ...; 0: none) with the blocks below it. A sentence may contain `code` and **bold**."""

    title: str
    level: int
    blocks: Sequence[Block]


def markdown(sections: Sequence[Section], folder: Path) -> str:
    """The whole report as Markdown; links to pictures are relative to `folder`."""
    parts = []
    for section in sections:
        if section.level:
            parts.append(f"{'#' * section.level} {as_text(section.title)}")
        notes: set[str] = set()  # tables of a section that share a note show it once
        for block in section.blocks:
            if isinstance(block, Table):
                parts.append(block.markdown(note=block.note not in notes))
                notes.add(block.note)
            elif isinstance(block, Picture):
                address = as_address(block.path.relative_to(folder).as_posix())
                parts.append(f"![{as_text(block.caption, brackets=True)}]({address})")
            else:
                parts.append(as_sentence(block))
    return "\n\n".join(parts) + "\n"


def page_sections(sections: Sequence[Section]) -> str:
    """The whole report as HTML: all text is escaped, and pictures are inside the page."""
    parts = []
    for number, section in enumerate(sections):
        if section.level:
            parts.append(f'<h{section.level} id="s{number}">{html.escape(section.title)}</h{section.level}>')
        notes: set[str] = set()  # tables of a section that share a note show it once
        for block in section.blocks:
            if isinstance(block, Table):
                parts.append(block.html(note=block.note not in notes))
                notes.add(block.note)
            elif isinstance(block, Picture):
                png = block.path.read_bytes()
                # The width, from the PNG's header, is set so that letters have one size in all figures.
                width = int.from_bytes(png[16:20], "big") * PAGE_DPI // DPI
                caption, data = html.escape(block.caption), base64.b64encode(png).decode()
                image = f'<img alt="{caption}" width="{width}" src="data:image/png;base64,{data}">'
                parts.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
            else:
                parts.append(f"<p>{_inline(block)}</p>")
    return "\n".join(parts)


def contents(sections: Sequence[Section]) -> str:
    """Links to the headings of a page, as HTML."""
    links = (
        f'<a class="l{section.level}" href="#s{number}">{html.escape(section.title)}</a>'
        for number, section in enumerate(sections)
        if section.level
    )
    return "\n".join(links)


def _inline(text: str) -> str:
    """Translate the two marks that our sentences use, which are never nested; anything else is shown as it is."""

    def marked(found: re.Match[str]) -> str:
        return f"<strong>{found[2]}</strong>" if found[1] is None else f"<code>{found[1]}</code>"

    return re.sub(r"`([^`]*)`|\*\*([^*]*)\*\*", marked, html.escape(text))
