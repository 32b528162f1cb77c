"""Intervals over entities. Entities are resampled, not facts, since the facts of one entity share a name."""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import norm, sem, t


def interval(draws: Float[np.ndarray, " draw"], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap draws; NaN if all draws are NaN."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def percentile_ends(
    drawn: Float[np.ndarray, "place draw"], entities: int, level: float = 0.95
) -> tuple[Float[np.ndarray, " place"], Float[np.ndarray, " place"]]:
    """Expanded percentile interval (Hesterberg 2015, section 4.2) of each row of bootstrap draws.

    A percentile interval is too narrow: by sqrt((n - 1) / n), and because it uses the normal quantile instead of the
    t quantile. So the levels of its ends are moved outwards until, for a mean, it is as wide as the t interval. With 30
    entities, .975 becomes .981.
    """
    n = max(entities, 2)
    level = 2 * float(norm.cdf(np.sqrt(n / (n - 1)) * t_quantile((1 + level) / 2, n - 1))) - 1
    if drawn.size and np.isfinite(drawn).all():
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=1)
        return low, high
    ends = [interval(row, level) for row in drawn]
    return np.array([low for low, _ in ends]), np.array([high for _, high in ends])


@lru_cache(maxsize=1000)
def t_quantile(p: float, freedom: int) -> float:
    """Student's t: its quantile at p. scipy takes as long for one number as for a thousand, so they are kept."""
    return float(t.ppf(p, freedom))


def t_interval(values: Float[np.ndarray, " seed"], level: float = 0.95) -> tuple[float, float, float]:
    """(low, mean, high) of a mean by Student's t; the ends are NaN below two values, and all is NaN without any."""
    if len(values) < 2:
        mean = float(values.mean()) if len(values) else float("nan")
        return float("nan"), mean, float("nan")
    mean = float(values.mean())
    half = float(t.ppf((1 + level) / 2, len(values) - 1) * sem(values))
    return mean - half, mean, mean + half


def jackknife_variance(deleted: Float[np.ndarray, "place entity"]) -> Float[np.ndarray, " place"]:
    """Variance of a measure from its values with each of m entities left out: (m - 1) / m sum (t_i - mean t)^2.

    It is too large on average (Efron and Stein 1981, for m - 1 entities). NaN if a value without an entity is NaN.
    """
    m = deleted.shape[1]
    deleted = np.where(np.isfinite(deleted), deleted, np.nan)
    return (m - 1) / m * ((deleted - deleted.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)


def jackknife_ends(
    value: Float[np.ndarray, " place"], deleted: Float[np.ndarray, "place entity"], level: float = 0.95
) -> tuple[Float[np.ndarray, " place"], Float[np.ndarray, " place"]]:
    """Delete-one-entity jackknife: value -+ t quantile (m - 1 degrees of freedom) times the standard error."""
    half = t_quantile((1 + level) / 2, deleted.shape[1] - 1) * np.sqrt(jackknife_variance(deleted))
    return value - half, value + half


def wilson_ends(
    share: Float[np.ndarray, " place"],
    variance: Float[np.ndarray, " place"],
    most: int,
    entities: int,
    level: float = 0.95,
) -> tuple[Float[np.ndarray, " place"], Float[np.ndarray, " place"]]:
    """Wilson's interval (1927) for a share with a given variance; its n is share (1 - share) / variance.

    It stays inside [0, 1] and does not shrink to a point at 0 or 1, unlike share -+ t standard errors.

    Args:
        share: in [0, 1].
        variance: of the share; if it is NaN, so is the interval.
        most: the upper limit of n: the number of items of the share.
        entities: the n to use if the variance is 0; the degrees of freedom are one less.
        level: of confidence.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.where(variance == 0, entities, np.minimum(share * (1 - share) / variance, most))
    n = np.maximum(n, 1)
    z2 = t_quantile((1 + level) / 2, max(entities - 1, 1)) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return np.clip(middle - half, 0, share), np.clip(middle + half, share, 1)


def entity_weights(
    entity: Int[np.ndarray, " item"], draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draw item"]:
    """Bootstrap weights of items: how often their entity is drawn when entities are drawn with replacement."""
    _, index = np.unique(entity, return_inverse=True)
    n = int(index.max()) + 1
    counts = rng.multinomial(n, np.full(n, 1 / n), size=draws)
    return counts[:, index].astype(float)


class EntityBootstrap:
    """Means over items with 95 % intervals over entities. Entities are drawn once, for any number of means.

    Args:
        entities: all entities that items may have.
        draws: how often entities are drawn with replacement.
        rng: a generator.
    """

    def __init__(self, entities: Int[np.ndarray, " entity"], draws: int, rng: np.random.Generator) -> None:
        self.entities = np.unique(entities)
        n = len(self.entities)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=draws) if n else np.zeros((draws, 0))
        self.counts = counts.astype(np.float32)

    def mean(
        self, values: Float[np.ndarray, " item"] | Bool[np.ndarray, " item"], entity: Int[np.ndarray, " item"]
    ) -> tuple[float, float, float]:
        """(mean, low, high) of the items' values.

        Raises:
            ValueError: there are no items.
        """
        if not len(values):
            raise ValueError("the mean of no items")
        index = np.searchsorted(self.entities, entity)
        totals, sizes = (
            np.bincount(index, weights=w, minlength=len(self.entities)).astype(np.float32)
            for w in (values, np.ones(len(values)))
        )
        drawn_sizes = self.counts @ sizes
        with np.errstate(invalid="ignore"):
            return float(np.mean(values)), *interval((self.counts @ totals) / drawn_sizes)


def permutation_p(observed: float, null: Float[np.ndarray, " draw"]) -> float:
    """One-sided p = (1 + how many null values reach the observed one) / (draws + 1)."""
    return float((1 + (null >= observed - 1e-12).sum()) / (len(null) + 1))


def scan_p(observed: Float[np.ndarray, " place"], null: Float[np.ndarray, "place draw"]) -> Float[np.ndarray, " place"]:
    """p-values corrected for a whole scan: each place's studentised value against the largest value of every draw.

    Max-statistic permutation (Westfall and Young 1993): the chance that any place of a null scan has such a value.

    Args:
        observed: the statistic at each place of the scan.
        null: the statistic under each permutation, with the same permutations at all places.
    """
    centre, spread = null.mean(axis=1), null.std(axis=1)
    spread = np.where(spread > 1e-12, spread, np.inf)
    largest = ((null - centre[:, None]) / spread[:, None]).max(axis=0)
    return (1 + (largest >= ((observed - centre) / spread)[:, None] - 1e-12).sum(axis=1)) / (null.shape[1] + 1)
