"""A simulated corpus: a known emotion distribution, audio that expresses it, and raters who vote on it.

A real corpus does not show its true emotion distributions, only what a few people said. Here the truth is drawn first:
each utterance has a latent distribution over the classes (`latent`). The acoustic parameters of a speech-like sound
are the mixture of the classes' parameters under it (`settings`, `voice`). Raters with individual confusions vote on it
(`raters`). So a method that corrects labels can be measured against the truth.

The corpus can show whether label correction moves targets towards the true distribution under a known kind of noise,
and whether a pipeline runs and resumes. It shows nothing about emotion, speech or people: the sound has no words, we
chose its cues, and the raters err independently. A result on it is a result about label correction.

The modules depend on numpy and scipy; `rerate` lets the same raters rate a real corpus.
"""

from hf_ambiser.data.simulated.corpus import SimulationOptions, generate, utterance_samples
from hf_ambiser.data.simulated.latent import DirichletMixture
from hf_ambiser.data.simulated.raters import Raters
from hf_ambiser.data.simulated.ratings import SimulatedRatings
from hf_ambiser.data.simulated.rerate import rerate


__all__ = [
    "DirichletMixture",
    "Raters",
    "SimulatedRatings",
    "SimulationOptions",
    "generate",
    "rerate",
    "utterance_samples",
]
