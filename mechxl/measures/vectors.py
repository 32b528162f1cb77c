"""Prepares vectors for comparison: centres them, scales them to length 1, and refuses vectors without a direction.

In all measures, h[f, a] is the activation of fact f in language a, with every fact in every language.
"""

import numpy as np
from jaxtyping import Float, Int

CENTRINGS = ("none", "whole", "per_language")
SAME_VECTOR = 1e-6  # relative to the largest component: above float32's rounding, below any learned difference


def finite(h: Float[np.ndarray, "fact language d"]) -> Float[np.ndarray, "fact language d"]:
    """The vectors in double precision.

    Raises:
        ValueError: a value that is NaN or infinite.
    """
    if not np.isfinite(h).all():
        raise ValueError("activations hold NaN or infinite values")
    return h.astype(np.float64, copy=False)


def centre(h: Float[np.ndarray, "fact language d"], how: str) -> Float[np.ndarray, "fact language d"]:
    """Subtracts a mean from the vectors.

    Args:
        h: activations of the group that is measured, all its relations and languages.
        how: none; whole (one mean over facts and languages); per_language (a mean for each language, which hides a
            constant offset between the languages).

    Raises:
        ValueError: an unknown centring.
    """
    if how == "none":
        return h
    if how == "whole":
        return h - h.mean(axis=(0, 1))
    if how == "per_language":
        return h - h.mean(axis=0)
    raise ValueError(f"centring {how!r}: one of {', '.join(CENTRINGS)}")


def unit(h: Float[np.ndarray, "fact language d"]) -> Float[np.ndarray, "fact language d"]:
    """Vectors scaled to length 1.

    Raises:
        ValueError: a vector that is not finite, or of length 0 (it has no direction, so no cosine).
    """
    length = np.linalg.norm(h, axis=-1, keepdims=True)
    if not np.isfinite(length).all():
        raise ValueError("activations hold NaN or infinite values")
    if not length.all():
        raise ValueError("a vector of length 0 has no cosine")
    return h / length


def undefined(h: Float[np.ndarray, "fact language d"], relation: Int[np.ndarray, " fact"]) -> str:
    """Why measures of facts are not defined for these vectors; empty if they are defined.

    They are not defined if all facts of some relation have the same vector in some language, up to rounding (layer 0 at
    the relation's token); if no relation has two facts; or if there is one language. Use raw activations: centring
    magnifies rounding.
    """
    if h.shape[1] < 2:
        return "one language"
    sizes = np.bincount(relation)
    if not (sizes >= 2).any():
        return "no relation has two facts"
    for r in np.flatnonzero(sizes >= 2):
        vectors = h[relation == r]
        high, low, first = vectors.max(axis=0), vectors.min(axis=0), vectors[0]
        spread = np.maximum(high - first, first - low).max(axis=1)
        if (spread <= SAME_VECTOR * np.maximum(high, -low).max(axis=1)).any():
            return "every fact of a relation has one vector here by construction"
    return ""


def cosine_matrix(h: Float[np.ndarray, "fact language d"]) -> Float[np.ndarray, "rendering rendering"]:
    """The checkerboard: cosines of all renderings, language by language; 0 for vectors of length 0."""
    flat = h.transpose(1, 0, 2).reshape(-1, h.shape[2])
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    u = flat / np.where(length > 0, length, 1)
    return u @ u.T
