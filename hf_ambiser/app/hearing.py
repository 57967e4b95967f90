"""What the page's models hear in a recording: the answers side by side, and the outline of the waveform."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ambiser.app.filters import disagreement
from hf_ambiser.app.rated_set import RatedSet, RatedUtterance
from hf_ambiser.inference.answers import Answer
from hf_ambiser.inference.model_door import OpenedModel, open_model
from hf_ambiser.inference.no_audio import STATUSES, NoAudio
from hf_ambiser.inference.predict import predict
from hf_ambiser.inference.recordings import Recording


LONGEST = 600.0  # seconds that a page takes, unless the user says another number
_FRAME = 0.01  # seconds of the outline
_AT_ONCE = 32  # utterances of a data set that are decoded and heard together


@dataclass(frozen=True)
class Heard:
    """A recording and the models' answers.

    Args:
        name: Of the recording.
        seconds: Its duration.
        outline: `(F, 2)`, least and greatest sample of each 10 ms, as float32.
        answers: Name of the model -> its answer.
    """

    name: str
    seconds: float
    outline: np.ndarray
    answers: dict[str, Answer]


class Models:
    """The models of a page. They answer one after the other, whoever asks.

    Args:
        models: Folders, run folders or Hub names; none: the model that the repository ships.
        device: As for `open_model`.
        longest: Seconds; longer recordings are refused.

    Raises:
        ValueError: If a model cannot be opened or is named twice, or `longest` is not above 0.
    """

    def __init__(self, models: Sequence[str | Path] = (), device: str = "auto", longest: float = LONGEST) -> None:
        if not 0 < longest < float("inf"):
            raise ValueError(f"longest is {longest:g} s; allowed: more than 0, in seconds.")
        opened = [open_model(model, device) for model in (models or (None,))]
        names = short_names([model.name for model in opened])
        if len(set(names)) < len(names):
            raise ValueError(f"the models are {names}, and one of them stands there twice; name each once.")
        self.opened: dict[str, OpenedModel] = dict(zip(names, opened, strict=True))
        self.longest = longest
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Answer] = {}

    def hear(self, recording: Recording) -> Heard:
        """Answer with every model.

        Raises:
            NoAudio: If it cannot be read, is too long, or holds nothing that a model could answer.
        """
        rate = max(model.rate for model in self.opened.values())
        outline, samples = _outline(recording, rate, self.longest)
        with self._lock:
            answers = {name: predict(recording, model, progress=False)[0] for name, model in self.opened.items()}
        if not any(answer.has_answer for answer in answers.values()):
            first = next(iter(answers.values()))
            raise NoAudio(first.status, f"{STATUSES[first.status]} ({first.reason})")
        return Heard(recording.name, samples / rate, outline, answers)

    def of_utterance(self, rated: RatedSet, utterance: RatedUtterance) -> dict[str, Answer]:
        """Return the answers for an utterance of a data set; they are remembered.

        Raises:
            NoAudio: If the data set does not hold its audio.
        """
        for name in self.opened:
            if (name, utterance.id) not in self._known:
                self._remember(name, [utterance], [rated.recording(utterance)])
        return {name: self._known[name, utterance.id] for name in self.opened}

    def hear_all(self, rated: RatedSet, model: str, tell: Callable[[int, int], object] = lambda done, n: None) -> None:
        """Let a model hear every utterance of a data set that it has not heard.

        Args:
            rated: The data set.
            model: Name of the model.
            tell: It is called with how many utterances are done and how many there are.
        """
        left = [one for one in rated.utterances if (model, one.id) not in self._known]
        for start in range(0, len(left), _AT_ONCE):
            part = left[start : start + _AT_ONCE]
            self._remember(model, part, [_recording(rated, one) for one in part])
            tell(min(start + _AT_ONCE, len(left)), len(left))

    def have_heard_all(self, rated: RatedSet, model: str) -> bool:
        """Whether a model has heard every utterance of a data set."""
        return all((model, one.id) in self._known for one in rated.utterances)

    def disagreements(self, rated: RatedSet, model: str) -> dict[str, float]:
        """Utterance -> disagreement of a model with the votes, of those that it has heard and that can be compared."""
        known = ((one, self._known.get((model, one.id))) for one in rated.utterances)
        values = {one.id: disagreement(one.shares, answer.probabilities if answer else None) for one, answer in known}
        return {name: value for name, value in values.items() if value is not None}

    def _remember(self, model: str, utterances: list[RatedUtterance], recordings: list[Recording]) -> None:
        with self._lock:
            answers = predict(recordings, self.opened[model], progress=False)
        self._known.update({(model, one.id): answer for one, answer in zip(utterances, answers, strict=True)})


def short_names(names: Sequence[str]) -> list[str]:
    """Return the last part of each path that tells it from the others; Hub names stay as they are."""
    parts = [Path(name).parts if Path(name).exists() else (name,) for name in names]
    for n in range(1, max(map(len, parts)) + 1):
        short = ["/".join(one[-n:]) for one in parts]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)


def _recording(rated: RatedSet, utterance: RatedUtterance) -> Recording:
    """An utterance without audio is answered by a reason, and does not end the job."""
    try:
        return rated.recording(utterance)
    except NoAudio as problem:
        return Recording(utterance.id, problem)


def _outline(recording: Recording, rate: int, longest: float) -> tuple[np.ndarray, int]:
    """Return the outline of a recording and the number of its samples; reading ends where it is too long."""
    size, most = round(_FRAME * rate), longest * rate
    received, left, frames = 0, np.zeros(0, np.float32), []
    for block in recording.blocks(rate):
        received += len(block)
        if received > most:
            raise NoAudio(
                "refused",
                f"it is longer than {longest:g} s, and this page takes no more. Cut it, answer for it with `hf-ambiser"
                " predict`, or start the page with a greater --longest",
            )
        samples = np.concatenate([left, block])
        n = len(samples) // size
        whole, left = samples[: n * size].reshape(n, size), samples[n * size :]
        frames.append(np.stack([whole.min(axis=1), whole.max(axis=1)], axis=1))
    if len(left):
        frames.append(np.array([[left.min(), left.max()]], dtype=np.float32))
    return np.concatenate(frames) if frames else np.zeros((0, 2), np.float32), received
