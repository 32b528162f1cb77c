"""Seeded random generators, one a purpose, so that a draw added for one purpose leaves all others as they are."""

import zlib

import numpy as np


def generator(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for each purpose, so that one setting's draws never shift another's."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
