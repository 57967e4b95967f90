"""The annotation mode without its page: which utterance comes next, and what is written when somebody votes."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from hf_ambiser.app.rated_set import RatedSet, RatedUtterance
from hf_ambiser.app.votes_file import Vote, VotesFile, rater_name
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.run_folder.layout import whole
from hf_ambiser.untrusted.names import path_of_name


# What encoded audio begins with -> the ending of its file.
_ENDINGS = {b"fLaC": ".flac", b"RIFF": ".wav", b"OggS": ".ogg"}


class Voting:
    """Listeners vote on the utterances of a data set, and the audio of what they voted on is kept beside the votes.

    So `hf-ambiser build --ratings FILE --audio FOLDER` makes a data set from the two, wherever the audio came from.

    Args:
        rated: The data set.
        path: The file of votes.

    Raises:
        ValueError: If the file cannot be used.
    """

    def __init__(self, rated: RatedSet, path: Path) -> None:
        self.rated, self.file = rated, VotesFile(path)
        self.audio = path.with_name(f"{path.stem}_audio")
        self._lock = threading.Lock()

    def next_for(self, rater: str, skipped: Collection[str] = ()) -> RatedUtterance | None:
        """Return an utterance that the rater has not voted on and not skipped; None if there is none left.

        Each rater has an order of their own, the same at every start, so that few raters still reach all utterances.

        Raises:
            ValueError: If the rater's name is none, or the file cannot be used.
        """
        name = rater_name(rater)
        done = {vote.utterance for vote in self.file.votes() if vote.rater == name}.union(skipped)
        left = (one for one in self.rated.utterances if one.id not in done)
        return min(left, key=lambda one: hashlib.blake2b(f"{name}\n{one.id}".encode()).digest(), default=None)

    def vote(self, rater: str, utterance: RatedUtterance, label: str | None) -> Vote:
        """Store a vote, after the utterance's audio.

        Raises:
            ValueError: If the rater's name or the label is none, the rater has voted on it before, the utterance's id
                cannot be the name of a file, or the file of votes cannot be used.
            OSError: If something cannot be written.
        """
        name = rater_name(rater)
        if label not in self.rated.classes:
            raise ValueError("choose what you heard first.")
        with self._lock:  # two listeners may write the same file at the same moment
            self._keep_audio(utterance)
        return self.file.add(Vote(utterance.id, name, label, utterance.speaker, utterance.session))

    def others(self, utterance: RatedUtterance, rater: str) -> dict[str, int]:
        """Class -> votes that other listeners have given to an utterance on this page."""
        name = rater_name(rater)
        counts = Counter(v.label for v in self.file.votes() if v.utterance == utterance.id and v.rater != name)
        return {label: counts[label] for label in self.rated.classes if counts[label]}

    @property
    def build_command(self) -> str:
        """The command that makes a data set from the votes."""
        several = any(mark in label for label in self.rated.classes for mark in ";|,")
        separator = " --separator none" if several else ""
        return f"hf-ambiser build --ratings {self.file.path} --audio {self.audio} --out DIR{separator}"

    def _keep_audio(self, utterance: RatedUtterance) -> None:
        content = self.rated.recording(utterance).content
        if not isinstance(content, bytes):
            raise NoAudio("unreadable", "the data set holds no audio of it")
        suffix = _ENDINGS.get(content[:4], ".mp3")
        self.audio.mkdir(exist_ok=True)
        where = f"data set {self.rated.name}"
        path = path_of_name(self.audio, utterance.id, "utterance", where, suffix=suffix, below=True)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path, shared=True) as part:
                part.write_bytes(content)
