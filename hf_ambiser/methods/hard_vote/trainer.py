"""The hard-vote baseline."""

from __future__ import annotations

from hf_ambiser.training.trainer import AmbiSERTrainer


class HardVoteTrainer(AmbiSERTrainer):
    """Cross-entropy on one-hot consensus labels; utterances without a consensus label are left out and listed.

    On D1 it is the "baseline" of the IPR paper; on D1 and D2 with D2's labels revealed it is the "supervised" system.
    It overrides nothing of the base trainer.
    """

    name = "hard_vote"
    summary = (
        "Plain cross-entropy on the raters' consensus label, one class a clip: what most speech emotion recognition"
        " does, and the baseline for methods that use disagreement."
    )
    target = "label"
