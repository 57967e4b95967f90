"""Find which column of a table is what: by usual names, or as the user says. What was found is always said back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hf_ambiser.files.tables import composed
from hf_ambiser.labels.policies import KNOWN_LABELS


# What a column may be -> names by which it is found, in lower case with `_` for everything else between words. The
# second tuple counts only where no name of the first is there.
USUAL_NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "utterance": (
        (
            "utterance", "utterance_id", "utt", "utt_id", "clip", "clip_id", "clip_name", "file", "file_id",
            "file_name", "filename", "fname", "file_path", "path", "audio", "audio_file", "audio_path", "wav",
            "wav_file", "stimulus", "stimulus_id", "recording", "segment", "segment_id",
        ),
        ("id", "name", "item", "item_id"),
    ),
    "label": (
        (
            "label", "labels", "emotion", "emotions", "emo", "class", "category", "vote", "response", "answer",
            "annotation", "perceived_emotion",
        ),
        ("rating", "choice", "value"),
    ),
    "rater": (
        (
            "rater", "rater_id", "annotator", "annotator_id", "worker", "worker_id", "workerid", "coder", "coder_id",
            "evaluator", "evaluator_id", "listener", "listener_id", "judge", "labeler", "labeller",
        ),
        ("participant", "participant_id", "user", "user_id"),
    ),
    "speaker": (("speaker", "speaker_id", "spk", "spk_id", "actor", "actor_id", "talker", "talker_id"), ()),
    # Without a column of sessions, the dialogues are the sessions, too.
    "session": (
        ("session", "session_id"),
        ("dialogue", "dialogue_id", "dialog", "dialog_id", "conversation"),
    ),
    "dialogue": (("dialogue", "dialogue_id", "dialog", "dialog_id", "conversation"), ()),
    "sentence": (("sentence", "sentence_id", "prompt", "prompt_id"), ("text", "transcript", "transcription")),
    "language": (("language", "lang"), ()),
    "sex": (("sex", "gender", "speaker_sex", "speaker_gender"), ()),
    "age": (("age", "speaker_age"), ()),
    # A part of a recording, in seconds. Tables may have such columns for other ends, so they are never found by name.
    "start": ((), ()),
    "end": ((), ()),
}  # fmt: skip
# Votes have no weight anywhere in the package, so a column of degrees cannot count.
_INTENSITY = "intensity"
_RATER_NAME = re.compile(r"(?:rater|annotator|worker|coder|evaluator|listener|judge)_?(?:\d+|[a-z])")
# Words by which a column of counts is found; `votes_anger` and `n_anger` count, too.
EMOTION_WORDS = frozenset(
    """
    anger angry ang contempt calm boredom bored disgust disgusted dis excitement excited exc fear fearful afraid fea
    frustration frustrated fru happiness happy hap joy amusement neutral neu other oth sadness sad surprise surprised
    sur anxiety anxious tenderness pride relief shame
    """.split()
)
# With a word for a count, every label of the corpora that we know is one, too. Without it, "depressed" and "confused"
# may be what somebody is.
_COUNTED_WORDS = EMOTION_WORDS | KNOWN_LABELS
_COUNT_AFFIX = re.compile(r"^(?:n|num|count|counts|votes?)_|_(?:n|count|counts|votes?)$")


@dataclass(frozen=True)
class Columns:
    """Which column is what.

    Args:
        roles: Role (`utterance`, `label`, `rater`, `speaker` ...) -> name of its column.
        class_columns: The columns named for a label: counts in a wide table; with a column of raters, the marks (0 or
            1) of one rating.
        rater_columns: Wide table: the columns of labels, each named for a rater.
        unused: The columns that nothing reads.
    """

    roles: Mapping[str, str]
    class_columns: tuple[str, ...] = ()
    rater_columns: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def wide(self) -> bool:
        """Whether a row is an utterance, and not a rating."""
        return bool(self.rater_columns or (self.class_columns and "rater" not in self.roles))

    def said(self) -> str:
        """Say in one line which column is what."""
        parts = [f"{role} = {name!r}" for role, name in self.roles.items()]
        of_class = "counts of a class" if self.wide else "marks of a class"
        for what, names in ((of_class, self.class_columns), ("labels of a rater", self.rater_columns)):
            if names:
                shown = ", ".join(map(repr, names[:8])) + (f" ... ({len(names)})" if len(names) > 8 else "")
                parts.append(f"{what}: {shown}")
        unused = f"; not used: {', '.join(map(repr, self.unused[:20]))}" if self.unused else ""
        return f"columns ({'wide' if self.wide else 'long'}): {', '.join(parts)}{unused}"


def find_columns(
    names: Sequence[str],
    asked: Mapping[str, str] | None = None,
    class_columns: Sequence[str] = (),
    rater_columns: Sequence[str] = (),
) -> Columns:
    """Find the columns of a table.

    Args:
        names: The table's columns.
        asked: Role -> name of its column, as the user says.
        class_columns: Columns of counts, as the user says.
        rater_columns: Columns of raters, as the user says.

    Raises:
        ValueError: If there is no such role or column, if two columns may be the same thing, if a column would be two
            things, if there is no column of utterances or of labels, or if labels may be in one column or in several.
            The message says what to give.
    """
    asked = dict(asked or {})
    _check_asked(names, asked, class_columns, rater_columns)
    taken = {*asked.values(), *class_columns, *rater_columns}
    classes, raters = list(class_columns), list(rater_columns)
    likely = {
        role: next((hits for words in usual if (hits := _named(names, words, taken))), [])
        for role, usual in USUAL_NAMES.items()
        if role not in asked and not (role in ("label", "rater") and (classes or raters))
    }
    rest = [name for name in names if name not in taken]
    of_raters = [name for name in rest if is_rater_name(name)]
    of_classes = [name for name in rest if _class_of(name)]
    if labels := likely.get("label"):
        # Where each row is one rater's, its label sums up no rater, and columns of classes are its intensities.
        refuse_summary(labels, of_raters, [] if "rater" in asked or likely["rater"] else of_classes)
    roles = dict(asked)
    for role, found in likely.items():
        if len(found) > 1:
            raise ValueError(
                f"columns {found} may each be the {role}. Say which one is: --columns {role}={as_word(found[0])}"
            )
        if found:
            roles[role] = found[0]
    roles = {role: roles[role] for role in USUAL_NAMES if role in roles}
    if ("start" in roles) != ("end" in roles):
        raise ValueError(
            f"--columns names the {'start' if 'start' in roles else 'end'} of a part of a recording alone. Name both,"
            " start=NAME end=NAME (in seconds), or none."
        )
    if "utterance" not in roles:
        raise ValueError(
            f"no column is named as the utterance's; there are {shown(names)}. Say which one names the audio file:"
            " --columns utterance=NAME"
        )
    if "label" not in roles and not (classes or raters):
        raters, classes = of_raters, of_classes if not of_raters else []
        if len(raters) < 2 and len(classes) < 2:
            raise ValueError(
                f"no column is named as the raters' label; there are {shown(names)}. Say where the labels are:"
                " --columns label=NAME (one rating a row), --rater-columns NAME ... (one rater a column) or"
                " --class-columns NAME ... (counts, one class a column)"
            )
    if raters and "rater" in roles:
        if "rater" in asked:
            raise ValueError(
                f"--columns rater={asked['rater']} belongs to a table of one rating a row, and in this one"
                f" {raters[:5]} are the votes. Leave one of the two out."
            )
        del roles["rater"]
    used = {*roles.values(), *classes, *raters}
    return Columns(roles, tuple(classes), tuple(raters), tuple(name for name in names if name not in used))


def refuse_summary(labels: Sequence[str], of_raters: Sequence[str], of_classes: Sequence[str]) -> None:
    """Refuse columns of labels beside several that may hold the votes: each may be their summary.

    Raises:
        ValueError: If there are several of raters or of classes. The message says what to give.
    """
    given = {"--rater-columns": of_raters, "--class-columns": of_classes}
    if several := {option: names for option, names in given.items() if len(names) > 1}:
        options = [f"{option} {' '.join(map(as_word, names))}" for option, names in several.items()]
        options += [f"--columns label={as_word(label)}" for label in labels]
        one = f"column {labels[0]!r}" if len(labels) == 1 else f"columns {shown(labels)}"
        raise ValueError(
            f"{one} may hold the raters' labels, and so may {shown(next(iter(several.values())))}. A column that only"
            " sums the others up hides how far the raters disagree. Say which are the labels, with every column of"
            f" their kind: {' or '.join(options)}"
        )


def bare_name(name: str) -> str:
    """Take the word for a count off a column's name: `votes_anger` -> `anger`."""
    return _COUNT_AFFIX.sub("", key_of(name))


def label_of_column(name: str) -> str:
    """The label that a column of counts is named for: `votes_anger` -> `anger`."""
    return _class_of(name) or composed(name)


def _class_of(name: str) -> str:
    """The word by which a column is found to count a class; "" if there is none."""
    bare = bare_name(name)
    return bare if bare in (EMOTION_WORDS if bare == key_of(name) else _COUNTED_WORDS) else ""


def is_usual(name: str, role: str) -> bool:
    """Whether a column of that name is found to be this, if no other is."""
    return key_of(name) in USUAL_NAMES[role][0]


def is_rater_name(name: str) -> bool:
    """Whether a column is named as a rater's: `rater_1`, `annotator B`."""
    return _RATER_NAME.fullmatch(key_of(name)) is not None


def _check_asked(
    names: Sequence[str], asked: Mapping[str, str], class_columns: Sequence[str], rater_columns: Sequence[str]
) -> None:
    if _INTENSITY in asked:
        raise ValueError(
            f"--columns {_INTENSITY}={asked[_INTENSITY]}: every vote counts the same, and no method reads how strong a"
            " rating is, so the column would be lost. Leave it out; the column is then listed as not used."
        )
    if unknown := sorted(set(asked) - set(USUAL_NAMES)):
        raise ValueError(f"--columns {unknown[0]}=...: a column may be one of {list(USUAL_NAMES)}.")
    if class_columns and rater_columns:
        raise ValueError(
            "--class-columns and --rater-columns came together; a table has counts of classes or labels of raters."
            " Give one of them."
        )
    if (class_columns or rater_columns) and "label" in asked:
        raise ValueError(
            f"--columns label={asked['label']} came with columns of classes or raters; a table has its labels in one"
            " column or in several. Leave one of the two out."
        )
    given = [*asked.values(), *class_columns, *rater_columns]
    if missing := [name for name in given if name not in names]:
        raise ValueError(f"the table has no column {missing[0]!r}; its columns are {shown(names)}.")
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ValueError(f"column {twice[0]!r} was named for two things; name it once.")


def _named(names: Sequence[str], usual: Sequence[str], taken: set[str]) -> list[str]:
    return [name for name in names if name not in taken and key_of(name) in usual]


def key_of(name: str) -> str:
    """Write a name in lower case with `_` for everything else between words, so that spellings of it are equal."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def shown(names: Sequence[str]) -> str:
    """Name columns in one line that a reader can take in; a file that is no table may have any."""
    shown = [name if len(name) <= 40 else f"{name[:40]}..." for name in names[:20]]
    return f"{shown}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def as_word(name: str) -> str:
    """Write a name as one word of the command line."""
    return shlex.quote(name)
