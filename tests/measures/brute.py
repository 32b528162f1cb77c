"""Measures by loops over facts, as their definitions say; and samples to try them on."""

from itertools import permutations

import numpy as np

from mechxl.measures.planted import Plant, Planted, draw, fixed
from mechxl.measures.sample import Sample, draw_sample
from mechxl.measures.vectors import centre, unit


def cosine(x, y):
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def relations(relation, weight=None):
    """The facts of each relation that has two (of weight above 0)."""
    weight = np.ones(len(relation)) if weight is None else weight
    facts = [np.flatnonzero(relation == r) for r in np.unique(relation)]
    return [f for f in facts if (weight[f] > 0).sum() >= 2]


def brute_parts(h, relation, weight=None, baseline="relation", pairs=None):
    """S, W, X by loops, within each relation and ordered pair of languages, then equally."""
    weight = np.ones(len(h)) if weight is None else weight
    cells = {"S": [], "W": [], "X": []}
    for facts in relations(relation, weight):
        others = facts if baseline == "relation" else np.arange(len(h))
        two = [(f, g) for f in facts for g in others if f != g]
        w = np.array([weight[f] * weight[g] for f, g in two])
        for a, b in pairs or permutations(range(h.shape[1]), 2):
            cells["S"].append(np.average([cosine(h[f, a], h[f, b]) for f in facts], weights=weight[facts]))
            cells["W"].append(np.average([cosine(h[f, a], h[g, a]) for f, g in two], weights=w))
            cells["X"].append(np.average([cosine(h[f, a], h[g, b]) for f, g in two], weights=w))
    return {name: np.mean(values) for name, values in cells.items()}


def brute_score(h, relation):
    """S - W by loops."""
    parts = brute_parts(h, relation)
    return parts["S"] - parts["W"]


def gram_score(u, relation, weight):
    """S - W of unit vectors by Gram matrices: a pair of facts counts the product of their weights."""
    cells = []
    for facts in relations(relation, weight):
        w, n_languages = weight[facts], u.shape[1]
        apart = np.outer(w, w) * (1 - np.eye(len(w)))
        for a, b in permutations(range(n_languages), 2):
            same = np.average(np.diag(u[facts, a] @ u[facts, b].T), weights=w)
            cells.append(same - np.average(u[facts, a] @ u[facts, a].T, weights=apart))
    return np.mean(cells)


def noise(seed, facts=9, languages=3, d=5, n_relations=2):
    """(h, relation, rng): nothing but noise about a common mean, relations of unequal size."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(facts, languages, d)) + 0.5, rng.integers(0, n_relations, size=facts), rng


def planted(entities=40, seed=0, plant=None, vectors=0) -> Planted:
    plant = Plant() if plant is None else plant
    return draw(plant, fixed(plant, vectors), entities, np.random.default_rng(seed))


def sample_of(data: Planted, seed=0, **kinds) -> Sample:
    rng = np.random.default_rng(seed)
    return draw_sample(data.relation, data.entity, data.h.shape[1], rng, value=data.value, **kinds)


def units(h, how="whole"):
    return unit(centre(h, how))


def without(data: Planted, entity: int) -> Planted:
    kept = data.entity != entity
    return Planted(data.h[kept], data.relation[kept], data.entity[kept], data.value[kept])
