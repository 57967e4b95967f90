"""Annotations on a time line (Praat, ELAN) as rows of a table: one label of one rater for one part of a recording.

Whoever rates emotion in these programs has long recordings and marks parts of them, so each interval with a label is
an utterance, and its audio is cut from the recording. Intervals with the same start and end in the same recording are
one utterance, in whichever tiers and files they are; times are compared in milliseconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_ambiser.data.ratings.columns import as_word, is_rater_name, is_usual, shown
from hf_ambiser.files.elan import CURE as ELAN_CURE
from hf_ambiser.files.elan import SUFFIX as ELAN
from hf_ambiser.files.elan import read_elan
from hf_ambiser.files.read import FileError
from hf_ambiser.files.tables import Cell, TableFile, composed
from hf_ambiser.files.textgrid import CURE as TEXTGRID_CURE
from hf_ambiser.files.textgrid import SUFFIX as TEXTGRID
from hf_ambiser.files.textgrid import read_textgrid
from hf_ambiser.files.tiers import Interval, Tier, TierFault, TierFile


READERS: dict[str, tuple[Callable[[Path], TierFile], str]] = {
    TEXTGRID: (read_textgrid, TEXTGRID_CURE),
    ELAN: (read_elan, ELAN_CURE),
}
# The columns that every such table has. `recording` and `folder` are for `--columns speaker=recording rater=folder`.
_OWN = ("utterance", "start", "end", "rater", "label", "participant", "recording", "folder", "tier")
# What a tier may say of the utterances beside it.
_ABOUT = ("speaker", "session", "dialogue", "sentence", "language", "sex", "age")


@dataclass(frozen=True)
class _File:
    """One file that could be read: its place below the source, and what it holds."""

    place: Path
    content: TierFile


def annotated_files(source: Path) -> list[Path]:
    """Return the files of Praat or ELAN at a place: the file itself, or all below a folder, in order of their names.

    Raises:
        FileError: If a folder holds files of both programs.
    """
    if source.is_dir():
        files = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in READERS and path.is_file()]
        files = [path for path in files if not path.name.startswith("._")]  # of archives that macOS made
    else:
        files = [source] if source.suffix.lower() in READERS else []
    if len(kinds := {path.suffix.lower() for path in files}) > 1:
        raise FileError(
            source,
            f"holds files of {' and '.join(sorted(kinds))}, which may say the same twice",
            "Give a folder of one.",
        )
    return files


def tiers_table(
    source: Path, files: Sequence[Path], asked: Mapping[str, str], rater_columns: Sequence[str] = ()
) -> tuple[TableFile, dict[str, str]]:
    """Read annotations as rows of a table, with the file and line of each.

    Args:
        source: The file or folder, as the user gave it.
        files: The files (`annotated_files`).
        asked: Role -> name of its tier or column, as the user says; `label` is the name or the type of a tier.
        rater_columns: Tiers of labels, each named for a rater.

    Returns:
        The table, and role -> column as far as it is known.

    Raises:
        FileError: If no file can be read.
        ValueError: If it cannot be told which tiers hold labels, or if `asked` names what annotations say themselves.
    """
    if times := [f"{role}={asked[role]}" for role in ("start", "end") if role in asked]:
        raise ValueError(
            f"--columns {' '.join(times)} came, and in {source.name} each interval has its start and end. Leave"
            f" {' and '.join(role for role in ('start', 'end') if role in asked)} out."
        )
    if rater_columns and "rater" in asked:
        raise ValueError(
            f"--columns rater={asked['rater']} came with --rater-columns, whose tiers are named for the raters. Leave"
            " one of the two out."
        )
    read, broken, fault = _read(source, files)
    if not read and fault:
        raise fault
    tiers = [tier for one in read for tier in one.content.tiers]
    names = list(dict.fromkeys(tier.name for tier in tiers))
    labelled, rater_of = _label_tiers(tiers, names, asked, rater_columns)
    wanted = {name for role, name in asked.items() if role != "label"}
    about = [
        name
        for name in names
        if name not in labelled and (name in wanted or any(is_usual(name, role) for role in _ABOUT))
    ]
    column_of = {name: f"tier {name}" if name in _OWN else name for name in about}
    table = TableFile(source, {name: [] for name in (*_OWN, *column_of.values())}, broken=broken)

    roles = {"utterance": "utterance", **asked, "start": "start", "end": "end", "label": "label"}
    roles = {role: column_of.get(name, name) for role, name in roles.items()}
    if any(tier.speaker for tier in tiers) and not any(is_usual(name, "speaker") for name in about):
        roles.setdefault("speaker", "participant")
    roles.setdefault("rater", "rater")
    parts = set()
    for one in read:
        for tier in one.content.tiers:
            if tier.name not in labelled:
                continue
            if tier.points:
                table.broken.append(
                    (_place(source, one.place, 0), f"tier {tier.name!r}: {tier.points} points, no parts")
                )
            beside = [_texts([t for t in one.content.tiers if t.name == name]) for name in about]
            for interval, label in _labels(tier):
                recording = one.content.recording or one.place.stem
                folder = "" if roles["rater"] == "folder" else one.place.parent.as_posix().removeprefix(".")
                utterance = f"{folder}/{recording}" if folder else recording
                parts.add((utterance, f"{interval.start:.3f}", f"{interval.end:.3f}"))
                middle = (interval.start + interval.end) / 2
                own = (
                    utterance, repr(interval.start), repr(interval.end), rater_of(tier), label, tier.speaker,
                    recording, one.place.parent.name, tier.name,
                )  # fmt: skip
                table.add(_place(source, one.place, interval.line), [*own, *(text(middle) for text in beside)])
    table.said.append(
        f"{len(table.lines)} labels of {len(parts)} intervals in {len(read)} files, tiers {shown(sorted(labelled))}"
    )
    if rest := [name for name in names if name not in labelled and name not in about]:
        table.said.append(f"tiers that are not used: {shown(rest)}")
    return table, roles


def _read(source: Path, files: Sequence[Path]) -> tuple[list[_File], list[tuple[int | str, str]], FileError | None]:
    """Read all files; return those that could be read, the places that could not, and the first fault of a file."""
    read, broken, first = [], list[tuple[int | str, str]](), None
    for path in files:
        place = path.relative_to(source) if path != source else Path(path.name)
        reader, cure = READERS[path.suffix.lower()]
        try:
            content = reader(path)
        except TierFault as fault:
            first = first or FileError(path, f"cannot be used: {fault}", cure)
            broken.append((_place(source, place, fault.line), fault.what))
            continue
        except FileError as error:
            first = first or error
            broken.append((_place(source, place, 0), "it cannot be read"))
            continue
        for tier in content.tiers:
            tier.name, tier.kind = composed(tier.name), composed(tier.kind)
        read.append(_File(place, content))
        broken += [(_place(source, place, line), what) for line, what in content.broken]
    return read, broken, first


def _place(source: Path, place: Path, line: int) -> str:
    name = place.as_posix() if source.name == place.name else f"{source.name}/{place.as_posix()}"
    return f"{name}:{line}" if line else name


def _label_tiers(
    tiers: Sequence[Tier], names: Sequence[str], asked: Mapping[str, str], rater_columns: Sequence[str]
) -> tuple[set[str], Callable[[Tier], str]]:
    """Return the names of the tiers that hold labels, and a function from such a tier to its rater."""
    kinds = sorted({tier.kind for tier in tiers} - {""})
    there = f"there are {shown(names)}" + (f", of the types {shown(kinds)}" if kinds else "")
    if rater_columns and "label" in asked:
        raise ValueError(
            f"--columns label={asked['label']} came with --rater-columns; the labels are in tiers of one name or type,"
            " or in a tier for each rater. Leave one of the two out."
        )
    if missing := [name for name in rater_columns if name not in names]:
        raise ValueError(f"no tier is called {missing[0]!r}; {there}.")
    if rater_columns:
        return set(rater_columns), lambda tier: tier.name
    if label := asked.get("label"):
        if label not in names and label not in kinds:
            raise ValueError(f"no tier is called {label!r} or of that type; {there}.")
        chosen = {tier.name for tier in tiers if label in (tier.name, tier.kind)}
    else:
        chosen = {tier.name for tier in tiers if is_usual(tier.name, "label") or is_usual(tier.kind, "label")}
        of_raters = [name for name in names if is_rater_name(name) and name not in chosen]
        if chosen and len(of_raters) > 1:
            words = " ".join(map(as_word, of_raters))
            raise ValueError(
                f"the tiers {shown(sorted(chosen))} may hold the raters' labels, and so may {shown(of_raters)}. Say"
                f" which: --rater-columns {words} or --columns label={as_word(min(chosen))}"
            )
        chosen = chosen or set(of_raters)
    if not chosen:
        raise ValueError(
            f"no tier is named as the raters' labels; {there}. Say which tiers hold them: --columns label=NAME (a"
            " tier, or all tiers of a type), or --rater-columns NAME ... (one tier a rater)"
        )
    named = len(chosen) > 1 or any(map(is_rater_name, chosen))
    return chosen, lambda tier: tier.rater or (tier.name if named else "")


def _labels(tier: Tier) -> list[tuple[Interval, Cell]]:
    """Return the intervals of a tier with their labels; several texts of one interval are several labels."""
    by_time: dict[tuple[float, float], list[Interval]] = {}
    for interval in tier.intervals:
        by_time.setdefault((interval.start, interval.end), []).append(interval)
    return [(of[0], of[0].text if len(of) == 1 else tuple(one.text for one in of)) for of in by_time.values()]


def _texts(tiers: Sequence[Tier]) -> Callable[[float], str]:
    """Return a function from a time to the text that stands there in these tiers."""
    intervals: list[Interval] = sorted((one for tier in tiers for one in tier.intervals), key=lambda one: one.start)
    starts = [one.start for one in intervals]

    def at(time: float) -> str:
        place = bisect_right(starts, time) - 1
        return intervals[place].text if place >= 0 and intervals[place].end >= time else ""

    return at
