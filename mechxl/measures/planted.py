"""Planted activations: vectors whose unification is known, to check measures and their intervals with.

    h(f, a) = relation_r + language_a + (language in relation)_ra + value_v
              + shared_entity e_i + own_entity e_ia + shared_fact z_f + noise_fa

for fact f of entity i and relation r with value v. Relations, languages and values are fixed vectors, the rest are
Gaussian draws; each term's size is its expected length, so that sizes compare whatever d is.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechxl.measures.vectors import unit


@dataclass(frozen=True)
class Plant:
    """What is planted; every size is a length.

    Attributes:
        d: dimensions.
        relations: how many; each entity has a fact in each.
        languages: how many.
        values: of a relation, uniform.
        relation: what the facts of a relation share.
        language: an offset of each language.
        value: what facts of one relation and value share, in all languages.
        shared_entity: what an entity's facts share, in all languages.
        own_entity: what an entity's facts share in one language only.
        shared_fact: what a fact shares across languages.
        noise: a rendering's own.
    """

    d: int = 16
    relations: int = 4
    languages: int = 2
    values: int = 16
    relation: float | int = 0.7
    language: float | int = 0.5
    value: float | int = 0.5
    shared_entity: float | int = 0.5
    own_entity: float | int = 0.4
    shared_fact: float | int = 0.5
    noise: float | int = 0.6


@dataclass(frozen=True)
class Fixed:
    """The vectors that do not vary between draws.

    Attributes:
        middle: of each relation and language.
        value: of each relation and value.
        centre: the population's mean over relations and languages.
    """

    middle: Float[np.ndarray, "relation language d"]
    value: Float[np.ndarray, "relation value d"]
    centre: Float[np.ndarray, " d"]


@dataclass(frozen=True)
class Planted:
    """Activations and what they are of."""

    h: Float[np.ndarray, "fact language d"]
    relation: Int[np.ndarray, " fact"]
    entity: Int[np.ndarray, " fact"]
    value: Int[np.ndarray, "fact language"]


def fixed(plant: Plant, seed: int = 0) -> Fixed:
    """The fixed vectors, each of its size exactly."""
    rng = np.random.default_rng(seed)

    def of_length(size: float | int, *shape: int) -> Float[np.ndarray, "*shape d"]:
        vectors = rng.normal(size=(*shape, plant.d))
        return size * vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    middle = of_length(plant.relation, plant.relations, 1) + of_length(plant.language, 1, plant.languages)
    value = of_length(plant.value, plant.relations, plant.values)
    return Fixed(middle, value, (middle.mean(axis=1) + value.mean(axis=1)).mean(axis=0))


def draw(plant: Plant, vectors: Fixed, entities: int, rng: np.random.Generator) -> Planted:
    """Facts of some entities, fully crossed with relations and languages."""
    relation = np.repeat(np.arange(plant.relations), entities)
    entity = np.tile(np.arange(entities), plant.relations)
    value = rng.integers(plant.values, size=len(relation))

    def normal(size: float | int, *shape: int) -> Float[np.ndarray, "*shape d"]:
        return size / np.sqrt(plant.d) * rng.normal(size=(*shape, plant.d))

    facts, languages = len(relation), plant.languages
    h = vectors.middle[relation] + vectors.value[relation, value][:, None]
    h = h + (normal(plant.shared_entity, entities, 1) + normal(plant.own_entity, entities, languages))[entity]
    h = h + normal(plant.shared_fact, facts, 1) + normal(plant.noise, facts, languages)
    return Planted(h, relation, entity, np.repeat(value[:, None], languages, axis=1))


def population_parts(plant: Plant, vectors: Fixed, facts: int = 400_000, seed: int = 1) -> dict[str, float]:
    """S, W and X of infinitely many entities about the population's centre, and V_cross, to about 1 / sqrt(facts).

    W = |E u|^2 and X = E u_a . E u_b in each relation, since two entities are independent; V_cross the same by value.
    """
    rng = np.random.default_rng(seed)
    cells: dict[str, list[float]] = {name: [] for name in ("S", "W", "X", "V_cross")}
    pairs = [(a, b) for a in range(plant.languages) for b in range(plant.languages) if a != b]
    drawn = [draw(plant, vectors, facts // 20, rng) for _ in range(20)]
    for r in range(plant.relations):
        u = np.concatenate([unit(some.h[some.relation == r] - vectors.centre) for some in drawn])
        value = np.concatenate([some.value[some.relation == r, 0] for some in drawn])
        mean = u.mean(axis=0)
        by_value = np.array([u[value == v].mean(axis=0) for v in range(plant.values)])
        for a, b in pairs:
            cells["S"].append(float((u[:, a] * u[:, b]).sum(axis=1).mean()))
            cells["W"].append(float(mean[a] @ mean[a]))
            cells["X"].append(float(mean[a] @ mean[b]))
            cells["V_cross"].append(float((by_value[:, a] * by_value[:, b]).sum(axis=1).mean()))
    return {name: float(np.mean(values)) for name, values in cells.items()}


def population_cka(plant: Plant, vectors: Fixed) -> float:
    """Linear CKA of infinitely many entities, in closed form: |C_ab|^2 / (|C_aa| |C_bb|) of the covariances in a
    relation, Frobenius norms, averaged over relations."""
    identity = np.eye(plant.d) / plant.d
    found = []
    for values in vectors.value:
        of_values = np.cov(values.T, bias=True)
        shared = of_values + (plant.shared_entity**2 + plant.shared_fact**2) * identity
        own = shared + (plant.own_entity**2 + plant.noise**2) * identity
        found.append((shared**2).sum() / (own**2).sum())
    return float(np.mean(found))
