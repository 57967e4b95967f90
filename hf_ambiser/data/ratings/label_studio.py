"""Exports of Label Studio (JSON and JSON-MIN) as rows of a table: one annotation, or one marked region of it, a row.

Any other JSON file that holds a list of objects is a table; `is_label_studio` tells the two apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hf_ambiser.data.ratings.audio_files import SUFFIXES
from hf_ambiser.data.ratings.columns import is_usual, shown
from hf_ambiser.files.tables import Cell, TableFile, composed, no_object


# What Label Studio writes beside the answers of a rater into an object of JSON-MIN.
_ITS_OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
# Of these, what no table of other programs is likely to have.
_MARKS = ("annotation_id", "lead_time")
_ITS_PLACES = ("/data/upload/", "/data/local-files/")
_OWN = ("utterance", "rater", "label", "start", "end")
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
# A label or several, and the part of the recording that they are of ("" for all of it).
_Answer = tuple[tuple[str, ...], str, str]


@dataclass(frozen=True)
class _Annotation:
    """What one rater said of one task.

    Args:
        place: Where it stands, in words.
        rater: The rater, "" if nobody says.
        data: The plain values of the task.
        answers: Control -> what was chosen with it.
        fault: Why it cannot be used.
    """

    place: str
    rater: str
    data: Mapping[str, str]
    answers: Mapping[str, Sequence[_Answer]]
    fault: str = ""


def is_label_studio(tasks: Sequence[Any]) -> bool:
    """Whether a list of values is an export of Label Studio, and no table: by names and answers of its own form."""
    tasks = [task for task in tasks if isinstance(task, dict)]
    names = {name for task in tasks for name in task}
    of_others = [name for name in names - {"annotator"} if is_usual(name, "rater")]
    if of_others and not names & {"annotator", "annotations", "completions"}:
        return False  # it would lose these raters' names
    return any(isinstance(task.get("data"), dict) or any(map(_is_mark, task, task.values())) for task in tasks)


def _is_mark(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return name in _MARKS or value.startswith(_ITS_PLACES)
    chosen = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
    return name in _MARKS or any("choices" in one or ("labels" in one and "start" in one) for one in chosen)


def label_studio_table(
    path: Path, tasks: Sequence[Any], asked: Mapping[str, str], has_audio: Callable[[str], bool]
) -> tuple[TableFile, dict[str, str]]:
    """Read an export as rows of a table.

    Args:
        path: The JSON file.
        tasks: The values in it; those that are no objects are broken rows.
        asked: Role -> name of its control or field, as the user says.
        has_audio: Whether there is an audio file of that name. Label Studio puts eight characters before the name of
            an uploaded file, which the user's own file does not have.

    Returns:
        The table, and role -> column as far as it is known.

    Raises:
        ValueError: If it cannot be told which control holds the labels, or which field the audio.
    """
    objects = [task for task in tasks if isinstance(task, dict)]
    whole = any("data" in task and isinstance(task.get("annotations"), list) for task in objects)
    said: list[str] = []
    annotations = _of_tasks(path, tasks, said) if whole else _of_rows(path, tasks, asked)
    label = _label_control(path, annotations, asked)
    audio = _audio_field(path, annotations, asked, label)

    data = list(dict.fromkeys(name for one in annotations for name in one.data))
    others = list(dict.fromkeys(name for one in annotations for name in one.answers if name != label))
    names = {name: name if name not in _OWN else f"data {name}" for name in data if name not in (audio, label)}
    names |= {name: name if name not in (*_OWN, *names.values()) else f"control {name}" for name in others}
    table = TableFile(path, {name: [] for name in (*_OWN, *names.values())}, said=said)
    for one in annotations:
        if one.fault:
            table.broken.append((one.place, one.fault))
            continue
        beside: list[Cell] = [
            tuple(text for labels, _, _ in one.answers[name] for text in labels)
            if name in one.answers
            else one.data.get(name, "")
            for name in names
        ]
        utterance = _audio_name(one.data.get(audio, ""), has_audio)
        # An annotation without an answer is a rater who chose nothing.
        for labels, start, end in one.answers.get(label) or [((), "", "")]:
            table.add(one.place, [utterance, one.rater, labels, start, end, *beside])
    roles = {"utterance": "utterance", "rater": "rater", "start": "start", "end": "end"}
    return table, {**roles, **{role: names.get(name, name) for role, name in asked.items()}, "label": "label"} | (
        {"utterance": "utterance"}
    )


def _of_tasks(path: Path, tasks: Sequence[Any], said: list[str]) -> list[_Annotation]:
    """Read the full export: a task has its data, and a list of annotations with all that was chosen."""
    found, skipped, guessed = [], 0, 0
    for number, task in enumerate(tasks, start=1):
        if not isinstance(task, dict):
            found.append(_Annotation(f"{path.name}:task {number}", "", {}, {}, no_object(task)))
            continue
        place = f"{path.name}:task {_plain(task.get('id')) or number}"
        data = task.get("data")
        annotations = task.get("annotations")
        if not isinstance(data, dict) or not isinstance(annotations, list):
            found.append(_Annotation(place, "", {}, {}, "the task lacks its data or its list of annotations"))
            continue
        fields = {composed(name): text for name, value in data.items() if (text := _plain(value))}
        guessed += bool(task.get("predictions"))
        for k, one in enumerate(annotations, start=1):
            here = f"{place}, annotation {k}"
            if not isinstance(one, dict) or not isinstance(one.get("result", []), list):
                found.append(_Annotation(here, "", {}, {}, "the annotation is no object with a list of results"))
                continue
            cancelled = bool(one.get("was_cancelled"))
            skipped += cancelled
            results = [] if cancelled else one.get("result", [])
            answers: dict[str, list[_Answer]] = {}
            for result in results:
                if isinstance(result, dict) and isinstance(value := result.get("value"), dict):
                    if (answer := _answer(value)) is not None:
                        answers.setdefault(composed(str(result.get("from_name", ""))), []).append(answer)
            found.append(_Annotation(here, _rater(one.get("completed_by")), fields, answers))
        if not annotations:
            found.append(_Annotation(place, "", fields, {}))
    if skipped:
        said.append(f"{skipped} annotations were skipped by their raters, and are empty")
    if guessed:
        said.append(f"predictions of a model in {guessed} tasks are not used, because no rater gave them")
    return found


def _of_rows(path: Path, rows: Sequence[Any], asked: Mapping[str, str]) -> list[_Annotation]:
    """Read JSON-MIN: one object for each annotation, the answers beside the task's data under the controls' names."""
    found = []
    for number, row in enumerate(rows, start=1):
        place = f"{path.name}:object {number}"
        if not isinstance(row, dict):
            found.append(_Annotation(place, "", {}, {}, no_object(row)))
            continue
        fields: dict[str, str] = {}
        answers: dict[str, list[_Answer]] = {}
        fault = ""
        for raw, value in row.items():
            name = composed(raw)
            of_it = value if isinstance(value, list) else [value]
            if isinstance(value, dict | list):
                read = [_answer(one) if isinstance(one, dict) else None for one in of_it]
                if of_it and all(isinstance(one, str) for one in of_it):
                    # Choices of marked regions lose their times in this form, so nobody can tell what they are of.
                    fault = f"{name!r} holds {len(of_it)} answers without their times; export it as JSON" * (
                        len(of_it) > 1
                    )
                    answers[name] = [((text,), "", "") for text in of_it]
                elif of_it and None not in read:
                    answers[name] = [one for one in read if one is not None]
            elif text := _plain(value):
                if name == asked.get("label") or ("label" not in asked and is_usual(name, "label")):
                    answers[name] = [((text,), "", "")]
                else:
                    fields[name] = text
        rater = "" if "rater" in asked else fields.pop("annotator", "") or _rater(row.get("annotator"))
        found.append(_Annotation(place, rater, fields, answers, fault))
    return found


def _answer(value: Mapping[str, Any]) -> _Answer | None:
    """Read what was chosen; None if the control is of a kind that chooses no label (a text, a number, a shape)."""
    chosen = value.get("choices", value.get("labels"))
    if isinstance(chosen, str):
        chosen = [chosen]
    if not isinstance(chosen, list) or not all(isinstance(one, str) for one in chosen):
        return None
    return tuple(chosen), _plain(value.get("start")), _plain(value.get("end"))


def _label_control(path: Path, annotations: Sequence[_Annotation], asked: Mapping[str, str]) -> str:
    controls = list(dict.fromkeys(name for one in annotations for name in one.answers))
    if label := asked.get("label"):
        if label not in controls:
            raise ValueError(f"{path.name} has no control {label!r} with answers; it has {shown(controls)}.")
        return label
    usual = [name for name in controls if is_usual(name, "label")]
    likely = usual if len(usual) == 1 else controls
    if len(likely) != 1:
        what = f"there are {shown(likely)}" if likely else "no choice or marked region is in it"
        raise ValueError(
            f"{path.name}: it cannot be told which control holds the raters' labels; {what}. Say which one:"
            " --columns label=NAME"
        )
    return likely[0]


def _audio_field(path: Path, annotations: Sequence[_Annotation], asked: Mapping[str, str], label: str) -> str:
    names = list(dict.fromkeys(name for one in annotations for name in one.data if name not in (*_ITS_OWN, label)))
    if asked.get("utterance") in (*names, *_ITS_OWN):
        return asked["utterance"]
    likely = [
        name
        for name in names
        if any(_last_name(one.data.get(name, "")).lower().endswith(SUFFIXES) for one in annotations)
    ]
    likely = likely or [name for name in names if is_usual(name, "utterance")]
    if "utterance" in asked or len(likely) != 1:
        raise ValueError(
            f"{path.name}: it cannot be told which field names the audio; the tasks have {shown(names)}. Say which:"
            " --columns utterance=NAME"
        )
    return likely[0]


def _audio_name(value: str, has_audio: Callable[[str], bool]) -> str:
    """Return the name by which the audio is looked for, from an address or path in Label Studio."""
    name = _last_name(value)
    bare = _UPLOADED.sub("", name, count=1)
    return bare if "/upload/" in value and not has_audio(name) and has_audio(bare) else name


def _last_name(value: str) -> str:
    """The path in an address, without its server; files of the machine that served them are under `?d=`."""
    if "://" not in value and not value.startswith("/data/"):
        return value
    try:
        address = urlsplit(value)
    except ValueError:
        return value
    local = parse_qs(address.query).get("d", [""])[0]
    return local or unquote(address.path).lstrip("/").removeprefix("data/")


def _rater(value: Any) -> str:
    """The number of a rater: names and addresses of people do not belong into a data set."""
    return _plain(value.get("id") or value.get("email")) if isinstance(value, dict) else _plain(value)


def _plain(value: Any) -> str:
    """Write a plain value as a text; "" for nothing, lists and objects."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float):
        return repr(value)
    return " ".join(str(value).split())
