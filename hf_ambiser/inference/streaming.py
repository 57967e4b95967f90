"""Answers while somebody is still speaking: chunks of any size in, an answer every hop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_ambiser.inference.answers import WindowAnswer
from hf_ambiser.inference.model_door import OpenedModel, open_model
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.parts import Part, answer_parts
from hf_ambiser.inference.resampling import Resampler
from hf_ambiser.inference.samples import MOST_CHANNELS, as_mono
from hf_ambiser.inference.windows import Window, WindowCutter


class StreamingClassifier:
    """Answers for the windows of audio that comes in chunks, as `predict` answers for those of a recording.

    The answer for a window is that of `predict` on the same window. Only the gate for speech differs, because what is
    still to come is not known: a window is compared with the loudest one *so far*.

    Args:
        model: As for `predict`.
        window: Length of a window in seconds, as for `predict`.
        hop: Seconds from one answer to the next; None: half a window.
        sampling_rate: Of the chunks, in Hz; None: that of the model, 16,000.
        threshold: As for `predict`.
        balance: As for `predict`.

    Raises:
        ValueError: If an argument is out of range, or there is no such model.

    Example:
        >>> import numpy as np
        >>> stream = StreamingClassifier(window=2.0, hop=0.5)
        >>> heard = stream.feed(np.zeros(16000, dtype=np.float32)) + stream.finish()
        >>> print(heard[0].status)
        silent
    """

    def __init__(
        self,
        model: str | Path | OpenedModel | Sequence[str | Path] | None = None,
        window: float | None = None,
        hop: float | None = None,
        *,
        sampling_rate: int | None = None,
        threshold: float | None = None,
        balance: float | None = None,
    ) -> None:
        self._opened = model if isinstance(model, OpenedModel) else open_model(model)
        self._decision = self._opened.decision(threshold, balance)
        rate = self._opened.rate
        self._cutter = WindowCutter(self._opened.window_sizes(window, hop))
        self._resampler = Resampler(rate if sampling_rate is None else sampling_rate, rate)
        self._loudest = -np.inf
        self._finished = False

    def feed(self, chunk: np.ndarray) -> list[WindowAnswer]:
        """Take the next samples, and return the answers for the windows that are whole now; mostly none or one.

        Args:
            chunk: `(T,)` or `(T, channels)`, floats in [-1, 1] or PCM integers; T may be anything, also 0.

        Raises:
            ValueError: If its samples cannot be those of a recording (NaN, another type), or `finish` was called.
        """
        if self._finished:
            raise ValueError("the stream is finished; make a new StreamingClassifier for the next one.")
        chunk = np.asarray(chunk)
        if chunk.ndim not in (1, 2) or (chunk.ndim == 2 and chunk.shape[1] == 0):
            raise ValueError(f"a chunk has shape {chunk.shape}; allowed: (samples,) or (samples, channels).")
        if chunk.ndim == 2 and chunk.shape[1] > max(MOST_CHANNELS, chunk.shape[0]):
            raise ValueError(f"a chunk has shape {chunk.shape}; channels come last. Transpose it.")
        try:
            mono = as_mono(chunk)
        except NoAudio as problem:
            raise ValueError(f"a chunk cannot be used: {problem.reason}.") from None
        return self._answers(self._cutter.feed(self._resampler.feed(mono)))

    def finish(self) -> list[WindowAnswer]:
        """End the stream, and return the answer for the samples that no window has had yet, if there are any."""
        if self._finished:
            raise ValueError("the stream is finished already; make a new StreamingClassifier for the next one.")
        self._finished = True
        whole = self._cutter.feed(self._resampler.finish())
        return self._answers([*whole, *self._cutter.finish()])

    def _answers(self, windows: list[Window]) -> list[WindowAnswer]:
        found = []
        for window in windows:
            part = Part.of(window, self._opened.rate)
            self._loudest = max(self._loudest, part.level)
            answer_parts([part], self._opened, self._decision, 1)
            found.append(part.answer(self._loudest, self._opened, self._decision))
        return found
