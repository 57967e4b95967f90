"""IPR's "baseline+": the classifier labels the ambiguous utterances itself."""

from hf_ambiser.methods.self_training.trainer import SelfTrainingArguments, SelfTrainingTrainer


TRAINER = SelfTrainingTrainer
__all__ = ["TRAINER", "SelfTrainingArguments", "SelfTrainingTrainer"]
