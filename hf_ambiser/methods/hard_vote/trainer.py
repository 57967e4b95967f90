"""The hard-vote baseline."""

from __future__ import annotations

from hf_ambiser.training.trainer import AmbiSERTrainer


class HardVoteTrainer(AmbiSERTrainer):
    """Cross-entropy on one-hot consensus labels; utterances without a consensus are left out and listed.

    On IPR's D1 it is the paper's "baseline"; on D1 and D2 with D2's labels revealed, its "supervised" system.
    Changes nothing of the base trainer.
    """

    name = "hard_vote"
    summary = (
        "Plain cross-entropy on the raters' consensus label, one class a clip: what most speech emotion recognition"
        " does, and the baseline for methods that use disagreement."
    )
    target = "label"
