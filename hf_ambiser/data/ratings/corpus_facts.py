"""What is known of a corpus of one's own: read from `corpus.yaml`, stored in data sets and runs, shown on cards.

A corpus of the package is a module with constants. A corpus of one's own has the same names on a module that is made
from these facts (`corpus_module`), so whatever reads corpora reads it, too, and no file in the package is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hf_ambiser.data.corpora import STYLES, available_corpora, load_corpus
from hf_ambiser.files.read import FileError, read_yaml
from hf_ambiser.untrusted.markdown import as_text


FILE = "corpus.yaml"
# The name under which a build report and a run's `data.json` hold the facts.
FACTS = "corpus_facts"
GROUPS = ("speaker", "session")
# Field of corpus.yaml -> what it is, for the message about a field that does not exist.
FIELDS = {
    "name": "letters, digits, '_', '.' and '-'",
    "licence": "in words",
    "licence_id": "the Hub's identifier, for example cc-by-4.0",
    "terms": "what the licence forbids or asks for",
    "citation": "BibTeX",
    "homepage": "an address that begins with http:// or https://",
    "language": "the ISO code, for example en",
    "speech": "who speaks, how, and who rated",
    "style": "acted, posed or natural: whether people were asked to show an emotion",
    "redistributable": "true if a data set made from it may be public",
    "group": "speaker or session: what a strict split keeps on one side",
    "classes": "the class map, `label: class`",
}
CURE = f"Its fields, all optional, are: {'; '.join(f'{name} ({text})' for name, text in FIELDS.items())}."

_NOT_GIVEN = "not given"
_NO_TERMS = "What it forbids is not recorded; ask its owner before you pass anything on."
_NO_SPEECH = "speech of which its owner has recorded nothing"
_NO_SPEAKERS = (
    "Nobody has said who speaks in which utterance, so the splits divide utterances and not speakers: the same voice"
    " may be on both sides of a split, and figures for voices that a model has never heard are lower."
)


def read_corpus_file(path: Path) -> dict[str, Any]:
    """Read `corpus.yaml`: its facts, and `classes` as it stands there.

    Raises:
        FileError: If it cannot be read, has a field that does not exist, or a value of another kind.
    """
    found = read_yaml(path, CURE)
    if unknown := [name for name in found if name not in FIELDS]:
        raise FileError(path, f"has the field {unknown[0]!r}, which there is not", CURE)
    for name, value in found.items():
        if name != "classes" and not isinstance(value, bool if name == "redistributable" else str):
            kind = "true or false" if name == "redistributable" else "a text (in quotes, if YAML takes it for another)"
            raise FileError(path, f"has {name}: {value!r:.50}, and it must be {kind}", CURE)
    for name, allowed in (
        ("name", r"[\w.-]+"),
        ("licence_id", r"[\w.-]+"),
        ("homepage", r"https?://[^\s()<>\"]+"),
        ("language", r"[A-Za-z]{2,3}(?:-\w+)*"),
        ("group", "|".join(GROUPS)),
        ("style", "|".join(STYLES)),
    ):
        if name in found and not re.fullmatch(allowed, found[name]):
            raise FileError(path, f"has {name}: {found[name]!r:.50}; allowed is {FIELDS[name]}", CURE)
    return found


def checked_name(name: str) -> str:
    """Return the name of a corpus of one's own.

    Raises:
        ValueError: If a corpus of the package has it, because reports would take the one for the other.
    """
    if name in available_corpora():
        raise ValueError(
            f"the corpus would be called {name!r}, as a corpus of this package ({available_corpora()}). Write another"
            f" `name:` into {FILE} beside the table."
        )
    return name


def corpus_module(facts: Mapping[str, Any]) -> ModuleType:
    """Make the module of a corpus of one's own; its texts have no effect in Markdown, for they may be anybody's.

    It has the constants that `data.corpora` describes and `SPEAKERS_KNOWN`, and no `scan`.
    """

    def text(name: str, otherwise: str) -> str:
        return as_text(str(facts.get(name) or "")).strip() or otherwise

    def matching(name: str, allowed: str) -> str:
        value = str(facts.get(name) or "")
        return value if re.fullmatch(allowed, value) else ""

    known = facts.get("speakers_known", True) is True
    licence, identifier = text("licence", ""), matching("licence_id", r"[\w.-]+")
    module = ModuleType(f"{FACTS}.{facts.get('name')}")
    module.__dict__.update(
        NAME=text("name", "a corpus without a name"),
        POLICY="",
        GROUP=facts.get("group") if facts.get("group") in GROUPS else "speaker",
        LICENSE=licence or (f"Licence {identifier}" if identifier else f"Licence {_NOT_GIVEN}"),
        LICENSE_ID=identifier or ("other" if licence else "unknown"),
        TERMS=text("terms", _NO_TERMS),
        REDISTRIBUTABLE=facts.get("redistributable") is True,
        SPEECH=text("speech", _NO_SPEECH),
        STYLE=matching("style", "|".join(STYLES)),
        # "" is a language that nobody gave; None, as for the simulated corpus, would say that nobody speaks.
        LANGUAGE=matching("language", r"[A-Za-z]{2,3}(?:-\w+)*"),
        HOMEPAGE=matching("homepage", r"https?://[^\s()<>\"]+"),
        # A line that closes the block of code would let the rest of the text have an effect.
        CITATION=re.sub(r"^\s*[`~]{3,}.*$", "", str(facts.get("citation") or ""), flags=re.MULTILINE).strip(),
        SPEAKERS_KNOWN=known,
    )
    return module


def known_corpus(description: Mapping[str, Any]) -> ModuleType | None:
    """Return the corpus that a build report or a run's `data.json` names; None if nothing is known of it."""
    if isinstance(facts := description.get(FACTS), Mapping):
        return corpus_module(facts)
    name = description["corpus"]
    return load_corpus(name) if name in available_corpora() else None


def without_speakers(corpus: ModuleType | None) -> str:
    """What a card says of splits that divide utterances because speakers are not known; "" for all other corpora."""
    return "" if getattr(corpus, "SPEAKERS_KNOWN", True) else _NO_SPEAKERS
