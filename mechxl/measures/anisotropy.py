"""Context for reading cosines: in how many directions vectors differ, and how similar any two vectors are.

    effective_dimension = (sum of l)^2 / (sum of l^2), l the eigenvalues of the covariance of all renderings
    mean_cosine = mean of cos(h(f, a), h(g, b)) over f != g of all relations and all languages a, b

Effective dimension (participation ratio; Gao et al. 2017) lies between 1 and d, in directions. A finite sample
underestimates it (it is below the number of renderings). Mean cosine lies between -1 and 1. Far above 0, the vectors
fill a narrow cone (Ethayarajh 2019), and cosines of uncentred vectors say little. Both use uncentred activations.

What they cannot see: facts and languages. They are no evidence for or against unification, and have no null.

Intervals: delete-one-entity jackknife with a t quantile, exact. They cover the truth in 94 to 97 % of planted samples.
"""

import numpy as np
from jaxtyping import Float

from mechxl.findings import Estimate
from mechxl.measures.measurement import Measurement
from mechxl.measures.sample import Sample
from mechxl.measures.statistics import jackknife_ends
from mechxl.measures.vectors import finite, unit

NAMES = ("effective_dimension", "mean_cosine")
NO_NULL = "context: no null"


def anisotropy(h: Float[np.ndarray, "fact language d"], sample: Sample) -> dict[str, Measurement]:
    """effective_dimension and mean_cosine, by these names, of all languages together; no language pairs, no null draws.

    Args:
        h: activations, not centred.
        sample: the facts of these activations.

    Raises:
        ValueError: activations that are NaN or infinite.
    """
    h = finite(h)
    n, entities = len(h), sample.entities
    estimates = dict.fromkeys(NAMES, Estimate.undefined("one entity", n, entities))
    if n >= 2 and entities >= 2:
        _, index = np.unique(sample.entity, return_inverse=True)
        results = (_dimension(h, index), _cosine(unit(h), index))
        estimates = {name: _estimate(*result, n) for name, result in zip(NAMES, results, strict=True)}
    return {name: Measurement(estimate, {}, np.empty(0)) for name, estimate in estimates.items()}


def _estimate(value: float, deleted: Float[np.ndarray, " entity"], n: int) -> Estimate:
    """A value with its jackknife interval, from the values without each entity."""
    if np.isnan(value):
        return Estimate.undefined("all vectors are one", n, len(deleted))
    low, high = (float(end[0]) for end in jackknife_ends(np.array([value]), deleted[None]))
    missing = "" if np.isfinite(low) else "no interval: without some entity nothing is left; "
    return Estimate(value, low, high, np.nan, np.nan, n, len(deleted), missing + NO_NULL)


def by_entity(h: Float[np.ndarray, "fact language d"], index: np.ndarray) -> Float[np.ndarray, "entity rendering d"]:
    """All renderings of each entity, padded with zeros."""
    order = np.argsort(index, kind="stable")
    sizes = np.bincount(index)
    column = np.arange(len(index)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table = np.zeros((len(sizes), sizes.max(), *h.shape[1:]))
    table[index[order], column] = h[order]
    return table.reshape(len(sizes), -1, h.shape[2])


def _dimension(
    h: Float[np.ndarray, "fact language d"], index: np.ndarray
) -> tuple[float, Float[np.ndarray, " entity"]]:
    """tr(C)^2 / tr(C^2) of the scatter C = X'X, and of C without each entity's rows X_i, about the remaining mean:
    C - X_i' X_i - s_i s_i' / (N - N_i), where s_i is the sum of the rows X_i."""
    x = by_entity(h - h.mean(axis=(0, 1)), index)
    flat = x.reshape(-1, x.shape[2])
    scatter = flat.T @ flat
    size = np.trace(scatter)
    if size <= 1e-12 * max((h**2).sum(), 1e-300):
        return np.nan, np.full(len(x), np.nan)
    scatter, x = scatter / size, x / np.sqrt(size)
    left = h.shape[1] * (len(index) - np.bincount(index))
    sums = x.sum(axis=1)
    inner = x @ x.swapaxes(1, 2)
    across = np.einsum("ikd,id->ik", x, sums)
    long = (sums**2).sum(axis=1)
    trace = 1 - np.trace(inner, axis1=1, axis2=2) - long / left
    turned = np.einsum("ikd,ikd->i", x @ scatter, x) + np.einsum("id,id->i", sums @ scatter, sums) / left
    lost = (inner**2).sum(axis=(1, 2)) + 2 * (across**2).sum(axis=1) / left + (long / left) ** 2
    squares = (scatter**2).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(1 / squares), trace**2 / (squares - 2 * turned + lost)


def _cosine(u: Float[np.ndarray, "fact language d"], index: np.ndarray) -> tuple[float, Float[np.ndarray, " entity"]]:
    """The mean over pairs of facts, and the mean without each entity. Sums over pairs come from sums over facts."""
    fact_sums = u.sum(axis=1)
    own = (fact_sums**2).sum(axis=1)
    sums = np.zeros((index.max() + 1, u.shape[2]))
    np.add.at(sums, index, fact_sums)
    sizes, owns, whole = np.bincount(index), np.bincount(index, weights=own), fact_sums.sum(axis=0)
    n, languages = len(u), u.shape[1] ** 2
    left = n - sizes
    with np.errstate(invalid="ignore", divide="ignore"):
        deleted = (((whole - sums) ** 2).sum(axis=1) - (own.sum() - owns)) / (left * (left - 1) * languages)
    return float((whole @ whole - own.sum()) / (n * (n - 1) * languages)), deleted
