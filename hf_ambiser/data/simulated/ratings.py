"""The ratings of simulated raters, in the forms that the rest of the package takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hf_ambiser.data.schema import Rating
from hf_ambiser.labels.votes import RatingArrays


@dataclass(frozen=True, eq=False)
class SimulatedRatings:
    """V ratings of N utterances, sorted by utterance, then by rater.

    Args:
        ids: N utterance ids.
        raters: Names of all raters in the pool.
        classes: K class names.
        utterance: (V,) row in `ids`.
        rater: (V,) row in `raters`.
        label: (V,) first class.
        second: (V,) second class or -1.
    """

    ids: tuple[str, ...]
    raters: tuple[str, ...]
    classes: tuple[str, ...]
    utterance: np.ndarray
    rater: np.ndarray
    label: np.ndarray
    second: np.ndarray

    def arrays(self, group: np.ndarray | None = None) -> RatingArrays:
        """Return the ratings for `labels.votes.tally`; the vocabulary is the classes, `group` (N,) the groups."""
        with_second = np.flatnonzero(self.second >= 0)
        answer = np.concatenate([np.arange(len(self.label)), with_second])
        return RatingArrays(
            n_utterances=len(self.ids),
            utterance=self.utterance[answer],
            rating=answer,
            label=np.concatenate([self.label, self.second[with_second]]),
            position=(np.arange(len(answer)) >= len(self.label)).astype(np.int64),
            self_report=np.zeros(len(answer), dtype=bool),
            vocabulary=self.classes,
            rater=self.rater[answer],
            raters=self.raters,
            group=group,
        )

    def lists(self, names: Mapping[str, str] | None = None) -> list[list[Rating]]:
        """Return one list of ratings per utterance; `names` renames classes (to a corpus' raw labels)."""
        words = [names[c] if names else c for c in self.classes]
        out: list[list[Rating]] = [[] for _ in self.ids]
        rows = np.stack([self.utterance, self.rater, self.label, self.second], axis=1)
        for n, r, first, second in rows.tolist():
            labels = (words[first],) if second < 0 else (words[first], words[second])
            out[n].append(Rating(self.raters[r], labels))
        return out
