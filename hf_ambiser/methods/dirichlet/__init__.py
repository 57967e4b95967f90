"""The likelihood of all votes under a Dirichlet distribution that the network gives."""

from hf_ambiser.methods.dirichlet.likelihood import uncertainty
from hf_ambiser.methods.dirichlet.trainer import DirichletArguments, DirichletTrainer


TRAINER = DirichletTrainer
__all__ = ["TRAINER", "DirichletArguments", "DirichletTrainer", "uncertainty"]
