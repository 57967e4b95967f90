"""Draw the latent emotion distribution of every simulated utterance: some are clear, many ambiguous."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_ambiser.data.simulated.keys import LATENT_STREAM, generator


# Probabilities are whole millionths, so that the six decimals in the truth file are exact.
RESOLUTION = 1_000_000


@dataclass(frozen=True)
class DirichletMixture:
    """A mixture of three kinds of utterance, each a Dirichlet distribution over the K classes.

    `clear`: one class leads with `clear_alpha`. `blend`: two classes share with `blend_alpha`. `diffuse`: all classes
    have `diffuse_alpha`. The other classes have `background`. The shares of the kinds sum to 1.

    Raises:
        ValueError: If the shares do not sum to 1, or if a concentration is not positive.
    """

    clear: float = 0.45
    blend: float = 0.40
    diffuse: float = 0.15
    clear_alpha: float = 14.0
    blend_alpha: tuple[float, float] = (7.0, 5.0)
    diffuse_alpha: float = 1.5
    background: float = 0.4

    def __post_init__(self) -> None:
        """Check shares and concentrations."""
        shares = (self.clear, self.blend, self.diffuse)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"clear, blend, diffuse: {shares} must be shares >= 0 that sum to 1.")
        alphas = (self.clear_alpha, *self.blend_alpha, self.diffuse_alpha, self.background)
        if len(self.blend_alpha) != 2 or min(alphas) <= 0:
            raise ValueError(f"concentrations: {alphas} must all be > 0, and blend_alpha must hold two of them.")

    def draw(self, n_classes: int, seed: int, index: int) -> tuple[np.ndarray, str]:
        """Draw the distribution of utterance `index`, float64 (K,) in whole millionths, and its kind."""
        rng = generator(seed, LATENT_STREAM, index)
        u = rng.random()
        kind = "clear" if u < self.clear else "blend" if u < self.clear + self.blend else "diffuse"
        first, second = rng.permutation(n_classes)[:2]
        alpha = np.full(n_classes, self.background)
        if kind == "clear":
            alpha[first] = self.clear_alpha
        elif kind == "blend":
            alpha[[first, second]] = self.blend_alpha
        else:
            alpha[:] = self.diffuse_alpha
        counts = np.rint(rng.dirichlet(alpha) * RESOLUTION).astype(np.int64)
        counts[np.argmax(counts)] += RESOLUTION - counts.sum()
        return counts / RESOLUTION, kind
