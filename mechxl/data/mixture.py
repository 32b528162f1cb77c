"""Which fact is told in which language, and how often.

A fact is parallel (told in every language) or mono (told in one). Facts are not drawn for languages but allotted by
largest remainder within each (relation, value), with rounding errors carried on. So at informativeness 0 the mixture
holds almost no information by accident. A fact that some language has no words for is mono, told in one that has.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.config import MixtureConfig
from mechxl.data.world import World
from mechxl.random import generator


@dataclass(frozen=True)
class Mixture:
    """Which fact is told in which language.

    Attributes:
        told: the languages that each fact is told in; none for unseen entities.
        weight: the probability that a draw of training is this telling; sums to 1, and is 0 if the fact is not told.
    """

    told: Bool[np.ndarray, "fact language"]
    weight: Float[np.ndarray, "fact language"]

    @property
    def parallel(self) -> Bool[np.ndarray, " fact"]:
        """Facts told in every language."""
        return np.asarray(self.told.all(axis=1))

    @property
    def mono(self) -> Bool[np.ndarray, " fact"]:
        """Facts told in one language."""
        return self.told.sum(axis=1) == 1

    @property
    def group(self) -> np.ndarray:
        """Each fact's group: parallel, mono or unseen."""
        return np.select([self.parallel, self.mono], ["parallel", "mono"], "unseen")


def home(
    probability: Float[np.ndarray, " value"], shares: Float[np.ndarray, " language"]
) -> Float[np.ndarray, "value language"]:
    """home(l | v): the share of value v's interval that lies in language l's, if both divide [0, 1] in order.

    Rows sum to 1 and `probability @ home` is `shares`. A value of probability below 1e-12 gets the shares.
    """
    value_ends = np.cumsum(probability) / probability.sum()
    language_ends = np.cumsum(shares) / np.sum(shares)
    value_starts, language_starts = np.r_[0, value_ends[:-1]], np.r_[0, language_ends[:-1]]
    overlap = np.minimum.outer(value_ends, language_ends) - np.maximum.outer(value_starts, language_starts)
    inside = np.clip(overlap, 0, None)
    inside[inside < 1e-12] = 0
    width = inside.sum(axis=1, keepdims=True)
    return np.where(width > 0, inside / np.maximum(width, 1e-300), shares)


def language_given_value(
    world: World, shares: Float[np.ndarray, " language"], informativeness: float, seed: int
) -> tuple[Float[np.ndarray, "relation value language"], Int[np.ndarray, "relation value"]]:
    """P(l | v) = (1 - k) share(l) + k home(l | v) in each relation, and the seeded order of its values on [0, 1]."""
    table = np.empty((*world.value_probability.shape, len(shares)))
    orders = np.empty(world.value_probability.shape, dtype=int)
    for relation, probability in enumerate(world.value_probability):
        order = generator(seed, f"value order {relation}").permutation(len(probability))
        table[relation, order] = (1 - informativeness) * shares + informativeness * home(probability[order], shares)
        orders[relation] = order
    return table, orders


def largest_remainder(
    n: int, target: Float[np.ndarray, " part"], carry: Float[np.ndarray, " part"], tie: Float[np.ndarray, " part"]
) -> Int[np.ndarray, " part"]:
    """Allots n items to parts, in whole numbers as near as possible to target + carry.

    A part whose target is 0 gets nothing.

    Args:
        n: number of items.
        target: wanted sizes, summing to n.
        carry: what earlier cells owe each part; positive if it got too few.
        tie: distinct random numbers that decide between equal remainders.
    """
    wanted = np.where(target > 0, target + carry, 0.0)
    counts = np.where(target > 0, np.floor(np.maximum(wanted, 0) + 1e-9), 0).astype(int)
    eligible = np.flatnonzero(target > 0)
    while (short := n - counts.sum()) != 0:
        sign = int(np.sign(short))
        candidates = eligible if sign > 0 else eligible[counts[eligible] > 0]
        debt = np.round(sign * (wanted - counts)[candidates], 9)
        counts[candidates[np.lexsort((tie[candidates], -debt))[0]]] += sign
    return counts


def alternate(counts: Int[np.ndarray, " part"], tie: Float[np.ndarray, " part"]) -> Int[np.ndarray, " item"]:
    """Labels 0 .. parts - 1 in the given counts, spread as evenly as possible over the sequence.

    The j-th of a part's n labels is due at (j + 1/2) / n of the sequence; labels are sorted by this place.
    """
    labels = np.repeat(np.arange(len(counts)), counts)
    due = np.concatenate([(np.arange(count) + 0.5) / count for count in counts]) if len(labels) else np.zeros(0)
    return labels[np.lexsort((tie[labels], np.round(due, 9)))]


def mix(world: World, config: MixtureConfig, shares: tuple[float, ...], seed: int) -> Mixture:
    """Allots each fact of the world to one language or to all.

    Args:
        world: the facts.
        config: parallel_fraction, informativeness, unit and exposure.
        shares: the languages' shares of the mono facts, summing to 1.
        seed: decides the order of values, the order of equally frequent facts, and ties.
    """
    share = np.asarray(shares, dtype=float)
    by_value, orders = language_given_value(world, share, config.informativeness, seed)
    rank = np.lexsort((generator(seed, "order of equals").random(world.n_facts), -world.frequency))
    rank = rank[world.seen[rank]]
    rng = generator(seed, "ties")
    language = np.full(world.n_facts, -1)  # -1: parallel
    for relation in range(world.n_relations):
        owed_groups, owed_languages = np.zeros(2), np.zeros(len(share))
        in_relation = rank[(world.relation[rank] == relation) & world.complete[rank]]
        for value in orders[relation]:
            cell = in_relation[world.value[in_relation, 0] == value]
            target = len(cell) * np.array([config.parallel_fraction, 1 - config.parallel_fraction])
            counts = largest_remainder(len(cell), target, owed_groups, tie := rng.random(2))
            owed_groups += target - counts
            mono = cell[alternate(counts, tie) == 1]
            target = len(mono) * by_value[relation, value]
            counts = largest_remainder(len(mono), target, owed_languages, tie := rng.random(len(share)))
            owed_languages += target - counts
            language[mono] = alternate(counts, tie)
    if config.unit == "entity":
        language = _by_entity(world, language, share, rng)
    some = rank[~world.complete[rank]]
    language[some] = _where_there_are_words(world, some, by_value)

    told = (language[:, None] == np.arange(len(share))) | (language == -1)[:, None]
    told &= world.seen[:, None]
    weight = told * world.frequency[:, None]
    if config.exposure == "per_fact":
        weight = weight / np.maximum(told.sum(axis=1, keepdims=True), 1)
    return Mixture(told, weight / weight.sum())


def _where_there_are_words(
    world: World, facts: Int[np.ndarray, " some"], by_value: Float[np.ndarray, "relation value language"]
) -> Int[np.ndarray, " some"]:
    """A language for each fact that not all languages have words for: of those that have, the one owed most.

    Each fact of a relation adds its P(l | v), within the languages that it can be told in, to what they are owed.
    """
    owed = np.zeros((world.n_relations, world.n_languages))
    chosen = np.empty(len(facts), dtype=int)
    for place, fact in enumerate(facts.tolist()):
        relation, sayable = world.relation[fact], world.value[fact] >= 0
        value = world.value[fact, sayable.argmax()]
        wanted = np.where(sayable, by_value[relation, value], 0.0)
        owed[relation] += wanted / wanted.sum() if wanted.sum() > 0 else sayable / sayable.sum()
        chosen[place] = np.where(sayable, np.round(owed[relation], 9), -np.inf).argmax()
        owed[relation, chosen[place]] -= 1
    return chosen


def _by_entity(
    world: World, language: Int[np.ndarray, " fact"], share: Float[np.ndarray, " language"], rng: np.random.Generator
) -> Int[np.ndarray, " fact"]:
    """Gives all mono facts of an entity one language; the most frequent entities come first."""
    entities = np.unique(world.entity[world.seen])
    frequency = np.bincount(world.entity, weights=world.frequency)[entities]
    ordered = entities[np.lexsort((rng.random(len(entities)), -frequency))]
    target = len(entities) * share
    counts = largest_remainder(len(entities), target, np.zeros(len(share)), tie := rng.random(len(share)))
    entity_language = np.zeros(world.n_entities, dtype=int)
    entity_language[ordered] = alternate(counts, tie)
    return np.where(language == -1, -1, entity_language[world.entity])
