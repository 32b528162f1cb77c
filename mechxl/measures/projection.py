"""A map of vectors: their two principal components (Pearson 1901), turned so that a map goes on from the next.

What a map cannot see: whatever lies outside its plane. The share of the variance that the plane holds says how much
that is, and belongs beside every map.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def principal_plane(
    h: Float[np.ndarray, "vector d"], shown: Float[np.ndarray, "shown d"]
) -> tuple[Float[np.ndarray, "shown 2"], float]:
    """Coordinates on the first two principal components of h, and the share of its variance that these hold, 0 to 1.

    Args:
        h: what the components are of; its mean is the origin.
        shown: the vectors that are projected.

    Raises:
        ValueError: vectors that are not finite, or all the same.
    """
    if not np.isfinite(h).all():
        raise ValueError("activations hold NaN or infinite values")
    origin = h.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov((h - origin).T, bias=True).reshape(h.shape[1], h.shape[1]))
    if not variance[-1] > 0:
        raise ValueError("all vectors are the same: there is nothing to map")
    axes = axes[:, -1:-3:-1] if h.shape[1] > 1 else np.concatenate([axes, np.zeros((1, 1))], axis=1)
    return (shown - origin) @ axes, float(variance[-2:].sum() / variance.sum())


def aligned(maps: Sequence[Float[np.ndarray, "shown 2"]]) -> list[Float[np.ndarray, "shown 2"]]:
    """The maps turned or mirrored, the last first, each to lie as near as it can to the one after it.

    Axes of a principal plane have no sign of their own, and change places; distances stay as they are.
    """
    turned = [maps[-1]]
    for earlier in reversed(maps[:-1]):
        left, _, right = np.linalg.svd(earlier.T @ turned[0])
        turned.insert(0, earlier @ left @ right)
    return turned
