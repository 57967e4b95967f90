"""Real-time soft-label correction (Gan et al.)."""

from hf_ambiser.methods.slc.arguments import SLCArguments
from hf_ambiser.methods.slc.trainer import SLCTrainer


TRAINER = SLCTrainer
__all__ = ["TRAINER", "SLCArguments", "SLCTrainer"]
