"""Retrieval and its MEXA form against loops, chance, and a code of the value."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechxl.measures.retrieval import references, retrieval
from mechxl.measures.sample import draw_sample
from mechxl.measures.vectors import unit
from tests.measures.brute import brute_score, cosine, noise, planted, relations, sample_of, units


def brute(h, relation, pairs=None):
    """By loops; ties within 1e-6."""
    found = {"retrieval": [], "mexa": []}
    for facts in relations(relation):
        for a, b in pairs or permutations(range(h.shape[1]), 2):
            hits, mutual = [], []
            for f in facts:
                own = cosine(h[f, a], h[f, b])
                there = [cosine(h[f, a], h[g, b]) for g in facts if g != f]
                back = [cosine(h[g, a], h[f, b]) for g in facts if g != f]
                ties = 1 + sum(abs(c - own) <= 1e-6 for c in there)
                hits.append(0 if max(there) > own + 1e-6 else 1 / ties)
                mutual.append(own > max(there + back) + 1e-6)
            found["retrieval"].append(np.mean(hits))
            found["mexa"].append(np.mean(mutual))
    return {name: np.mean(values) for name, values in found.items()}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 3), st.integers(1, 3))
def test_retrieval_equals_brute_force_pooled_and_by_pair(seed, languages, n_relations):
    h, relation, rng = noise(seed, facts=12, languages=languages, d=2, n_relations=n_relations)
    h[3], h[5, 1] = h[4], h[6, 1]  # ties, of a fact with another and among those searched
    relation[:7] = 0
    sample = draw_sample(relation, np.arange(12), languages, rng, draws=1, permutations=2)
    found = retrieval(unit(h), sample)
    assert {name: one.pooled.value for name, one in found.items()} == pytest.approx(brute(h, relation))
    for pair in sample.pairs:
        assert {name: one.pairs[pair].value for name, one in found.items()} == pytest.approx(brute(h, relation, [pair]))


def test_the_null_is_retrieval_of_relabelled_vectors():
    data = planted(entities=9)
    h = data.h.copy()
    h[4, 1] = h[5, 1]
    sample = sample_of(data, draws=0, permutations=6)
    found = retrieval(unit(h), sample)
    for k in range(6):
        moved = h.copy()
        for (place, _), partner in zip(sample.by_relation(), sample.partners, strict=True):
            moved[place] = np.stack([h[place[partner[a, k]], a] for a in range(2)], axis=1)
        expected = brute(moved, data.relation)
        assert {name: one.null[k] for name, one in found.items()} == pytest.approx(expected, abs=1e-6)


def test_the_variance_is_that_of_leaving_out_who_asks_before_all_competitors():
    """Wilson's interval of the jackknife's n, from hits by loops."""
    data = planted(entities=20)
    u = units(data.h)
    hits = np.zeros((len(u), 2))
    for facts in relations(data.relation):
        for f in facts:
            for a, b in ((0, 1), (1, 0)):
                hits[f, a] = all(u[f, a] @ u[f, b] >= u[f, a] @ u[g, b] for g in facts)
    without = [hits[data.entity != entity].mean() for entity in range(20)]
    p, variance = hits.mean(), 19 / 20 * ((np.array(without) - np.mean(without)) ** 2).sum()
    n, z2 = min(p * (1 - p) / variance, 80), 2.093024**2  # t of 19 degrees of freedom
    middle, half = (p + z2 / 2 / n) / (1 + z2 / n), np.sqrt(z2 * (p * (1 - p) / n + z2 / 4 / n**2)) / (1 + z2 / n)
    found = retrieval(u, sample_of(data, draws=0, permutations=1))["retrieval"].pooled
    assert (found.value, found.low, found.high) == pytest.approx((p, middle - half, middle + half), abs=1e-5)


def test_a_bootstrapped_gallery_is_another_quantity():
    """Why entities are not drawn with replacement as competitors: their copies leave fewer, and retrieval rises."""
    data = planted(entities=60)
    u, rng = units(data.h), np.random.default_rng(0)
    drawn = []
    for _ in range(20):
        kept = np.isin(data.entity, rng.integers(0, 60, size=60))
        sample = draw_sample(data.relation[kept], data.entity[kept], 2, rng, draws=0, permutations=0)
        drawn.append(retrieval(u[kept], sample)["retrieval"].pooled.value)
    found = retrieval(u, sample_of(data, draws=0, permutations=1))["retrieval"].pooled
    assert np.mean(drawn) > found.value + 0.04
    assert np.mean(np.array(drawn) > found.value) > 0.9


def test_noise_is_at_chance_and_inside_its_null():
    rng = np.random.default_rng(0)
    n = 200
    sample = draw_sample(np.zeros(n, dtype=int), np.arange(n), 2, rng, draws=0, permutations=999)
    found, chance = retrieval(unit(rng.normal(size=(n, 2, 32))), sample), references(sample)
    assert chance.retrieval_chance == 1 / n
    assert chance.mexa_chance == 1 / (2 * n - 1)
    assert np.isnan(chance.value_code)
    # the null's mean is chance, to its error over 999 permutations (of means whose standard deviation is 1 / n)
    assert found["retrieval"].pooled.null == pytest.approx(1 / n, abs=4 / n / np.sqrt(999))
    assert found["mexa"].pooled.null == pytest.approx(1 / (2 * n - 1), abs=4 / n / np.sqrt(999))
    assert found["retrieval"].pooled.p > 0.05
    assert found["retrieval"].pooled.low < 1 / n < found["retrieval"].pooled.high


def test_a_code_of_the_value_reaches_values_over_facts_and_no_mexa():
    """What retrieval cannot see: that vectors tell the answer only."""
    rng = np.random.default_rng(0)
    relation, entity = np.repeat([0, 1], 40), np.tile(np.arange(40), 2)
    value = np.repeat(rng.integers(0, 8, size=80)[:, None], 2, axis=1)
    code = rng.normal(size=(2, 8, 16))[relation, value[:, 0]]
    sample = draw_sample(relation, entity, 2, rng, draws=0, permutations=9, value=value)
    found = retrieval(unit(np.repeat(code[:, None], 2, axis=1)), sample)
    distinct = [len(np.unique(value[relation == r])) / 40 for r in (0, 1)]
    assert found["retrieval"].pooled.value == pytest.approx(np.mean(distinct))
    assert references(sample).value_code == pytest.approx(np.mean(distinct))
    alone = [np.mean([(value[relation == r, 0] == v).sum() == 1 for v in value[relation == r, 0]]) for r in (0, 1)]
    assert found["mexa"].pooled.value == pytest.approx(np.mean(alone))
    assert np.mean(alone) < 0.03


def test_a_code_of_values_that_differ_between_languages_finds_other_facts():
    value = np.array([[0, 1], [1, 0], [2, 2], [2, 3]])
    sample = draw_sample(np.zeros(4, dtype=int), np.arange(4), 2, np.random.default_rng(0), value=value)
    code = np.eye(4)[value]
    # from language 0: facts 0 and 1 find each other, 2 itself, 3 finds 2; and back: 3 finds none (all equally far)
    assert references(sample).value_code == pytest.approx((1 / 4 + 1 / 2 / 4) / 2)
    assert retrieval(code, sample)["retrieval"].pairs[0, 1].value == pytest.approx(1 / 4)


def test_retrieval_does_not_see_that_the_languages_lie_far_apart():
    """All facts are found, though any two of one language are nearer than a fact to itself: the score is -1.4."""
    rng = np.random.default_rng(0)
    facts = unit(rng.normal(size=(25, 1, 16)))
    offset = np.broadcast_to(np.array([-2.0, 2.0])[:, None], (25, 2, 1))
    u = unit(np.concatenate([np.repeat(facts, 2, axis=1), offset], axis=2))
    relation = np.zeros(25, dtype=int)
    found = retrieval(u, draw_sample(relation, np.arange(25), 2, rng, draws=0, permutations=1))
    assert (found["retrieval"].pooled.value, found["mexa"].pooled.value) == (1, 1)
    assert brute_score(u, relation) == pytest.approx(-1.4, abs=0.05)
    # 25 entities: no more is known than their number allows
    assert found["retrieval"].pooled.low < 0.9
    assert found["retrieval"].pooled.high == 1
