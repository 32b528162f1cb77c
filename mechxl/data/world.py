"""Entities, relations and values as tables, and a generator of such tables.

The other modules do not know how a World was made: `mechxl.data.sources` builds such tables of real facts.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.config import WorldConfig
from mechxl.counts import exact_count
from mechxl.random import generator


@dataclass(frozen=True)
class World:
    """Facts (entity, relation, value), apart from any words.

    Attributes:
        entity: each fact's entity, 0 .. n_entities - 1; unseen entities come last.
        relation: each fact's relation, 0 .. n_relations - 1.
        value: each fact's value in each language, numbered within its relation; -1 for unseen entities, and where a
            language lacks a word of the fact, so that it can't be told there.
        frequency: how often a fact is told, relative to the others; sums to 1, and is 0 for unseen entities.
        value_probability: probability of each relation's values; rows sum to 1 and are padded with 0.
    """

    entity: Int[np.ndarray, " fact"]
    relation: Int[np.ndarray, " fact"]
    value: Int[np.ndarray, "fact language"]
    frequency: Float[np.ndarray, " fact"]
    value_probability: Float[np.ndarray, "relation value"]

    @property
    def n_facts(self) -> int:
        """Number of facts, those of unseen entities included."""
        return len(self.entity)

    @property
    def n_entities(self) -> int:
        """Number of entities, the unseen ones included."""
        return int(self.entity.max()) + 1

    @property
    def n_languages(self) -> int:
        """Number of languages."""
        return self.value.shape[1]

    @property
    def n_relations(self) -> int:
        """Number of relations."""
        return len(self.value_probability)

    @property
    def seen(self) -> Bool[np.ndarray, " fact"]:
        """Which facts have a value, and so can be told."""
        return np.asarray((self.value >= 0).any(axis=1))

    @property
    def complete(self) -> Bool[np.ndarray, " fact"]:
        """Which facts can be asked in every language; those of unseen entities always can."""
        return np.asarray((self.value >= 0).all(axis=1) | ~self.seen)


def zipf(n: int, exponent: float, rng: np.random.Generator) -> Float[np.ndarray, " n"]:
    """Probabilities proportional to rank^-exponent; the ranks are a random permutation."""
    weight = np.arange(1, n + 1, dtype=float) ** -exponent
    return rng.permutation(weight / weight.sum())


def generate_world(config: WorldConfig, n_languages: int, seed: int) -> World:
    """A world of n_entities x n_relations facts with independently drawn values.

    Facts are ordered by entity, then relation; those of unseen entities follow. An exact share `shared_facts` of the
    facts has the same value in every language. The others have an independent draw in each; draws may be equal.
    """
    facts = config.n_entities * config.n_relations
    unseen = config.n_unseen * config.n_relations
    entity, relation = np.divmod(np.arange(facts + unseen), config.n_relations)

    rng = generator(seed, "value probabilities")
    uniform = np.full(config.n_values, 1 / config.n_values)
    by_zipf = config.value_distribution == "zipf"
    probability = np.stack(
        [zipf(config.n_values, config.zipf_exponent, rng) if by_zipf else uniform for _ in range(config.n_relations)]
    )
    cumulative = np.cumsum(probability, axis=1)

    def draw(name: str) -> Int[np.ndarray, " fact"]:
        uniforms = generator(seed, name).random(facts) * cumulative[relation[:facts], -1]
        drawn = np.empty(facts, dtype=int)
        for number, ends in enumerate(cumulative):  # facts are ordered by entity, then relation
            drawn[number :: config.n_relations] = np.searchsorted(ends, uniforms[number :: config.n_relations], "right")
        return drawn

    value = np.full((facts + unseen, n_languages), -1)
    value[:facts] = draw("values")[:, None]
    not_shared = generator(seed, "facts not shared").permutation(facts)[exact_count(config.shared_facts, facts) :]
    for language in range(1, n_languages):
        value[not_shared, language] = draw(f"values in language {language}")[not_shared]

    frequency = np.zeros(facts + unseen)
    by_zipf = config.frequency == "zipf"
    frequency[:facts] = zipf(facts, config.zipf_exponent, generator(seed, "frequency")) if by_zipf else 1 / facts
    return World(entity, relation, value, frequency, probability)
