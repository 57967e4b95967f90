"""A model that is ready to answer, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from hf_ambiser.inference.decision import Decision
from hf_ambiser.inference.windows import WindowSizes


class Outputs(NamedTuple):
    """What a model says about N waveforms.

    Args:
        probabilities: `(N, K)` float64, the softmax of logits / temperature.
        similarities: `(N, K)` float64, cosines to the class prototypes; None if the model has none.
        embeddings: `(N, D)` float64, what the model's last layer classifies; None if the model does not say it.
    """

    probabilities: np.ndarray
    similarities: np.ndarray | None
    embeddings: np.ndarray | None


@dataclass(frozen=True)
class OpenedModel:
    """A model that answers for waveforms. `open_model` makes it; it can be used for any number of `predict` calls.

    Args:
        name: Folder or Hub name.
        model: In evaluation mode, on its device.
        extractor: Its feature extractor.
        classes: Names of the K classes.
        rate: Sampling rate of its waveforms in Hz.
        window: Length of the windows of long recordings in seconds, if the caller gives none.
        ours: Whether it is a model of hf_ambiser, whose answers do not depend on padding. Others get one waveform at
            a time.
    """

    name: str
    model: Any
    extractor: Any
    classes: tuple[str, ...]
    rate: int
    window: float
    ours: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Folder or Hub name of each model that answers."""
        return (self.name,)

    @property
    def kind(self) -> str:
        """The model's type, as its configuration says."""
        return str(self.model.config.model_type)

    @property
    def says_embeddings(self) -> bool:
        """Whether `probabilities` says embeddings."""
        return self.ours

    @property
    def temperature(self) -> float:
        """What its configuration says that logits are divided by; a threshold that stands there is not looked at.

        Raises:
            ValueError: If it is out of range.
        """
        return Decision.of(self.model.config, threshold=0.0).temperature

    def decision(self, threshold: float | None = None, balance: float | None = None) -> Decision:
        """Return how logits become an answer, as the model's configuration and the caller say; see `Decision.of`."""
        return Decision.of(self.model.config, threshold, balance)

    @property
    def on_cpu(self) -> bool:
        """Whether a CPU computes the answers."""
        return str(getattr(self.model, "device", "cpu")).startswith("cpu")

    @property
    def longest_window(self) -> float | None:
        """The longest window that the model takes, in seconds; None: any."""
        return None

    def window_sizes(self, window: float | None, hop: float | None) -> WindowSizes:
        """Return the sizes of windows given in seconds; None: the model's own window, and half a window as hop.

        Raises:
            ValueError: If one is out of range, or the model does not take so long a window.
        """
        seconds = self.window if window is None else window
        sizes = WindowSizes.of(seconds, hop, self.rate)
        self.check_window(seconds)
        return sizes

    def check_window(self, seconds: float) -> None:
        """Check that the model takes so long a window.

        Raises:
            ValueError: If it does not.
        """
        if self.longest_window is not None and seconds > self.longest_window:
            raise ValueError(
                f"window is {seconds:g} s, and model {self.name} takes at most {self.longest_window:g} s at once."
                " Give a shorter window."
            )

    def probabilities(self, waveforms: Sequence[np.ndarray], temperature: float = 1.0) -> Outputs:
        """Answer for N waveforms `(T,)` float32 at the model's rate.

        Args:
            waveforms: The waveforms; one batch for a model of ours.
            temperature: Divides the logits.
        """
        batches = [list(waveforms)] if self.ours else [[one] for one in waveforms]
        outputs = [self.outputs_of(batch) for batch in batches]
        logits = np.concatenate([_numbers(output.logits) for output in outputs])
        return Outputs(
            scipy.special.softmax(logits / temperature, axis=1),
            _rows(outputs, "prototype_similarity"),
            _rows(outputs, "embedding"),
        )

    def outputs_of(self, waveforms: list[np.ndarray]) -> Any:
        """Return the model's own output for one batch: `logits`, and what else its family says."""
        import torch  # here, because an exported model answers where torch is not installed

        if self.ours:
            options = {"padding": True, "return_attention_mask": True}
            inputs = self.extractor(waveforms, sampling_rate=self.rate, return_tensors="pt", **options)
        else:
            # As transformers' pipeline does it, so that the answers are its answers.
            inputs = self.extractor(waveforms[0], sampling_rate=self.rate, return_tensors="pt")
        with torch.inference_mode():
            return self.model(**inputs.to(self.model.device))


def _rows(outputs: list[Any], name: str) -> np.ndarray | None:
    """Return a field `(N, ...)` of outputs; None if they do not have it."""
    values: list[Any] = [getattr(output, name, None) for output in outputs]
    return None if values[0] is None else np.concatenate([_numbers(value) for value in values])


def _numbers(values: Any) -> np.ndarray:
    """Tensors of torch, on any device and of any type, or arrays."""
    return np.asarray(values.float().cpu() if hasattr(values, "cpu") else values).astype(np.float64)
