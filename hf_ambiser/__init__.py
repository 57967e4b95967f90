"""Ambiguous speech emotion recognition: from annotators' votes to an emotion distribution.

Importing this package makes `AutoModel`, `AutoModelForAudioClassification` and `AutoConfig` know its models.
"""

from hf_ambiser.label_policies import LabelPolicy, available_policies, get_policy
from hf_ambiser.labels import RatingArrays, VoteTable, tally
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.models import LogMelConfig, LogMelModel, PrototypeConfig, PrototypeForAudioClassification, register


__version__ = "0.1.0"
__all__ = [
    "LabelPolicy",
    "LogMelConfig",
    "LogMelModel",
    "PrototypeConfig",
    "PrototypeForAudioClassification",
    "RatingArrays",
    "VoteTable",
    "available_methods",
    "available_policies",
    "get_policy",
    "load_method",
    "tally",
]

register()
