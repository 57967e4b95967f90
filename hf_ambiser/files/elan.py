"""The reader of ELAN's annotation documents (.eaf), which are XML.

A document type declaration is refused, and with it every entity: ELAN writes none, and they are how a small file
becomes a large one, or makes a reader open another file.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from hf_ambiser.files.read import read_bytes
from hf_ambiser.files.tiers import Interval, Tier, TierFault, TierFile


SUFFIX = ".eaf"
CURE = "Open it in ELAN and save it again."


def read_elan(path: Path) -> TierFile:
    """Read an annotation document. An annotation on another one has the times of that one.

    Raises:
        FileError: If the file cannot be read.
        TierFault: If it is no XML, no document of ELAN, declares a document type, or counts its time in another way.
    """
    document = _Document()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    document.parser = parser
    parser.StartDoctypeDeclHandler = document.refuse
    parser.StartElementHandler, parser.EndElementHandler = document.start, document.end
    parser.CharacterDataHandler = document.text
    data = read_bytes(path, CURE)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise TierFault(error.lineno, f"it is not XML ({expat.ErrorString(error.code)})") from error
    except (LookupError, ValueError) as error:  # an encoding that Python does not have
        if isinstance(error, TierFault):
            raise
        raise TierFault(parser.CurrentLineNumber, f"it is not XML ({error})") from error
    return document.finished()


class _Document:
    """Collects what the parser finds."""

    parser: expat.XMLParserType

    def __init__(self) -> None:
        self.file = TierFile()
        self._depth = 0
        self._media: list[tuple[dict[str, str], int]] = []
        self._times: dict[str, float | None] = {}
        # Annotation -> its two slots, or the annotation that it stands on.
        self._spans: dict[str, tuple[str, str] | str] = {}
        self._found: list[tuple[Tier, str, str, int]] = []
        self._now: tuple[str, int] | None = None
        self._value: list[str] | None = None

    def refuse(self, *_: object) -> None:
        raise TierFault(self.parser.CurrentLineNumber, "it declares a document type, which ELAN does not write")

    def start(self, name: str, given: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        self._depth += 1
        if self._depth == 1 and name != "ANNOTATION_DOCUMENT":
            raise TierFault(line, f"it holds <{name[:30]}>, not an ANNOTATION_DOCUMENT of ELAN")
        if name == "HEADER" and given.get("TIME_UNITS", "milliseconds") != "milliseconds":
            raise TierFault(line, f"it counts time in {given['TIME_UNITS'][:30]!r}, and milliseconds are read")
        if name == "MEDIA_DESCRIPTOR":
            self._media.append((given, line))
        elif name == "TIME_SLOT":
            time = given.get("TIME_VALUE", "")
            known = re.fullmatch(r"\d{1,12}", time, re.ASCII)
            self._times[given.get("TIME_SLOT_ID", "")] = int(time) / 1000 if known else None
        elif name == "TIER":
            names = (given.get(key, "") for key in ("TIER_ID", "LINGUISTIC_TYPE_REF", "ANNOTATOR", "PARTICIPANT"))
            tier, kind, rater, speaker = (" ".join(one.split()) for one in names)
            self.file.tiers.append(Tier(tier, kind=kind, rater=rater, speaker=speaker))
        elif name in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
            own = given.get("ANNOTATION_ID", "")
            slots = given.get("TIME_SLOT_REF1", ""), given.get("TIME_SLOT_REF2", "")
            self._spans[own] = slots if name == "ALIGNABLE_ANNOTATION" else given.get("ANNOTATION_REF", "")
            self._now = own, line
        elif name == "ANNOTATION_VALUE" and self._now:
            self._value = []

    def text(self, text: str) -> None:
        if self._value is not None:
            self._value.append(text)

    def end(self, name: str) -> None:
        self._depth -= 1
        if name == "ANNOTATION_VALUE" and self._now and self._value is not None:
            own, line = self._now
            if (value := "".join(self._value).strip()) and self.file.tiers:
                self._found.append((self.file.tiers[-1], own, value, line))
            self._now = self._value = None

    def _recording(self) -> str:
        """The name of the first medium that is sound, or of the first; a sound is named as the video it is from."""
        media = [*filter(lambda given: given[0].get("MIME_TYPE", "").startswith("audio"), self._media), *self._media]
        if not media:
            return ""
        given, line = media[0]
        if (origin := given.get("TIME_ORIGIN", "0")) not in ("", "0"):
            raise TierFault(line, f"its medium begins at TIME_ORIGIN {origin[:20]!r}, and only 0 is read")
        place = unquote(given.get("RELATIVE_MEDIA_URL") or given.get("MEDIA_URL", ""))
        stem, _, name = re.split(r"[\\/]", place)[-1].rpartition(".")
        return stem or name

    def finished(self) -> TierFile:
        self.file.recording = self._recording()
        for tier, own, value, line in self._found:
            start, end = self._span(own)
            if start is None or end is None:
                self.file.broken.append((line, f"annotation {own[:50]!r} has no time"))
            else:
                tier.intervals.append(Interval(start, end, value, line))
        return self.file

    def _span(self, own: str) -> tuple[float | None, float | None]:
        seen: set[str] = set()
        span: tuple[str, str] | str | None = self._spans.get(own)
        while isinstance(span, str) and span not in seen:
            seen.add(span)
            span = self._spans.get(span)
        return (self._times.get(span[0]), self._times.get(span[1])) if isinstance(span, tuple) else (None, None)
