"""A simulated corpus: a known emotion distribution, audio that carries it, annotators who rate it.

No real corpus tells what its emotion distributions truly are, only what a few people said. Here the truth is drawn
first: each utterance has a latent distribution over the classes (`latent`); the acoustic parameters of a speech-like
sound are the mixture of the classes' parameters under it (`settings`, `voice`); annotators with confusions of their
own vote on it (`annotators`). So a method that corrects labels can be measured against the truth.

What this can tell: whether label correction moves targets towards the true distribution under a known kind of
noise; whether a pipeline runs and resumes. What it cannot tell: anything about emotion, speech or people. The sound
has no words, its cues are ours, and the annotators err independently. A result on it is one about label correction.

The modules depend on numpy and scipy; `rerate` lets the same annotators rate a real corpus.
"""

from hf_ambiser.data.simulated.annotators import Annotators
from hf_ambiser.data.simulated.corpus import SimulationOptions, generate, utterance_samples
from hf_ambiser.data.simulated.latent import DirichletMixture
from hf_ambiser.data.simulated.ratings import SimulatedRatings
from hf_ambiser.data.simulated.rerate import rerate


__all__ = [
    "Annotators",
    "DirichletMixture",
    "SimulatedRatings",
    "SimulationOptions",
    "generate",
    "rerate",
    "utterance_samples",
]
