"""A table of ratings and a folder of audio as a corpus: its facts, its label policy and its scan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hf_ambiser.data.overlap.columns import IN_EXTRA
from hf_ambiser.data.policy_file import policy_of
from hf_ambiser.data.ratings.audio_files import AudioFile, AudioFinder, name_without_place
from hf_ambiser.data.ratings.cells import in_words
from hf_ambiser.data.ratings.class_map import checked_class_map, is_no_answer, own_policy, read_class_map
from hf_ambiser.data.ratings.columns import Columns
from hf_ambiser.data.ratings.corpus_facts import FACTS, FILE, checked_name, corpus_module, read_corpus_file
from hf_ambiser.data.ratings.long_or_wide import RatedTable, RatedUtterance, rated_table
from hf_ambiser.data.ratings.sources import open_ratings
from hf_ambiser.data.schema import CorpusScan, Listed, Utterance
from hf_ambiser.files.read import exists
from hf_ambiser.labels.policies import LabelPolicy


_SEX = {"f": "female", "w": "female", "woman": "female", "m": "male", "man": "male"}
# What rows may say of their speaker, and is stored for each speaker.
_ABOUT_SPEAKER = ("sex", "age")
# The speaker of an utterance of which nobody has said who speaks. A name of its own for each utterance, because a
# figure over speakers would take one common name for one person.
_UNKNOWN = "unknown:"


@dataclass(frozen=True)
class OwnCorpus:
    """A corpus of one's own, read and ready to be built.

    Args:
        module: Its constants and its `scan`, as those of the package's corpora, and `FACTS`, which are stored.
        policy: Its label policy.
        scan: Its utterances, and everything that is listed.
        columns: Which column of the table is what.
        root: The folder that its audio is below.
    """

    module: ModuleType
    policy: LabelPolicy
    scan: CorpusScan
    columns: Columns
    root: Path


def read_own_corpus(
    ratings: Path | str,
    audio: Path | str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    class_columns: Sequence[str] = (),
    rater_columns: Sequence[str] = (),
    separator: str | None = None,
    classes: Mapping[str, str | None] | Path | str | None = None,
    as_found: bool = False,
    corpus: Path | str | None = None,
    no_speakers: bool = False,
    subset: str | None = None,
    policy: LabelPolicy | Path | str | None = None,
    **rules: Any,
) -> OwnCorpus:
    """Read a table of ratings; `build_from_ratings` describes the arguments, and `rules` are fields of `LabelPolicy`.

    Raises:
        FileNotFoundError: If the folder of audio is missing or empty.
        ValueError: If the table, its columns, its labels or `corpus.yaml` cannot be used. As a FileError for a file.
    """
    source = open_ratings(ratings, audio, columns, class_columns, rater_columns, subset)
    table, found, folder = source.table, source.columns, source.audio
    places = [source.path.parent / FILE, *([source.path / FILE] if source.path.is_dir() else [])]
    facts_file = Path(corpus) if corpus is not None else next(filter(exists, reversed(places)), None)
    facts = {**source.facts, **(read_corpus_file(facts_file) if facts_file else {})}
    group = facts.get("group", "speaker")
    _check_group(found, group, no_speakers)
    of_nobody = [role for role in _ABOUT_SPEAKER if no_speakers and role in found.roles]
    if asked := [f"{role}={name}" for role, name in (columns or {}).items() if role in of_nobody]:
        raise ValueError(
            f"--columns {' '.join(asked)} came with --no-speakers; sex and age are stored for each speaker, and here"
            " nobody knows who speaks. Leave one of the two out."
        )
    if not table.lines and not table.broken:
        raise ValueError(f"{table.path} has column names and no row. Give a table with ratings.")
    rated = rated_table(table, found, folder, separator)
    if not rated.labels:
        raise ValueError(_no_vote(rated))
    given = policy_of(policy) if policy is not None else None
    policy_map = _class_map(classes, facts, facts_file, given, as_found)
    name = checked_name(facts.get("name") or re.sub(r"[^\w.-]+", "_", source.name))
    policy = own_policy(name, rated.labels, policy_map, as_found, given, **rules)

    language = facts.get("language") or _language(rated)
    stored = {key: value for key, value in facts.items() if key != "classes"}
    stored |= {"name": name, "group": group, **({"language": language} if language else {})}
    stored |= {"speakers_known": not no_speakers}
    module = corpus_module(stored)
    notes = [f"{table.path.name}: {', '.join(table.said)}" if table.said else table.path.name, found.said()]
    notes += [f"facts from {facts_file.name}" if facts_file else f"no {FILE}: licence, terms and speech are not given"]
    if of_nobody:
        notes.append(f"nobody knows who speaks (--no-speakers), so what rows say of speakers is not used: {of_nobody}")
    notes += [*rated.notes, *_label_notes(rated, policy), *_language_notes(rated, module)]
    scan = _scan(rated, folder, name, group, no_speakers, notes)
    module.__dict__.update({FACTS.upper(): stored, "scan": lambda root: scan})
    return OwnCorpus(module, policy, scan, found, folder.root)


def _no_vote(rated: RatedTable) -> str:
    c, first = rated.counts, rated.listed[0] if rated.listed else None
    listed = f" The first listed row: {first.source}, {first.reason}, {first.detail}." if first else ""
    return (
        f"{rated.source} has no vote that can be used: {c['rows_in']} rows, {c['rows_listed']} of them listed,"
        f" {c['empty_cells']} empty cells.{listed} Say where the labels are: --columns label=NAME, --rater-columns or"
        " --class-columns"
    )


def _check_group(columns: Columns, group: str, no_speakers: bool) -> None:
    needed = {"speaker", group} - set(columns.roles)
    if no_speakers:
        if "speaker" in columns.roles:
            raise ValueError(
                f"--no-speakers came, but the table has a column of speakers, {columns.roles['speaker']!r}. Leave"
                " --no-speakers out, so that no voice is on two sides of a split."
            )
        if group == "session":
            raise ValueError(f"{FILE} says group: session, which --no-speakers contradicts. Leave one of the two out.")
    elif needed:
        what = min(needed)
        raise ValueError(
            f"no column is named as the {what}'s, so no split can keep a {what} on one side. Say which it is:"
            f" --columns {what}=NAME"
            + (
                "; or divide utterances with --no-speakers: then the same voice may be on both sides, figures are too"
                " good, and every card says so."
                if what == "speaker"
                else f"; or write group: speaker into {FILE}."
            )
        )


def _class_map(
    classes: Mapping[str, str | None] | Path | str | None,
    facts: Mapping[str, Any],
    facts_file: Path | None,
    policy: LabelPolicy | None,
    as_found: bool,
) -> dict[str, str | None] | None:
    if policy and (classes is not None or "classes" in facts or as_found):
        other = "--classes" if classes is not None else "--as-found" if as_found else f"classes: in {facts_file}"
        raise ValueError(
            f"--policy {policy.name} came with {other}, and the policy has a class map. Leave one of the two out."
        )
    if policy:
        return dict(policy.class_map)
    if as_found and (classes is not None or "classes" in facts):
        other = "--classes" if classes is not None else f"classes: in {facts_file}"
        raise ValueError(
            f"--as-found came with {other}, which says the class of each label. Leave one of the two out."
        )
    if classes is not None and "classes" in facts:
        raise ValueError(f"--classes came, and {facts_file} has classes:, too. Leave one of the two out.")
    if isinstance(classes, str | Path):
        return read_class_map(Path(classes))
    if classes is not None:
        return checked_class_map(classes, "classes")
    return checked_class_map(facts["classes"], facts_file or FILE) if "classes" in facts else None


def _scan(
    rated: RatedTable, folder: AudioFinder, name: str, group: str, no_speakers: bool, notes: list[str]
) -> CorpusScan:
    """Make the utterances that have audio and a speaker; all others are listed, and so is audio that no row names."""
    people, of_people = _people(rated)
    notes = [*notes, *of_people]
    utterances: list[Utterance] = []
    listed: list[Listed] = []
    named: set[Path] = set()
    listed_votes = 0

    def leave_out(one: RatedUtterance, reason: str, detail: str) -> None:
        nonlocal listed_votes
        listed_votes += one.votes
        rated.lost.add_ratings(reason, (rating.labels for rating in one.ratings))
        listed.append(Listed(name_without_place(one.name), reason, detail, rated.place(one.line)))

    for one in rated.utterances:
        if not isinstance(one.audio, AudioFile):
            leave_out(one, one.audio.reason, one.audio.detail)
            continue
        named.add(one.audio.path)
        speaker = f"{_UNKNOWN}{one.audio.id}" if no_speakers else one.about.get("speaker", "")
        session = one.about.get("session", "")
        missing = "speaker" if is_no_answer(speaker.lower()) else ""
        if group == "session" and is_no_answer(session.lower()):
            missing = missing or "session"
        if missing:
            # A common name of unknown speakers would put voices of the known ones on two sides of a split.
            said = one.about.get(missing, "")
            leave_out(one, "no_speaker", f"no {missing} in its rows" + (f", but {said!r}" if said else ""))
        else:
            about = people.get(speaker, {})
            extra = {what: one.about[what] for what in IN_EXTRA if what in one.about}
            audio = one.audio
            utterances.append(
                Utterance(
                    audio.id,
                    speaker,
                    session,
                    name,
                    one.ratings,
                    audio.path,
                    extra=extra,
                    about_speaker=about,
                    read_audio=audio.read,
                )  # fmt: skip
            )
    for file in folder.files:
        if file.path not in named:
            place = file.path.relative_to(folder.root).as_posix()
            listed.append(Listed(file.id, "audio_without_label", "no row names it", place))
    rows = rated.rows(listed_votes)
    if rows.counts["empty_cells"]:
        notes.append(f"{rows.counts['empty_cells']} cells for a label are empty; they are no votes")
    people_of = {
        "speaker": {one.speaker for one in utterances},
        "session": {one.session for one in utterances},
        "rater": {rating.rater or "" for one in utterances for rating in one.ratings},
    }
    for what, names in people_of.items():
        spellings: dict[str, list[str]] = {}
        for name_ in sorted(names):
            spellings.setdefault(" ".join(name_.split()).casefold(), []).append(name_)
        if alike := sorted(one for one in spellings.values() if len(one) > 1):
            notes.append(
                f"these names of {what}s differ in case or white space alone and count as different ones; if they are"
                f" one, write them alike: {alike[:10]}" + (f" and {len(alike) - 10} more" if len(alike) > 10 else "")
            )
    utterances.sort(key=lambda u: u.id)
    return CorpusScan(name, utterances, listed, notes, len(utterances) + len(listed), rows, rated.lost)


def _people(rated: RatedTable) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return speaker -> sex and age, and notes on what rows do not say alike or in a usable form, and is left out."""
    people: dict[str, dict[str, Any]] = {}
    notes = []
    for speaker, attributes in rated.people.items():
        for attribute, values in attributes.items():
            said = {_SEX.get(value, value) if attribute == "sex" else value: line for value, line in values.items()}
            lines = ", ".join(f"{value!r} in {in_words(line)}" for value, line in list(said.items())[:3])
            if len(said) > 1:
                notes.append(f"{attribute} of speaker {speaker!r} is not used: {lines}")
                continue
            (value,) = said
            if attribute == "age" and not re.fullmatch(r"\d{1,3}", value, re.ASCII):
                notes.append(f"age of speaker {speaker!r} is not used, for it is not in whole years: {lines}")
                continue
            people.setdefault(speaker, {})[attribute] = int(value) if attribute == "age" else value
    return people, notes


def _label_notes(rated: RatedTable, policy: LabelPolicy) -> list[str]:
    found = ", ".join(f"{label!r} {n.total()}" for label, n in sorted(rated.labels.items()))
    notes = [f"labels: {found}"]
    for label, spellings in sorted(rated.labels.items()):
        if len(spellings) > 1:
            ways = ", ".join(f"{one!r} {n}" for one, n in spellings.most_common())
            notes.append(f"{label!r} is written in several ways, which are one label: {ways}")
    unseen = [label for label in policy.class_map if label not in rated.labels]
    return notes + ([f"the class map names labels that no row has: {unseen}"] if unseen else [])


def _language(rated: RatedTable) -> str:
    """The language of all rows, if there is one and it is a code."""
    only = next(iter(rated.languages), "") if len(rated.languages) == 1 else ""
    return only if re.fullmatch(r"[A-Za-z]{2,3}(?:-\w+)*", only) else ""


def _language_notes(rated: RatedTable, module: ModuleType) -> list[str]:
    if not rated.languages or (set(rated.languages) == {module.LANGUAGE}):
        return []
    counts = ", ".join(f"{language!r} {n}" for language, n in rated.languages.most_common(10))
    said = f"the corpus' language is {module.LANGUAGE!r}" if module.LANGUAGE else "no language is recorded"
    return [f"language of the rows: {counts}; a data set has one language or none, and {said}"]
