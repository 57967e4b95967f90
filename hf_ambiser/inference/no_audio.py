"""Why a recording has no answer."""

from __future__ import annotations


# Status of a recording or window -> what it means.
STATUSES = {
    "answered": "the model has answered, and one emotion leads",
    "abstains": "the model has answered, and the emotion that it would answer is less probable than the threshold",
    "silent": "there is nothing to hear",
    "too short": "it is shorter than any utterance that a model learns from",
    "unreadable": "it is no audio, or cannot be decoded",
    "invalid": "its samples or its sampling rate cannot be those of a recording",
    "refused": "the model, which is not one of hf_ambiser, cannot take it",
}
ANSWERED = ("answered", "abstains")


class NoAudio(ValueError):
    """A recording cannot be used; the others of a job can.

    Args:
        status: One of `STATUSES`.
        reason: What is wrong, in words that need no name before them.
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
