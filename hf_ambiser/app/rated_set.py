"""The utterances of a built data set with the raters' votes, as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hf_ambiser.data.audio import decode
from hf_ambiser.data.hub_dataset import dataset_folder
from hf_ambiser.data.loading import cure_of, dataset_files, read_dataset_info
from hf_ambiser.data.parquet_files import read_columns
from hf_ambiser.data.schema import SAMPLING_RATE
from hf_ambiser.inference.dataset_source import ParquetSource
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording
from hf_ambiser.labels.votes import entropy_bits


_COLUMNS = ("id", "duration", "speaker", "session", "reference_votes", "reference_label")


@dataclass(frozen=True)
class RatedUtterance:
    """One utterance and what its raters heard.

    Args:
        id: Its name in the data set.
        place: Its number among the utterances, from 0.
        seconds: Its duration.
        speaker: Who speaks.
        session: Of which recording session; "" if the corpus has none.
        votes: Class -> votes, which are shares of votes where a rater gave several labels.
        consensus: The consensus label; None if the raters have none.
    """

    id: str
    place: int
    seconds: float
    speaker: str
    session: str
    votes: Mapping[str, float]
    consensus: str | None

    @property
    def shares(self) -> dict[str, float] | None:
        """Class -> share of the votes; None if there is no vote."""
        total = sum(self.votes.values())
        return {name: value / total for name, value in self.votes.items()} if total > 0 else None

    @property
    def ambiguity(self) -> float | None:
        """Entropy of the shares divided by log2 K, in [0, 1]; None if there is no vote."""
        shares = self.shares
        if shares is None:
            return None
        return float(entropy_bits(np.array([list(shares.values())]))[0] / np.log2(len(shares)))


@dataclass(frozen=True)
class RatedSet:
    """A built data set, each utterance once, however many configs and splits hold it.

    The votes are those of the raters (`reference_votes`), also where a split hides them from a trainer.

    Args:
        name: Of its folder.
        classes: The K classes in their order.
        utterances: In the order of the files.
    """

    name: str
    classes: tuple[str, ...]
    utterances: tuple[RatedUtterance, ...]
    _source: ParquetSource = field(repr=False)

    @classmethod
    def of(cls, dataset: Path | str) -> RatedSet:
        """Open a built data set; audio is read when it is asked for.

        Args:
            dataset: Folder of a built data set, or Hub name of one that was pushed.

        Raises:
            FileNotFoundError: If it is no built data set.
            ValueError: If it holds no utterance. As a FileError, if a file cannot be used.
        """
        info, folder = read_dataset_info(dataset), dataset_folder(dataset)
        files = sorted(dataset_files(folder, info))
        if not files:
            raise ValueError(f"{dataset} holds no utterance: its configs {sorted(info['configs'])} have no file.")
        classes = tuple(map(str, info["classes"]))
        rows = read_columns(files, _COLUMNS, cure_of(folder)).to_pylist()
        first = {row["id"]: row for row in reversed(rows)}
        source = ParquetSource(folder, [path.relative_to(folder).as_posix() for path in files], built=True)
        utterances = tuple(_utterance(place, first[name], classes) for place, name in enumerate(source.names()))
        return cls(folder.resolve().name, classes, utterances, source)

    def recording(self, utterance: RatedUtterance) -> Recording:
        """Return the audio that the data set itself holds; no path in a row is followed.

        Raises:
            NoAudio: If the row has no bytes.
        """
        (recording,) = self._source.recordings(utterance.place, utterance.place + 1)
        if isinstance(recording.content, bytes):
            return recording
        raise NoAudio("unreadable", "the data set holds no audio of it (a path is not followed)")

    def samples(self, utterance: RatedUtterance) -> tuple[int, np.ndarray]:
        """Return the sampling rate in Hz and the samples `(T,)` int16, at the loudness that the data set has.

        Raises:
            NoAudio: If the row has no bytes, or bytes that are not the audio of a built data set.
        """
        content = self.recording(utterance).content
        assert isinstance(content, bytes)
        try:
            samples = decode(content)
        except (RuntimeError, ValueError) as error:  # libsndfile's are RuntimeErrors
            raise NoAudio("unreadable", f"its audio cannot be decoded ({error})") from error
        return SAMPLING_RATE, np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _utterance(place: int, row: Mapping, classes: tuple[str, ...]) -> RatedUtterance:
    label = row["reference_label"]
    return RatedUtterance(
        id=row["id"],
        place=place,
        seconds=float(row["duration"]),
        speaker=row["speaker"] or "",
        session=row["session"] or "",
        votes=dict(zip(classes, map(float, row["reference_votes"]), strict=True)),
        consensus=classes[label] if label is not None and 0 <= label < len(classes) else None,
    )
