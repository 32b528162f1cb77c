"""The facts that are measured, with their random draws: made once for all layers, checkpoints and measures.

Intervals resample entities, since the facts of one entity share a name. Nulls permute entities, one permutation for
all relations. All places of a scan use the same permutations, so `scan_p` can test the largest value of a scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.measures.statistics import entity_weights

Partners = Sequence[Int[np.ndarray, "language permutation _"]]
ALL_PAIRS = 4  # of so many languages, all pairs are measured
Permuted = Literal["entities", "same value"]


@dataclass(frozen=True)
class Split:
    """Half of the entities, for measures that fit a map on one half and try it on the other.

    Attributes:
        fitted: whether the map is fitted on each fact.
        relations: the relations with held-out facts, in ascending order.
        partners: as a sample's, for these relations and the held-out entities.
    """

    fitted: Bool[np.ndarray, " fact"]
    relations: list[int]
    partners: Partners


@dataclass(frozen=True)
class Sample:
    """Facts measured together.

    Attributes:
        relation: of each fact.
        entity: of each fact; an entity has at most one fact in a relation.
        n_languages: the number of languages.
        value: of each fact in each language; None if no measure needs it.
        weights: bootstrap weights; no rows if all measures use the jackknife.
        partners: by relation in ascending order, which member replaces which under each permutation of entities.
        same_value_partners: the same for permutations of facts with one relation and value; empty without values.
        split: half of the entities, from `draw_split`; None if no measure fits a map.
        ring: where not all pairs of languages are measured, the languages in the order in which neighbours are.
    """

    relation: Int[np.ndarray, " fact"]
    entity: Int[np.ndarray, " fact"]
    n_languages: int
    value: Int[np.ndarray, "fact language"] | None
    weights: Float[np.ndarray, "draw fact"]
    partners: Partners
    same_value_partners: Partners
    split: Split | None = None
    ring: tuple[int, ...] = ()
    _places: dict[tuple[Permuted, int, int, int], Int[np.ndarray, "member permutation"]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def entities(self) -> int:
        """The number of entities."""
        return len(np.unique(self.entity))

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The ordered pairs of languages that are measured."""
        both = {*self.unordered, *((b, a) for a, b in self.unordered)}
        return sorted(both)

    @cached_property
    def unordered(self) -> list[tuple[int, int]]:
        """The same pairs, each once, the smaller number first."""
        if not self.ring:
            return list(combinations(range(self.n_languages), 2))
        neighbours = zip(self.ring, (*self.ring[1:], self.ring[0]), strict=True)
        return sorted((min(pair), max(pair)) for pair in neighbours)

    @property
    def permutations(self) -> int:
        """How many permutations of entities were drawn."""
        return self.partners[0].shape[1]

    def relabelled(self, which: int, a: int, b: int) -> Int[np.ndarray, "permutation member"]:
        """The member of language b that is paired with each member of language a, under each permutation."""
        back = np.argsort(self.partners[which][a], axis=1)
        return np.take_along_axis(self.partners[which][b], back, axis=1)

    def places(
        self, which: int, a: int, b: int, permuted: Permuted = "entities"
    ) -> Int[np.ndarray, "member permutation"]:
        """Where a table of languages a and b, as one row, has the members that each permutation pairs.

        They are kept: every layer, checkpoint and measure asks for the same, and to make them takes longer than to
        gather by them.
        """
        key = (permuted, which, a, b)
        if key not in self._places:
            partner = (self.partners if permuted == "entities" else self.same_value_partners)[which]
            self._places[key] = table_places(partner[a], partner[b])
        return self._places[key]

    @cached_property
    def weights_by_relation(self) -> list["Weighted"]:
        """The bootstrap weights of each relation in `by_relation`."""
        return weighted(self.weights, self.by_relation())

    def by_relation(self) -> list[tuple[Int[np.ndarray, " member"], int]]:
        """Relations of two facts or more: the members (indices of a relation's facts), and its index in `partners`."""
        return self._relations

    @cached_property
    def _relations(self) -> list[tuple[Int[np.ndarray, " member"], int]]:
        relations = [np.flatnonzero(self.relation == r) for r in np.unique(self.relation)]
        return [(members, index) for index, members in enumerate(relations) if len(members) >= 2]


def table_places(
    rows: Int[np.ndarray, "permutation member"], columns: Int[np.ndarray, "permutation member"]
) -> Int[np.ndarray, "member permutation"]:
    """Where a table, as one row, has the entries (row, column) of each permutation.

    They are ordered by the table's rows, so that gathering by them (`score.gathered`) reads one row at a time.
    """
    in_order = np.take_along_axis(columns, np.argsort(rows, axis=1), axis=1)
    return np.ascontiguousarray((np.arange(rows.shape[1]) * rows.shape[1] + in_order).T)


class Weighted(NamedTuple):
    """Weights of a relation's facts in each draw, their squares, and the sums of both."""

    weight: Float[np.ndarray, "draw member"]
    square: Float[np.ndarray, "draw member"]
    total: Float[np.ndarray, " draw"]
    squares: Float[np.ndarray, " draw"]


def weighted(weight: Float[np.ndarray, "draw fact"], relations: list[tuple[np.ndarray, int]]) -> list[Weighted]:
    """The weights of each of some relations (`Sample.by_relation`)."""
    of_members = [np.ascontiguousarray(weight[:, members]) for members, _ in relations]
    return [Weighted(w, w * w, w.sum(axis=1), (w * w).sum(axis=1)) for w in of_members]


def draw_sample(
    relation: Int[np.ndarray, " fact"],
    entity: Int[np.ndarray, " fact"],
    n_languages: int,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    permutations: int = 1000,
    value: Int[np.ndarray, "fact language"] | None = None,
) -> Sample:
    """A sample with its bootstrap weights and permutations. With 0 of them, intervals or nulls are NaN, with a reason.

    Of more languages than ALL_PAIRS, not all pairs are measured, but as many as there are languages: the neighbours on
    a random ring. Each language is in two of them, so that a mean over pairs weighs all languages alike.

    Raises:
        ValueError: there are no facts, or an entity has two facts in one relation.
    """
    if not len(relation):
        raise ValueError("a sample of no facts")
    if len(np.unique(np.stack([relation, entity]), axis=1).T) < len(relation):
        raise ValueError("an entity has two facts in one relation")
    weights = entity_weights(entity, draws, rng).astype(np.float32)
    partners = entity_permutations(entity, relation, n_languages, permutations, rng)
    same_value = value_permutations(value, relation, permutations, rng) if value is not None else []
    # the same in all samples, so that groups, and a run and its null, are compared on the same pairs
    order = np.random.default_rng(n_languages).permutation(n_languages)
    ring = tuple(order.tolist()) if n_languages > ALL_PAIRS else ()
    return Sample(relation, entity, n_languages, value, weights, partners, same_value, ring=ring)


def draw_split(sample: Sample, rng: np.random.Generator) -> Split:
    """A random split of the entities (the smaller half is held out), with as many permutations as the sample has."""
    entities = np.unique(sample.entity)
    fitted = np.isin(sample.entity, rng.permutation(entities)[: (len(entities) + 1) // 2])
    held = ~fitted
    if not held.any():
        return Split(fitted, [], [])
    entity, relation = sample.entity[held], sample.relation[held]
    partners = entity_permutations(entity, relation, sample.n_languages, sample.permutations, rng)
    return Split(fitted, np.unique(relation).tolist(), partners)


def entity_permutations(
    entity: Int[np.ndarray, " fact"],
    relation: Int[np.ndarray, " fact"],
    n_languages: int,
    draws: int,
    rng: np.random.Generator,
) -> list[Int[np.ndarray, "language permutation _"]]:
    """Random permutations of entities, one for each language except the first, and the same in all relations.

    If the permutation leads to an entity without a fact in a relation, it is applied again until it leads to one with a
    fact. This gives a permutation of the relation's entities that is uniform too.

    Returns:
        For each relation in ascending order, indices among the relation's facts by (language, draw, member); the first
        language is not permuted.
    """
    _, index = np.unique(entity, return_inverse=True)
    n = int(index.max()) + 1
    shape = (n_languages - 1, draws, n)
    permutation = rng.permuted(np.broadcast_to(np.arange(n), shape).reshape(-1, n), axis=1)
    partners = []
    for r in np.unique(relation):
        members = index[relation == r]
        member_of = np.full(n, -1)
        member_of[members] = np.arange(len(members))
        target = permutation[:, members]
        while (outside := member_of[target] < 0).any():
            row, _ = np.nonzero(outside)
            target[outside] = permutation[row, target[outside]]
        themselves = np.broadcast_to(np.arange(len(members)), (1, draws, len(members)))
        partners.append(np.concatenate([themselves, member_of[target].reshape(n_languages - 1, draws, len(members))]))
    return partners


def value_permutations(
    value: Int[np.ndarray, "fact language"],
    relation: Int[np.ndarray, " fact"],
    draws: int,
    rng: np.random.Generator,
) -> list[Int[np.ndarray, "language permutation _"]]:
    """Random permutations of facts with the same relation and value, in the form of `entity_permutations`.

    Each relation has its own permutations, since entities that share a value in one relation need not in another.
    """
    partners = []
    for r in np.unique(relation):
        values = value[relation == r]
        n = len(values)
        rows = [np.broadcast_to(np.arange(n), (draws, n))]
        for a in range(1, value.shape[1]):
            in_order = np.argsort(values[:, a], kind="stable")
            # within each value, members in random order replace members in sorted order
            shuffled = np.argsort(values[in_order, a] + rng.random((draws, n)), axis=1)
            row = np.empty((draws, n), dtype=np.intp)
            row[:, in_order] = in_order[shuffled]
            rows.append(row)
        partners.append(np.stack(rows))
    return partners
