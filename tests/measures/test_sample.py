"""What is drawn about a sample: whole entities, coherent permutations, permutations that keep the value."""

import numpy as np
import pytest

from mechxl.measures.checkerboard import checkerboard
from mechxl.measures.cka import cka
from mechxl.measures.retrieval import retrieval
from mechxl.measures.sample import draw_sample, entity_permutations, value_permutations
from mechxl.measures.score import score
from mechxl.measures.vectors import unit
from tests.measures.brute import planted, sample_of


def test_entity_permutations_permute_each_relation_by_one_permutation_of_entities():
    rng = np.random.default_rng(5)
    entity = np.array([0, 1, 2, 3, 4, 5, 0, 2, 4, 7, 9])
    relation = np.array([0] * 6 + [1] * 5)
    partners = entity_permutations(entity, relation, 3, 400, rng)
    for r, (themselves, partner, another) in enumerate(partners):
        members = entity[relation == r]
        assert (themselves == np.arange(len(members))).all()
        assert (np.sort(partner, axis=1) == np.arange(len(members))).all()
        assert (partner != another).any()
        # uniform: each member is each other's partner equally often (400 draws, binomial standard error below .025)
        share = np.mean(partner[:, :, None] == np.arange(len(members)), axis=0)
        assert np.abs(share - 1 / len(members)).max() < 0.11
    # coherent: where both an entity and its partner have facts in both relations, and nobody was skipped, they agree
    full = entity_permutations(np.tile(np.arange(5), 2), np.repeat([0, 1], 5), 2, 50, rng)
    assert (full[0] == full[1]).all()


def test_value_permutations_keep_the_value_in_each_language_and_are_uniform_within_it():
    rng = np.random.default_rng(0)
    value = rng.integers(0, 3, size=(12, 2))
    relation = np.repeat([0, 1], 6)
    for r, partner in enumerate(value_permutations(value, relation, 3000, rng)):
        of = value[relation == r]
        assert (partner[0] == np.arange(6)).all()
        assert (np.sort(partner[1], axis=1) == np.arange(6)).all()
        assert (of[partner[1], 1] == of[:, 1]).all()
        share = np.mean(partner[1][:, :, None] == np.arange(6), axis=0)
        same = of[:, 1][:, None] == of[:, 1]
        # 3,000 draws: four binomial standard errors are at most .037
        assert share == pytest.approx(same / same.sum(axis=1, keepdims=True), abs=0.037)


def test_relabelled_puts_the_vectors_of_two_permuted_languages_beside_each_other():
    data = planted(entities=7)
    sample = draw_sample(data.relation, data.entity, 3, np.random.default_rng(0), draws=1, permutations=4)
    for which, partner in enumerate(sample.partners):
        found = sample.relabelled(which, 1, 2)
        for k in range(4):
            beside = dict(zip(partner[1][k], partner[2][k], strict=True))
            assert [beside[member] for member in range(7)] == found[k].tolist()


def test_the_same_generator_draws_the_same_sample_and_weights_are_of_whole_entities():
    data = planted(entities=10)
    one, two = (sample_of(data, seed=3, draws=20, permutations=5) for _ in range(2))
    assert (one.weights == two.weights).all()
    assert all((a == b).all() for a, b in zip(one.partners, two.partners, strict=True))
    by_relation = one.weights.reshape(20, 4, 10)
    assert (by_relation == by_relation[:, :1]).all()
    assert (by_relation.sum(axis=2) == 10).all()
    assert (one.entities, one.permutations, one.pairs) == (10, 5, [(0, 1), (1, 0)])


def test_of_many_languages_neighbours_on_a_ring_are_measured_and_the_score_is_their_mean():
    data = planted(entities=12)
    h = np.random.default_rng(0).normal(size=(len(data.relation), 7, 5))
    sample = draw_sample(data.relation, data.entity, 7, np.random.default_rng(1), draws=3, permutations=2)
    assert len(sample.unordered) == 7
    assert sorted(language for pair in sample.unordered for language in pair) == sorted([*range(7)] * 2)
    assert set(sample.pairs) == {*sample.unordered, *((b, a) for a, b in sample.unordered)}
    u = unit(h)
    found = score(u, sample)
    for a, b in sample.pairs:
        of_relations = [(u[data.relation == r, a] * u[data.relation == r, b]).sum(axis=1) for r in range(4)]
        brute = np.mean([same.mean() for same in of_relations])
        assert found["S"].pairs[a, b].value == pytest.approx(brute, abs=1e-12)
    assert found["S"].pooled.value == pytest.approx(np.mean([one.value for one in found["S"].pairs.values()]))
    for measure in (retrieval, cka, checkerboard):
        result = measure(u, sample)
        assert set((result["mexa"] if isinstance(result, dict) else result).pairs) == set(sample.pairs)


def test_bad_samples_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no facts"):
        draw_sample(np.zeros(0, dtype=int), np.zeros(0, dtype=int), 2, rng)
    with pytest.raises(ValueError, match="two facts in one relation"):
        draw_sample(np.array([0, 0, 1]), np.array([5, 5, 5]), 2, rng)
