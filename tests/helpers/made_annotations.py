"""Made files of Praat, ELAN and Label Studio, and long recordings that they are about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import soundfile


# (start, end, text), and the tiers of a file by name.
Marks = Sequence[tuple[float, float, str]]


def recording(path: Path, seconds: float = 4.0, rate: int = 16000, subtype: str = "PCM_16") -> np.ndarray:
    """Write noise whose every sample is another one, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(len(path.stem)).uniform(-0.5, 0.5, int(seconds * rate)).astype(np.float32)
    soundfile.write(path, wave, rate, subtype=subtype)
    return soundfile.read(path, dtype="float32")[0]


def textgrid(tiers: Mapping[str, Marks], end: float = 4.0, points: Sequence[str] = (), short: bool = False) -> str:
    """A TextGrid as Praat writes it: intervals without a text fill the time between those with one."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {end} "]
    lines += ["tiers? <exists> ", f"size = {len(tiers) + len(points)} ", "item []: "]
    for i, (name, marks) in enumerate(tiers.items(), start=1):
        filled, at = [], 0.0
        for start, stop, text in marks:
            filled += [(at, start, "")] * (start > at) + [(start, stop, text)]
            at = stop
        filled += [(at, end, "")] * (end > at)
        lines += [f"    item [{i}]:", '        class = "IntervalTier" ', f"        name = {_quoted(name)} "]
        lines += ["        xmin = 0 ", f"        xmax = {end} ", f"        intervals: size = {len(filled)} "]
        for j, (start, stop, text) in enumerate(filled, start=1):
            lines += [f"        intervals [{j}]:", f"            xmin = {start} ", f"            xmax = {stop} "]
            lines += [f"            text = {_quoted(text)} "]
    for name in points:
        lines += ["    item [9]:", '        class = "TextTier" ', f"        name = {_quoted(name)} "]
        lines += ["        xmin = 0 ", f"        xmax = {end} ", "        points: size = 1 ", "        points [1]:"]
        lines += ["            number = 1.5 ", '            mark = "beep" ']
    if short:
        kept = [line.partition("= ")[2].strip() for line in lines if "= " in line or not line.strip()]
        kept.insert(5, "<exists>")
        lines = ['File type = "ooTextFile"', '"TextGrid"', *kept[2:]]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def eaf(
    tiers: Mapping[str, Mapping],
    media: Sequence[Mapping[str, str]] = (),
    units: str = "milliseconds",
    before: str = "",
) -> str:
    """An annotation document as ELAN writes it.

    Args:
        tiers: Name -> its attributes (`rater`, `speaker`, `kind`) and its `marks`: (start, end, text), or
            (name of a tier, number of its mark, text) for an annotation on another one.
        media: Attributes of the media.
        units: The unit of time.
        before: What stands before the document.
    """
    slots: list[str] = []
    body: list[str] = []
    for name, tier in tiers.items():
        given = {"TIER_ID": name, "LINGUISTIC_TYPE_REF": tier.get("kind", "default-lt")}
        given |= {
            key: tier[what] for key, what in (("ANNOTATOR", "rater"), ("PARTICIPANT", "speaker")) if what in tier
        }
        body.append(f"<TIER {_attributes(given)}>")
        for i, (start, end, text) in enumerate(tier["marks"]):
            value = f"<ANNOTATION_VALUE>{escape(text)}</ANNOTATION_VALUE>"
            own = f'ANNOTATION_ID="{name}{i}"'
            if isinstance(start, str):
                inner = f'<REF_ANNOTATION {own} ANNOTATION_REF="{start}{end}">{value}</REF_ANNOTATION>'
            else:
                refs = []
                for k, time in enumerate((start, end), start=1):
                    slots.append(f'TIME_VALUE="{round(time * 1000)}"' if time is not None else "")
                    refs.append(f'TIME_SLOT_REF{k}="ts{len(slots)}"')
                inner = f"<ALIGNABLE_ANNOTATION {own} {' '.join(refs)}>{value}</ALIGNABLE_ANNOTATION>"
            body.append(f"<ANNOTATION>{inner}</ANNOTATION>")
        body.append("</TIER>")
    order = "".join(f'<TIME_SLOT TIME_SLOT_ID="ts{i}" {time}/>\n' for i, time in enumerate(slots, start=1))
    descriptors = "".join(f"<MEDIA_DESCRIPTOR {_attributes(one)}/>" for one in media)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{before}<ANNOTATION_DOCUMENT AUTHOR="" FORMAT="3.0" VERSION="3.0"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        ' xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">\n'
        f'<HEADER MEDIA_FILE="" TIME_UNITS="{units}">{descriptors}</HEADER>\n<TIME_ORDER>\n{order}</TIME_ORDER>\n'
        + "\n".join(body)
        + "\n</ANNOTATION_DOCUMENT>\n"
    )


def _attributes(given: Mapping[str, str]) -> str:
    return " ".join(f"{name}={quoteattr(value)}" for name, value in given.items())


def choice(label: str | Sequence[str], control: str = "emotion", **part: float) -> dict:
    """What Label Studio stores of a choice, of the whole audio or of a marked part (`start=`, `end=`)."""
    labels = [label] if isinstance(label, str) else list(label)
    kind = {"choices": labels, **part}
    return {"from_name": control, "to_name": "audio", "type": "choices", "id": "x", "value": kind}


def task(number: int, audio: str, *annotations: tuple, **data: object) -> dict:
    """A task of Label Studio's JSON: each annotation is (rater, results)."""
    given = [
        {"id": k, "completed_by": rater, "was_cancelled": results is None, "result": results or []}
        for k, (rater, results) in enumerate(annotations)
    ]
    return {"id": number, "data": {"audio": audio, **data}, "annotations": given, "predictions": []}


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path
