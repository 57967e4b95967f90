"""The soft-vote baseline."""

from __future__ import annotations

from hf_ambiser.training.trainer import AmbiSERTrainer


class SoftVoteTrainer(AmbiSERTrainer):
    """Cross-entropy on the soft label (vote shares), also for utterances without a consensus label.

    It changes only the target of a labelled utterance.
    """

    name = "soft_vote"
    summary = "Cross-entropy on the shares of the raters' votes, so that what they disagree on is learnt as well."
    target = "soft_label"
