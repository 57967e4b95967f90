"""IPR's "baseline+": unlabelled ambiguous utterances with the classifier's own labels."""

from hf_ambiser.methods.self_training.trainer import SelfTrainingArguments, SelfTrainingTrainer


TRAINER = SelfTrainingTrainer
__all__ = ["TRAINER", "SelfTrainingArguments", "SelfTrainingTrainer"]
