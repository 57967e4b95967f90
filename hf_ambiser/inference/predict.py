"""From recordings to answers, in batches, whatever kind and length the recordings have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hf_ambiser.inference.answers import Answer, Distribution
from hf_ambiser.inference.decision import Decision
from hf_ambiser.inference.inputs import recordings_of
from hf_ambiser.inference.model_door import OpenedModel, open_model
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.parts import Part, answer_parts
from hf_ambiser.inference.recordings import Recording
from hf_ambiser.inference.windows import Window, WindowCutter, WindowSizes


# Batches whose windows are held together, so that those of similar length can be put beside each other.
_BATCHES_HELD = 4


def predict(
    inputs: Any,
    model: str | Path | OpenedModel | Sequence[str | Path] | None = None,
    *,
    sampling_rate: int | None = None,
    window: float | None = None,
    hop: float | None = None,
    threshold: float | None = None,
    balance: float | None = None,
    batch_size: int = 16,
    progress: bool = True,
    embeddings: bool = False,
) -> list[Answer]:
    """Say what people would hear in recordings: a distribution over emotions for each, and a timeline of long ones.

    Recordings may have any sampling rate, any number of channels and any length; they are read in blocks. What cannot
    be answered is an answer with a `status` and a `reason`, and does not end the job.

    Args:
        inputs: A path; a folder, which is searched; encoded bytes; a binary file object; an array of floats in [-1, 1]
            or PCM integers, `(T,)`, `(T, channels)` or, of one or two channels, `(channels, T)`;
            `{"array": ..., "sampling_rate": ...}`; or a list of any of these, or of `Recording`s. A stack of N
            utterances `(N, T)` is not such a list: give `list(stack)`.
        model: Folder of a model, of a finished run or of an exported model, Hub name, a list of these, whose
            distributions are averaged, or what `open_model` has returned. None: the model that the repository ships.
        sampling_rate: Of arrays, in Hz.
        window: Length of a window in seconds; longer recordings are divided into overlapping windows. None:
            `segment_seconds` of a model that has learnt from segments, else 6 s.
        hop: Seconds from a window to the next one; None: half a window.
        threshold: Least probability of the class that is answered, below which the model abstains. None: the one that
            is stored in the model's configuration, if there is one.
        balance: Tau of a balanced decision, which answers rare classes more often; 0: the leading class is answered.
            None: the one that is stored in the model's configuration, if there is one. The model must store the shares
            of its classes, as the one that the repository ships does.
        batch_size: Windows that are answered together. It changes no answer.
        progress: Whether a progress bar is shown on standard error.
        embeddings: Whether answers have the `embedding` of a model of hf_ambiser.

    Returns:
        One answer for each recording, in the order of the inputs; recordings of a folder in the order of their names.

    Raises:
        ValueError: If an argument is out of range, an input is of another type, or there is no such model.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; allowed: a whole number of at least 1.")
    recordings = recordings_of(inputs, sampling_rate)
    opened = model if isinstance(model, OpenedModel) else open_model(model)
    if embeddings and len(opened.names) > 1:
        raise ValueError(f"model {opened.name} is several models and says no embedding; leave embeddings out.")
    decision = opened.decision(threshold, balance)
    sizes = opened.window_sizes(window, hop)
    heard = [_Heard(recording) for recording in recordings]
    held: list[Part] = []
    before = 0  # samples of the recordings before this one
    with tqdm(total=len(heard), unit="recording", disable=not progress, dynamic_ncols=True) as bar:
        for one in heard:
            for part in one.parts_of(sizes, opened.rate):
                held.append(part)
                if len(held) == batch_size * _BATCHES_HELD:
                    answer_parts(held, opened, decision, batch_size, embeddings)
                    held = []
                    bar.set_postfix_str(f"{(before + one.received) / opened.rate / 60:.1f} min of audio")
            before += one.received
            bar.update()
        answer_parts(held, opened, decision, batch_size, embeddings)
    return [one.answer(opened, decision) for one in heard]


class _Heard:
    """What has been heard of a recording so far."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.received = 0  # samples
        self._parts: list[Part] = []
        self._problem: NoAudio | None = None

    def parts_of(self, sizes: WindowSizes, rate: int) -> Iterator[Part]:
        """Read the recording, and yield its windows; a problem ends it and is kept."""
        cutter = WindowCutter(sizes)
        try:
            for block in self.recording.blocks(rate):
                yield from self._kept(cutter.feed(block), rate)
                self.received = cutter.received
            yield from self._kept(cutter.finish(), rate)
        except NoAudio as problem:
            self._problem, self._parts = problem, []

    def _kept(self, windows: list[Window], rate: int) -> Iterator[Part]:
        for window in windows:
            part = Part.of(window, rate)
            self._parts.append(part)
            yield part

    def answer(self, opened: OpenedModel, decision: Decision) -> Answer:
        """Return the answer for the whole recording; the model has answered for its windows."""
        name = self.recording.name
        if self._problem is not None:
            return Answer(name, self._problem.status, self._problem.reason, None, None, ())
        if not self._parts:
            return Answer(name, "unreadable", "it holds no sample", 0.0, None, ())
        loudest = max(part.level for part in self._parts)
        windows = tuple(part.answer(loudest, opened, decision) for part in self._parts)
        spoken = [part for part, window in zip(self._parts, windows, strict=True) if window.distribution is not None]
        duration = self.received / opened.rate
        if not spoken:
            reasons = {window.status: window.reason for window in windows}
            status = next(status for status in ("refused", "silent", "too short") if status in reasons)
            return Answer(name, status, reasons[status], duration, None, windows)
        probabilities = _mean([part.probabilities for part in spoken], spoken)
        assert probabilities is not None
        similarities = _mean([part.similarities for part in spoken], spoken)
        whole = Distribution.of(probabilities, similarities, opened.classes, decision)
        embedding = _mean([part.embedding for part in spoken], spoken)
        return Answer(name, whole.status, "", duration, whole, windows, embedding)


def _mean(values: list[np.ndarray | None], parts: list[Part]) -> np.ndarray | None:
    """Return the mean of values `(K,)` of windows, each weighted with its duration; None if they have none."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    lengths = np.array([part.length for part in parts], dtype=np.float64)
    return lengths / lengths.sum() @ np.stack(there)
