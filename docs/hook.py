"""What MkDocs cannot do alone: pages that lie elsewhere in the repository, lists from the code, the API pages.

A page links to a module of the package (`../hf_ambiser/data/schema.py`), which a clone has; on the site the link leads
to the module's place in the API reference, which a clone does not have.

A page is kept in one place. `README.md`, `CONTRIBUTING.md`, `CHANGELOG.md` and the pages of the methods stay where
GitHub and the package show them; the site takes them from there and turns their links.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File


HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]  # MkDocs runs a hook without its folder in the path

from listings import LISTINGS, api_pages, module_of  # noqa: E402


# A line in italics below the mark stands for the list where the page is read outside the site.
_MARK = re.compile(r"^<!-- from the code: (\w+) -->$(?:\n\*[^\n]*\*$)?", re.MULTILINE)
# Fenced code stays as it is; of links and images, the target is what may change.
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def elsewhere() -> dict[str, str]:
    """File in the repository -> its place on the site, of all that does not lie in docs/."""
    places = {
        "README.md": "index.md",
        "CONTRIBUTING.md": "contributing.md",
        "CHANGELOG.md": "changelog.md",
        "train_scripts/accelerate/README.md": "accelerate.md",
    }
    for path in sorted((ROOT / "hf_ambiser" / "methods").glob("*/*")):
        if path.suffix in (".md", ".png"):
            places[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT / "hf_ambiser").as_posix()
    return places


def on_config(config: Any) -> Any:
    """Put every page that a `*` in the navigation stands for in its place."""
    found = [place for place in elsewhere().values() if place.startswith("methods/") and place.endswith(".md")]
    pages = {"methods/*": found, "api/*": [f"api/{name}" for name in _overview_first(api_pages())]}
    for section in config.nav:
        for title, content in section.items():
            if isinstance(content, list):
                section[title] = [page for entry in content for page in pages.get(entry, [entry])]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from elsewhere, and the API pages."""
    for path, place in elsewhere().items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    for name, text in api_pages().items():
        files.append(File.generated(config, f"api/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put lists from the code in their places, and turn links of the repository into links of the site."""
    place = page.file.src_uri
    origin = {place: path for path, place in elsewhere().items()}.get(place, f"docs/{place}")
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: _turned(link, origin, place), part) for part in parts[::2]]
    # Lists are written as pages of the site are, with its own links.
    depth = posixpath.relpath(".", posixpath.dirname(place) or ".")
    return _MARK.sub(lambda mark: _listing(mark[1], place, depth), "".join(parts))


def _listing(name: str, place: str, depth: str) -> str:
    if name not in LISTINGS:
        raise ValueError(f"docs/{place} asks for a list {name!r} from the code; there are {sorted(LISTINGS)}.")
    text = LISTINGS[name]()
    return text if depth == "." else text.replace("](methods/", f"]({depth}/methods/")


def _turned(link: re.Match[str], origin: str, place: str) -> str:
    """A link of a file at `origin` as it is on the page at `place`; what the site does not have is no link there."""
    target, hash_, anchor = link["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    there = elsewhere().get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
    if module := module_of(path):
        there, hash_, anchor = f"api/{module.split('.')[1]}.md", "#", module
    if there is None:
        return link["text"]
    relative = posixpath.relpath(there, posixpath.dirname(place) or ".")
    return f"{link['image']}[{link['text']}]({relative}{hash_}{anchor})"


def _overview_first(names: Any) -> list[str]:
    return sorted(names, key=lambda name: (name not in ("index.md", "arguments.md"), name != "index.md", name))
