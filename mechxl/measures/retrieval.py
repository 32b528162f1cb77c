"""Retrieval within a relation: is a fact's nearest vector in the other language its own?

    retrieval(a, b) = mean over f of 1{no g has cos(h(f, a), h(g, b)) > own + 1e-6} / (how many are within 1e-6 of own)
    mexa(a, b) = mean over f of 1{own exceeds every cos(h(f, a), h(g, b)) and cos(h(g, a), h(f, b)), g != f, by 1e-6}

with own = cos(h(f, a), h(f, b)) and g in f's relation. Both lie in [0, 1]; means over relations and ordered pairs.
Retrieval is the mutual-translation accuracy of the literature (f is the query, b's facts are the gallery). MEXA is
Kargaran et al. 2024, eq. 1, with the margin that float32 needs. Their chance levels are 1/n and 1/(2n - 1) for n facts
in a relation, so they fall with n: compare only equal n. Vectors that hold only the value reach n_values / n
(`references`).

What they cannot see: how much nearer the own vector is (a rank ignores the languages' scale and offset); whether the
fact is found or only its name.

Intervals: entities can't be drawn with replacement into the gallery. A bootstrap sample holds 63 % of them, and some
twice, so it would measure another quantity. Only queries are resampled, with the whole gallery. Leaving out each entity
as query gives a variance. It becomes Wilson's interval, since shares are often near 0 or 1; its n is the number of
facts with that variance (at most all facts; if the variance is 0, the entities). Leaving entities out of the gallery
too was worse: 30 % too wide instead of 15 to 19 %. Retrieval's intervals cover the truth in 98 to 99 % of planted
samples, MEXA's in 95 to 97; MEXA's test at 5 % rejects 3 % if all is chance (docs/measures.md).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechxl.measures.measurement import Measurement, by_place, estimate_places, not_defined
from mechxl.measures.sample import Sample
from mechxl.measures.score import gathered
from mechxl.measures.statistics import jackknife_variance, wilson_ends
from mechxl.measures.vectors import undefined

MARGIN = 1e-6  # cosines that differ by less are ties: it is the error of a float32 product
NAMES = ("retrieval", "mexa")


@dataclass(frozen=True)
class References:
    """Reference values: retrieval without knowledge of facts.

    Attributes:
        retrieval_chance: for a random order: the mean over relations of 1/n.
        mexa_chance: the same for the MEXA form, 1/(2n - 1).
        value_code: retrieval if vectors hold the value and nothing else; NaN for a sample without values.
    """

    retrieval_chance: float
    mexa_chance: float
    value_code: float


def references(sample: Sample) -> References:
    """Chance, and retrieval from the value alone: the mean over f of 1 / (number of facts with f's value), or 0 if
    f has another value in the searched language. NaN if no relation has two facts, or there are no values."""
    sizes = np.array([len(members) for members, _ in sample.by_relation()], dtype=float)
    if not len(sizes) or sample.n_languages < 2:
        return References(np.nan, np.nan, np.nan)
    code = np.nan
    if sample.value is not None:
        values = [sample.value[members] for members, _ in sample.by_relation()]
        code = np.mean([_value_code(v[:, a], v[:, b]) for v in values for a, b in sample.pairs])
    return References(float((1 / sizes).mean()), float((1 / (2 * sizes - 1)).mean()), float(code))


def _value_code(asked: Int[np.ndarray, " member"], answered: Int[np.ndarray, " member"]) -> float:
    sharing = (asked[:, None] == answered).sum(axis=1)
    return float(np.where(asked == answered, 1 / np.maximum(sharing, 1), 0).mean())


def retrieval(u: Float[np.ndarray, "fact language d"], sample: Sample) -> dict[str, Measurement]:
    """Retrieval and its MEXA form, by these names.

    Args:
        u: unit vectors, centred as the caller chooses.
        sample: the facts of these vectors.
    """
    if reason := undefined(u, sample.relation):
        return dict.fromkeys(NAMES, not_defined(sample, reason))
    entities, index = np.unique(sample.entity, return_inverse=True)
    relations, pairs = sample.by_relation(), sample.pairs
    shape = (2, len(relations), len(pairs))  # retrieval, mexa
    value, deleted = np.empty(shape), np.empty((*shape, len(entities)))
    null = np.empty((*shape, sample.permutations))
    for i, (members, which) in enumerate(relations):
        v, n = u[members].astype(np.float32), len(members)
        for a, b in sample.unordered:
            cos = v[:, a] @ v[:, b].T
            forth, back = pairs.index((a, b)), pairs.index((b, a))
            for k, pair, hits in ((0, forth, asked(cos)), (0, back, asked(cos.T)), (1, forth, mutual(cos))):
                value[k, i, pair] = deleted[k, i, pair] = hits.mean()
                deleted[k, i, pair, index[members]] = (hits.sum() - hits) / (n - 1)
            if sample.permutations:
                places = sample.places(which, a, b)
                for k, pair, table in (
                    (0, forth, nearest(cos)),
                    (0, back, nearest(cos.T).T),
                    (1, forth, strictly_largest(cos)),
                ):
                    null[k, i, pair] = gathered(table, places)
            value[1, i, back], deleted[1, i, back], null[1, i, back] = (x[1, i, forth] for x in (value, deleted, null))
    measurements = {}
    for k, name in enumerate(NAMES):
        shares = by_place(value[k])
        asking = sum(len(members) for members, _ in relations)
        ends = wilson_ends(shares, jackknife_variance(by_place(deleted[k])), asking, len(entities))
        measurements[name] = estimate_places(
            sample, shares, ends, by_place(null[k]), reason="no relation has two facts"
        )
    return measurements


def nearest(cos: Float[np.ndarray, "member member"]) -> Float[np.ndarray, "member member"]:
    """1 / (number of ties) if the column is among the row's nearest, within the margin; else 0."""
    near = cos >= cos.max(axis=1, keepdims=True) - MARGIN
    return near / near.sum(axis=1, keepdims=True, dtype=np.float32)


def strictly_largest(cos: Float[np.ndarray, "member member"]) -> Float[np.ndarray, "member member"]:
    """1 if an entry exceeds all others of its row and of its column by more than the margin; else 0."""
    near_row = cos >= cos.max(axis=1, keepdims=True) - MARGIN
    near_column = cos >= cos.max(axis=0) - MARGIN
    alone = (near_row.sum(axis=1) == 1)[:, None] & (near_column.sum(axis=0) == 1)
    return (near_row & near_column & alone).astype(np.float32)


def asked(cos: Float[np.ndarray, "member member"]) -> Float[np.ndarray, " member"]:
    """For each row, 1 / (number of ties) if no column is nearer than its own; else 0."""
    own = np.diag(cos)[:, None]
    ties = (cos >= own - MARGIN).sum(axis=1)  # its own column is one of them
    return np.where((cos > own + MARGIN).any(axis=1), 0, 1 / ties)


def mutual(cos: Float[np.ndarray, "member member"]) -> Float[np.ndarray, " member"]:
    """For each member, 1 if its own entry exceeds all others of its row and of its column; else 0."""
    own = np.diag(cos)[:, None]
    return ((np.maximum(cos, cos.T) >= own - MARGIN).sum(axis=1) == 1).astype(float)
