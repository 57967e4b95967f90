"""Random numbers keyed by what they belong to, so that one utterance never changes the draws of another.

There are two kinds: a numpy generator for one (seed, stream, index), and a counter-based hash of (seed, utterance,
rater, stream) where hundreds of thousands of single draws are needed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np


SPEAKER_STREAM, LATENT_STREAM, VOICE_STREAM, RATER_STREAM = range(4)


def check_seed(seed: int) -> int:
    """Return `seed` as an int; raise `ValueError` unless 0 <= seed < 2**63."""
    if isinstance(seed, bool) or int(seed) != seed or not 0 <= seed < 2**63:
        raise ValueError(f"seed: {seed!r} must be a whole number from 0 to 2**63 - 1.")
    return int(seed)


def generator(seed: int, stream: int, index: int) -> np.random.Generator:
    """Return the generator for `index` in `stream`. It is PCG64, because `default_rng` may change its choice."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([check_seed(seed), stream, index])))


def hash_names(names: Sequence[str]) -> np.ndarray:
    """Return one 64-bit hash per name, uint64 (N,). Python's own `hash` differs from run to run."""
    digests = b"".join(blake2b(name.encode("utf-8"), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def scramble(values: np.ndarray) -> np.ndarray:
    """Mix the bits of uint64 `values` (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def keyed_uniform(seed: int, stream: int, *keys: np.ndarray) -> np.ndarray:
    """Return uniform numbers in [0, 1), one for each broadcast combination of the uint64 `keys`."""
    state = hash_names([f"{check_seed(seed)}:{stream}"])
    for key in keys:
        # Scrambling between the keys makes (a, b) and (b, a) different numbers.
        state = scramble(state) ^ np.asarray(key, dtype=np.uint64)
    return (scramble(scramble(state)) >> np.uint64(11)) * 2.0**-53
