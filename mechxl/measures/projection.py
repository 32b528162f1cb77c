"""A map of vectors: their two principal components (Pearson 1901), turned so that consecutive maps match.

What a map cannot see: what lies outside its plane. Show the plane's share of the variance next to every map.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def principal_plane(
    h: Float[np.ndarray, "vector d"], shown: Float[np.ndarray, "shown d"]
) -> tuple[Float[np.ndarray, "shown 2"], float]:
    """Coordinates on the first two principal components of h, and the share of its variance that these hold, 0 to 1.

    Args:
        h: the vectors that define the components; their mean is the origin.
        shown: the vectors to project.

    Raises:
        ValueError: vectors are not finite, or all the same.
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
    """The maps, each rotated or mirrored to lie as near as possible to the next one; the last map stays as it is.

    The axes of a principal plane have no fixed sign or order. Distances do not change.
    """
    turned = [maps[-1]]
    for earlier in reversed(maps[:-1]):
        left, _, right = np.linalg.svd(earlier.T @ turned[0])
        turned.insert(0, earlier @ left @ right)
    return turned
