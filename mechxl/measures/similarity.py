"""The unification score and its parts, with intervals over entities and a permutation null.

Our implementation, following the published description (Blum et al. 2025): Score = S - W, where

    S = mean cos(h(f, a), h(f, b)), a != b         the same fact in two languages
    W = mean cos(h(f, a), h(g, a)), f != g         two facts of one relation in the same language
    X = mean cos(h(f, a), h(g, b)), f != g, a != b  two facts of one relation in two languages

Means are taken within a relation and pair of languages, then equally over these. The score is fact alignment (S - X)
minus language separation (W - X), ranges from -2 to 2, and needs all three to be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int

Number = TypeVar("Number", float, np.ndarray)
CENTRINGS = ("none", "whole", "per_language")


@dataclass(frozen=True)
class Parts(Generic[Number]):
    """S, W and X, as numbers or as one number a draw."""

    S: Number
    W: Number
    X: Number

    @property
    def score(self) -> Number:
        """S - W. About 1: languages coincide; 0: the same fact in the other language is no closer than another
        fact in this one, negative where the language dominates."""
        return self.S - self.W

    @property
    def alignment(self) -> Number:
        """S - X: how much closer the same fact is than another, across languages."""
        return self.S - self.X

    @property
    def separation(self) -> Number:
        """W - X: how much closer two facts are within a language than across."""
        return self.W - self.X


def centre(h: Float[np.ndarray, "fact language d"], how: str) -> Float[np.ndarray, "fact language d"]:
    """Subtracts a mean from the vectors.

    Args:
        h: activations of the group that is measured, all its relations and languages.
        how: none; whole (one mean over facts and languages); per_language (a mean for each language, which hides a
            constant offset between the languages).

    Raises:
        ValueError: another word.
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
    """Why S, W and X measure no facts here; empty where they do.

    They do not where some relation's facts all have one vector (layer 0 at the relation's token), nor where no
    relation has two facts, or there is one language.
    """
    if h.shape[1] < 2:
        return "one language"
    sizes = np.bincount(relation)
    if not (sizes >= 2).any():
        return "no relation has two facts"
    for r in np.flatnonzero(sizes >= 2):
        of_relation = h[relation == r]
        if (of_relation == of_relation[:1]).all(axis=(0, 2)).any():
            return "every fact of a relation has one vector here by construction"
    return ""


def score_parts(u: Float[np.ndarray, "fact language d"], relation: Int[np.ndarray, " fact"]) -> Parts[float]:
    """S, W and X of unit vectors; relations with one fact are left out."""
    parts = weighted_parts(u, relation, np.ones((1, len(u))))
    return Parts(*(float(np.squeeze(value)) for value in (parts.S, parts.W, parts.X)))


def weighted_parts(
    u: Float[np.ndarray, "fact language d"],
    relation: Int[np.ndarray, " fact"],
    weight: Float[np.ndarray, "draw fact"],
) -> Parts[np.ndarray]:
    """S, W and X with facts counted by weight, for many sets of weights at once.

    A pair (f, g), f != g, counts w_f w_g, so that under bootstrap weights a fact is never paired with its own copy.
    The sums over pairs are had from sums over facts: sum over f != g of w_f w_g u_f.u_g = |sum w u|^2 - sum w^2 |u|^2.

    Args:
        u: unit vectors.
        relation: of each fact.
        weight: a row of weights a draw. A draw that leaves a relation with less than two facts leaves that relation
            out.
    """
    languages = range(u.shape[1])
    rows: dict[str, list[Float[np.ndarray, " draw"]]] = {"S": [], "W": [], "X": []}
    for r in np.unique(relation):
        place = np.flatnonzero(relation == r)
        if len(place) < 2:
            continue
        w, v = weight[:, place], u[place]
        w2 = w * w
        total = w.sum(axis=1)
        pairs = total**2 - w2.sum(axis=1)
        defined = pairs > 1e-9
        pairs = np.where(defined, pairs, np.nan)
        total = np.where(defined, total, np.nan)
        sums = [w @ v[:, a] for a in languages]
        for a in languages:
            rows["W"].append(((sums[a] ** 2).sum(axis=1) - w2 @ (v[:, a] ** 2).sum(axis=1)) / pairs)
        for a, b in combinations(languages, 2):
            same = (v[:, a] * v[:, b]).sum(axis=1)
            rows["S"].append(w @ same / total)
            rows["X"].append(((sums[a] * sums[b]).sum(axis=1) - w2 @ same) / pairs)
    return Parts(**{name: _mean_defined(np.stack(values)) for name, values in rows.items()})


def _mean_defined(cells: Float[np.ndarray, "cell draw"]) -> Float[np.ndarray, " draw"]:
    """The mean over the cells that are numbers; NaN for a draw that has none."""
    with np.errstate(invalid="ignore"):
        return np.nansum(cells, axis=0) / np.isfinite(cells).sum(axis=0)


def permuted_same(
    u: Float[np.ndarray, "fact language d"],
    relation: Int[np.ndarray, " fact"],
    partners: Sequence[Int[np.ndarray, "language draw member"]],
) -> Float[np.ndarray, " draw"]:
    """S with entities relabelled in each language by itself: the null of S = X.

    Args:
        u: unit vectors.
        relation: of each fact.
        partners: for each relation in ascending order, who stands for whom, as `entity_permutations` gives it.
    """
    values = []
    for r, partner in zip(np.unique(relation), partners, strict=True):
        place = np.flatnonzero(relation == r)
        if len(place) < 2:
            continue
        for a, b in combinations(range(u.shape[1]), 2):
            gram = u[place, a] @ u[place, b].T
            values.append(gram[partner[a], partner[b]].mean(axis=1))
    return np.mean(values, axis=0)


def entity_permutations(
    entity: Int[np.ndarray, " fact"],
    relation: Int[np.ndarray, " fact"],
    n_languages: int,
    draws: int,
    rng: np.random.Generator,
) -> list[Int[np.ndarray, "language draw member"]]:
    """Random relabellings of entities, one for each language but the first, and the same in all relations.

    Where an entity has no fact in a relation (of the group measured), the permutation is followed on until it meets one
    that has: the permutation that is induced on the relation's entities, which is uniform too.

    Returns:
        For each relation in ascending order, indices among the relation's facts by (language, draw, member); in the
        first language everyone stands for themselves.
    """
    _, index = np.unique(entity, return_inverse=True)
    n = int(index.max()) + 1
    shape = (n_languages - 1, draws, n)
    permutation = rng.permuted(np.broadcast_to(np.arange(n), shape).reshape(-1, n), axis=1)
    partners = []
    for r in np.unique(relation):
        members = index[relation == r]
        place = np.full(n, -1)
        place[members] = np.arange(len(members))
        target = permutation[:, members]
        while (outside := place[target] < 0).any():
            row, _ = np.nonzero(outside)
            target[outside] = permutation[row, target[outside]]
        themselves = np.broadcast_to(np.arange(len(members)), (1, draws, len(members)))
        partners.append(np.concatenate([themselves, place[target].reshape(n_languages - 1, draws, -1)]))
    return partners


def cosine_matrix(h: Float[np.ndarray, "fact language d"]) -> Float[np.ndarray, "rendering rendering"]:
    """The checkerboard: cosines of all renderings, language by language; 0 for vectors of length 0."""
    flat = h.transpose(1, 0, 2).reshape(-1, h.shape[2])
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    u = flat / np.where(length > 0, length, 1)
    return u @ u.T
