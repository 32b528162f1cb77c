"""Seeded random generators, one for each purpose: an added draw for one purpose leaves all others as they are."""

import zlib

import numpy as np


def generator(seed: int, name: str) -> np.random.Generator:
    """The generator of a purpose. Its draws depend on the seed and the name alone, so a renamed purpose draws anew."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
