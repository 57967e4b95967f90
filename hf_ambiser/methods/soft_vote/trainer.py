"""The soft-vote baseline."""

from __future__ import annotations

from hf_ambiser.training.trainer import AmbiSERTrainer


class SoftVoteTrainer(AmbiSERTrainer):
    """Cross-entropy on the soft label (vote shares); utterances without a consensus are learnt from like all others.

    Changes only what the target of a labelled utterance is.
    """

    name = "soft_vote"
    summary = "Cross-entropy on the shares of the raters' votes, so that what they disagree on is learnt as well."
    target = "soft_label"
