"""First whether each emotion is there, then which one leads."""

from hf_ambiser.methods.emotion_existence.trainer import EmotionExistenceArguments, EmotionExistenceTrainer


TRAINER = EmotionExistenceTrainer
__all__ = ["TRAINER", "EmotionExistenceArguments", "EmotionExistenceTrainer"]
