"""Intervals over entities: the facts of one entity share a name, so entities are what is resampled."""

import numpy as np
from jaxtyping import Bool, Float, Int


def interval(draws: Float[np.ndarray, " draw"], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap draws; NaN where no draw is a number."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def entity_weights(
    entity: Int[np.ndarray, " item"], draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draw item"]:
    """Bootstrap weights of items: how often their entity is drawn when entities are drawn with replacement."""
    _, index = np.unique(entity, return_inverse=True)
    n = int(index.max()) + 1
    counts = rng.multinomial(n, np.full(n, 1 / n), size=draws)
    return counts[:, index].astype(float)


class EntityBootstrap:
    """Means over items with 95 % intervals over entities; entities are drawn once, for any number of means.

    Args:
        entities: all entities that items may be of.
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
        """(mean, low, high) of one value an item.

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
    """p-values that hold over a whole scan: each place's studentised value against the largest of every draw.

    Max-statistic permutation (Westfall and Young 1993): the chance that any place of a null scan looks as good.

    Args:
        observed: the statistic at each place scanned.
        null: the same statistic under each permutation, the same permutations at all places.
    """
    centre, spread = null.mean(axis=1), null.std(axis=1)
    spread = np.where(spread > 1e-12, spread, np.inf)
    largest = ((null - centre[:, None]) / spread[:, None]).max(axis=0)
    return (1 + (largest >= ((observed - centre) / spread)[:, None] - 1e-12).sum(axis=1)) / (null.shape[1] + 1)
