"""IEMOCAP: ten actors in five sessions, 10,039 utterances, each rated by three or more people (Busso et al. 2008).

The parser treats irregular entries in two ways:

- It lists, and does not keep as an utterance: a block without a readable header, or with ratings that show that a
  header below it is lost (`malformed_line`), an id that is not in the release's form or lies in another session's
  folder (`malformed_id`), a second block of the same id (`duplicate_label`), a label without audio, an audio file
  without a label, a label file with zero bytes.
- It keeps the utterance and adds a note for: a rating line that cannot be read, an unknown label (it is no vote, but
  the rater's other labels are), a rater's second line, an unknown majority code, bytes that are not UTF-8, missing
  attribute values.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_ambiser.data.corpora.iemocap import release
from hf_ambiser.data.corpora.iemocap.blocks import (
    RELEASE_CODES,
    UTTERANCE_ID,
    Block,
    lost_before_the_first,
    read_blocks,
    read_transcription,
)
from hf_ambiser.data.corpora.iemocap.published_counts import compare, labels_published
from hf_ambiser.data.corpora.iemocap.published_sizes import published
from hf_ambiser.data.lost_votes import LostVotes
from hf_ambiser.data.schema import CorpusScan, Listed, Utterance


__all__ = [
    "CITATION",
    "FILES_READ",
    "GROUP",
    "HOMEPAGE",
    "LANGUAGE",
    "LICENSE",
    "LICENSE_ID",
    "NAME",
    "NOT_VERIFIED",
    "POLICY",
    "RATERS",
    "REDISTRIBUTABLE",
    "SPEECH",
    "STYLE",
    "TERMS",
    "compare",
    "labels_published",
    "published",
    "scan",
]

NAME = "iemocap"
POLICY = "iemocap-4"
# The two speakers of a session speak in the same dialogues, so a split by speaker would share words and room.
GROUP = "session"
HOMEPAGE = "https://sail.usc.edu/iemocap/"
LICENSE_ID = "other"
LICENSE = (
    "IEMOCAP is a licensed corpus: the University of Southern California (SAIL) gives it to those who sign its release"
    " form, and redistribution is forbidden, of audio, transcripts and ratings alike. A data set built from it must"
    " stay private to the licensee; never push it to a public repository."
)
TERMS = (
    "Whoever did not sign the release form may not have the recordings, transcripts or ratings, nor anything they can"
    " be restored from; ask SAIL before a model trained on them is used commercially."
)
REDISTRIBUTABLE = False
SPEECH = (
    "acted English: ten actors (five women, five men) in five pairs, in scripted and improvised dialogues in a studio;"
    " three or more raters heard and saw each turn in its dialogue"
)
STYLE = "acted"
LANGUAGE = "en"
CITATION = """@article{busso2008iemocap,
  title   = {{IEMOCAP}: Interactive emotional dyadic motion capture database},
  author  = {Busso, Carlos and Bulut, Murtaza and Lee, Chi-Chun and Kazemzadeh, Abe and Mower, Emily and Kim, Samuel
             and Chang, Jeannette N. and Lee, Sungbok and Narayanan, Shrikanth S.},
  journal = {Language Resources and Evaluation},
  volume  = {42},
  number  = {4},
  pages   = {335--359},
  year    = {2008}
}"""
FILES_READ = (
    "`Session<n>/dialog/EmoEvaluation/*.txt`, `Session<n>/sentences/wav/` and, if there are some,"
    " `Session<n>/dialog/transcriptions/`"
)
RATERS = "named `E<n>`; three or more an utterance, each with one label or several; the actors' own ratings apart"
NOT_VERIFIED = (
    "nothing of the form; the release itself was not at hand, so its published counts were compared on a made copy"
)
# The scripted dialogues: each script is played in every session.
_SCRIPT = re.compile(r"script\d+(?:_\d)?")


def scan(root: Path | str, *, require_audio: bool = True) -> CorpusScan:
    """Read a release folder.

    Args:
        root: The folder that holds `Session1` ... `Session5`; some of them may be missing.
        require_audio: Whether an utterance without its wav file is listed instead of kept. With False, labels can be
            read without audio; `audio_path` is then None if there is no file.

    Returns:
        Utterances in the order of session, file and line. Their `extra` holds `release_label` (the release's majority
        code), `dialog`, `dialog_type` ("impro" or "script"), `start` and `end` (s, in the dialogue's recording),
        `valence`, `activation`, `dominance` (the header's means), `attributes` (rater -> these three, None if missing)
        and, if the release has one, `transcript`.

    Raises:
        FileNotFoundError, NotADirectoryError: If `root` is not a release folder; the message says what to pass.
    """
    root = Path(root)
    state = _Scan(root, require_audio)
    for session in release.find_sessions(root):
        state.read_session(session)
    return state.finish()


@dataclass
class _Scan:
    root: Path
    require_audio: bool
    utterances: list[Utterance] = field(default_factory=list)
    listed: list[Listed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labelled: set[str] = field(default_factory=set)
    accounted: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    lost: LostVotes = field(default_factory=LostVotes)

    def read_session(self, session: Path) -> None:
        files = release.label_files(session)
        audio = release.audio_files(session)
        words = self._transcripts(session)
        # Ids whose wav file is already counted, because it is labelled or listed. They are kept per session, because a
        # wav file may be in the folder of another session.
        self.accounted = set()
        for what, empty in ((release.LABELS, not files), (release.AUDIO, not audio)):
            if empty:
                self.notes.append(f"{session.name}: nothing in {what.as_posix()}.")
        for path in files:
            text, replaced = release.read(path)
            where = path.relative_to(self.root).as_posix()
            if "\0" in text:
                self._list(
                    path.stem, "malformed_line", "holds zero bytes: binary, or UTF-16, and no label file", where
                )
                continue
            if replaced:
                self.notes.append(f"{where}: {replaced} byte(s) are not UTF-8 and were replaced.")
            blocks, preamble = read_blocks(text)
            if preamble:
                self.notes.append(
                    f"{where}: {len(preamble)} line(s) before the first header skipped, the first is"
                    f" {preamble[0]!r:.100}."
                )
                self.lost.update(lost_before_the_first(preamble))
            if not blocks:
                self.notes.append(f"{where}: holds no utterance.")
            for block in blocks:
                self._add(block, session, where, path.stem, audio, words)
        for path in audio.values():
            if path.stem not in self.accounted or path.parent.name != path.stem.rpartition("_")[0]:
                self._list(path.stem, "audio_without_label", "", path.relative_to(self.root).as_posix())

    def _add(
        self, block: Block, session: Path, where: str, dialog: str, audio: dict[str, Path], words: dict[str, str]
    ) -> None:
        source = f"{where}:{block.line}"
        header = block.header

        def leave_out(name: str, reason: str, detail: str) -> None:
            self._list(name, reason, detail, source)
            self.lost.add_ratings(reason, (rating.labels for rating in block.ratings))

        self.lost.update(block.lost)
        if header is None:
            named = re.search(rf"\b{UTTERANCE_ID.pattern}\b", block.first, re.ASCII)
            detail = f"not a header: {block.first!r:.200}; {block.n_below} line(s) below it were not read"
            leave_out(named.group() if named else f"{dialog}:{block.line}", "malformed_line", detail)
            return
        match = UTTERANCE_ID.fullmatch(header.id)
        if match is None or f"Session{match['session']}" != session.name:
            form = "Ses0<n>[MF]_(impro|script)0<n>..._[MF]<nnn>" if match is None else f"an id of {session.name}"
            leave_out(header.id, "malformed_id", f"{header.id!r:.100} is not {form}")
            return
        if header.id in self.labelled:
            leave_out(header.id, "duplicate_label", f"the first block is kept; this one says {header.code:.50}")
            return
        self.labelled.add(header.id)
        if strange := block.strange(match["speaker"]):
            detail = f"{strange}: a header below it is lost, and nobody can tell whose the votes are"
            leave_out(header.id, "malformed_line", detail)
            return
        path = audio.get(f"{match['dialog']}/{header.id}")
        if path is None and self.require_audio:
            wanted = session.name / release.AUDIO / match["dialog"] / f"{header.id}.wav"
            leave_out(header.id, "label_without_audio", f"there is no {wanted.as_posix()}")
            return
        self.accounted.add(header.id)
        self.notes += [f"{where}:{line}: {header.id}: {problem}." for line, problem in block.problems]
        if header.code not in RELEASE_CODES:
            allowed = " ".join(RELEASE_CODES)
            self.notes.append(f"{source}: {header.id}: majority code {header.code!r:.50} is not one of {allowed}.")
        if match["dialog"] != dialog:
            self.notes.append(f"{source}: {header.id}: stands in the file of another dialogue.")
        self.counts["no value"] += sum(None in values.values() for values in block.attributes.values())
        extra: dict[str, Any] = {
            "release_label": header.code,
            "dialogue": match["dialog"],
            "dialog_type": match["type"],
            **({"script": script.group()} if (script := _SCRIPT.search(match["dialog"])) else {}),
            "start": header.start,
            "end": header.end,
            "valence": header.valence,
            "activation": header.activation,
            "dominance": header.dominance,
            "attributes": block.attributes,
        }
        if header.id in words:
            extra["transcript"] = words[header.id]
        self.counts["no transcript"] += header.id not in words
        self.counts["no rating"] += not block.ratings
        name = f"Ses0{match['session']}"
        self.utterances.append(
            Utterance(
                id=header.id,
                speaker=name + match["speaker"],
                session=name,
                corpus=NAME,
                ratings=block.ratings,
                audio_path=path,
                extra=extra,
                about_speaker={"sex": {"F": "female", "M": "male"}[match["speaker"]]},
            )
        )

    def _list(self, name: str, reason: str, detail: str, source: str) -> None:
        self.accounted.add(name)
        self.listed.append(Listed(name, reason, detail, source))

    def _transcripts(self, session: Path) -> dict[str, str]:
        words: dict[str, str] = {}
        folder = session / release.TRANSCRIPTS
        for path in sorted(folder.glob("*.txt")) if folder.is_dir() else []:
            if not path.name.startswith("."):
                for turn, text in read_transcription(release.read(path)[0]):
                    words.setdefault(turn, text)
        return words

    def finish(self) -> CorpusScan:
        for key, said in (
            ("no value", "attribute rating(s) lack a value; it is kept as None"),
            ("no transcript", "utterance(s) have no transcript"),
            ("no rating", "utterance(s) have no categorical rating"),
        ):
            if self.counts[key]:
                self.notes.append(f"{self.counts[key]} {said}.")
        count_in = len(self.utterances) + len(self.listed)
        return CorpusScan(NAME, self.utterances, self.listed, self.notes, count_in, lost=self.lost)
