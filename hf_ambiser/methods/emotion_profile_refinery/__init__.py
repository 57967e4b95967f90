"""Emotion profile refinery (Mao et al.): each network learns from the answers of the one before."""

from hf_ambiser.methods.emotion_profile_refinery.arguments import EmotionProfileRefineryArguments
from hf_ambiser.methods.emotion_profile_refinery.trainer import EmotionProfileRefineryTrainer


TRAINER = EmotionProfileRefineryTrainer
__all__ = ["TRAINER", "EmotionProfileRefineryArguments", "EmotionProfileRefineryTrainer"]
