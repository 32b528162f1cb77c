"""The score and its parts against brute force over pairs, planted truth, and known failures."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from analyses.planted import Plant, fixed, population_parts
from mechxl.measures.sample import draw_sample, entity_permutations
from mechxl.measures.score import NAMES, normalised, permuted_same, score, score_parts, weighted_parts
from mechxl.measures.vectors import centre, unit
from tests.measures.brute import brute_parts, cosine, noise, planted, sample_of, units


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 3))
def test_parts_equal_brute_force(seed, languages, relations):
    h, relation, _ = noise(seed, languages=languages, n_relations=relations)
    if (np.bincount(relation) < 2).all():
        return
    parts, brute = score_parts(unit(h), relation), brute_parts(h, relation)
    for name, value in brute.items():
        assert getattr(parts, name) == pytest.approx(value, abs=1e-12)
    assert parts.score == pytest.approx(parts.alignment - parts.separation, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_count_pairs_of_facts_and_never_a_fact_with_itself(seed):
    h, relation, rng = noise(seed, facts=8, languages=2)
    relation[:4] = [0, 0, 1, 1]
    weight = rng.integers(0, 3, size=(3, len(h))).astype(float)
    weight[:, :4] = 1.0
    parts = weighted_parts(unit(h), relation, weight)
    for draw, w in enumerate(weight):
        for name, value in brute_parts(h, relation, w).items():
            assert getattr(parts, name)[draw] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("baseline", ["relation", "any"])
def test_pooled_and_each_pair_with_either_baseline_equal_brute_force(baseline):
    h, relation, rng = noise(3, facts=12, languages=3, n_relations=3)
    relation[:6] = [0, 0, 1, 1, 2, 2]
    sample = draw_sample(relation, np.arange(12), 3, rng, draws=4, permutations=3)
    found = score(unit(h), sample, baseline)
    pooled = brute_parts(h, relation, baseline=baseline)
    assert {name: found[name].pooled.value for name in "SWX"} == pytest.approx(pooled, abs=1e-12)
    for pair in sample.pairs:
        brute = brute_parts(h, relation, baseline=baseline, pairs=[pair])
        assert {name: found[name].pairs[pair].value for name in "SWX"} == pytest.approx(brute, abs=1e-12)
        assert found["score"].pairs[pair].value == pytest.approx(brute["S"] - brute["W"], abs=1e-12)


@pytest.mark.parametrize("baseline", ["relation", "any"])
def test_null_parts_are_the_parts_of_relabelled_vectors(baseline):
    data = planted(entities=6)
    sample = sample_of(data, draws=1, permutations=5)
    null = {name: found.null for name, found in score(units(data.h), sample, baseline).items()}
    for k in range(5):
        h = centre(data.h, "whole").copy()
        for (place, _), partner in zip(sample.measured(), sample.partners, strict=True):
            h[place] = np.stack([h[place[partner[a, k]], a] for a in range(2)], axis=1)
        brute = brute_parts(h, data.relation, baseline=baseline)
        for name in "SWX":
            assert null[name][k] == pytest.approx(brute[name], abs=1e-9)
        assert null["alignment"][k] == pytest.approx(brute["S"] - brute["X"], abs=1e-9)


def test_the_interval_is_of_bootstrap_weights_by_the_formula_of_the_parts():
    data = planted(entities=30)
    sample = sample_of(data, draws=200, permutations=1)
    u = units(data.h)
    drawn = weighted_parts(u, data.relation, sample.weights.astype(float))
    estimate = score(u, sample)["score"].pooled
    # expanded from .025 and .975: Phi(-+ sqrt(30 / 29) 2.0452)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(drawn.score, [0.01867, 0.98133])), abs=1e-4)


def test_parts_come_to_the_population_values():
    plant = Plant()
    data = planted(entities=3000, plant=plant)
    truth = population_parts(plant, fixed(plant), facts=60_000)
    parts = score_parts(units(data.h), data.relation)
    # standard errors of 3,000 entities are below .003
    assert {name: getattr(parts, name) for name in "SWX"} == pytest.approx({n: truth[n] for n in "SWX"}, abs=0.01)


def test_languages_that_coincide_score_one_minus_within():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(200, 1, 64))
    parts = score_parts(unit(centre(np.repeat(one, 2, axis=1), "whole")), np.zeros(200, dtype=int))
    assert pytest.approx(1) == parts.S
    assert pytest.approx(parts.X) == parts.W
    assert parts.score == pytest.approx(1, abs=0.02)


def test_languages_that_coincide_in_a_narrow_cone_score_0_and_normalised_1():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(50, 1, 16)) + 10
    sample = draw_sample(np.zeros(50, dtype=int), np.arange(50), 2, rng, draws=20, permutations=20)
    found = score(units(np.repeat(one, 2, axis=1), "none"), sample)
    assert found["score"].pooled.value < 0.05
    assert found["normalised"].pooled.value == pytest.approx(1)


def test_normalised_is_nan_with_its_reason_where_all_facts_are_one_direction():
    rng = np.random.default_rng(0)
    h = np.ones((20, 2, 8)) + 1e-5 * rng.normal(size=(20, 2, 8))
    found = score(unit(h), draw_sample(np.zeros(20, dtype=int), np.arange(20), 2, rng, draws=5, permutations=5))
    assert np.isnan(found["normalised"].pooled.value)
    assert "1 - W" in found["normalised"].pooled.reason
    assert found["score"].pooled.reason == ""
    assert np.isnan(normalised(np.array([1.0]), np.array([1.0]))).all()


def test_an_orthogonal_map_of_one_language_lowers_the_score():
    rng = np.random.default_rng(1)
    one = rng.normal(size=(300, 64))
    turned = one @ ortho_group.rvs(64, random_state=2)
    parts = score_parts(unit(centre(np.stack([one, turned], axis=1), "whole")), np.zeros(300, dtype=int))
    assert abs(parts.score) < 0.05


def test_centring_per_language_hides_a_constant_offset_between_the_languages():
    rng = np.random.default_rng(2)
    one = rng.normal(size=(300, 1, 32))
    apart = np.concatenate([one, one + 3.0], axis=1)
    relation = np.zeros(300, dtype=int)
    whole = score_parts(unit(centre(apart, "whole")), relation).score
    hidden = score_parts(unit(centre(apart, "per_language")), relation).score
    assert whole < -0.5
    assert hidden == pytest.approx(1, abs=0.02)


def test_the_baseline_of_any_relation_counts_sharing_a_relation_as_sharing_a_fact():
    """Vectors that tell the relation and nothing else of the facts: no score, but one against any relation."""
    rng = np.random.default_rng(4)
    relation, entity = np.repeat(np.arange(4), 30), np.tile(np.arange(30), 4)
    h = 3 * rng.normal(size=(4, 1, 16))[relation] + rng.normal(size=(120, 2, 16))
    sample = draw_sample(relation, entity, 2, rng, draws=5, permutations=5)
    same, of_any = (score(units(h), sample, baseline)["score"].pooled.value for baseline in ("relation", "any"))
    assert abs(same) < 0.05
    assert of_any > 0.5


def test_a_shared_name_scores_like_a_shared_fact():
    """What the score cannot see: facts of an entity share its name and nothing else, and S - X is as high."""
    name = planted(plant=Plant(shared_entity=1, own_entity=0, shared_fact=0, value=0))
    fact = planted(plant=Plant(shared_entity=0, own_entity=0, shared_fact=1, value=0))
    of_name, of_fact = (score_parts(units(data.h), data.relation).alignment for data in (name, fact))
    assert of_name == pytest.approx(of_fact, abs=0.05)
    assert of_name > 0.4


def test_the_permuted_mean_of_the_score_is_x_minus_w_and_not_zero():
    rng = np.random.default_rng(6)
    language = np.array([[1.0] * 16, [-1.0] * 16])
    h = rng.normal(size=(60, 2, 16)) + 2 * language
    relation, entity = np.repeat([0, 1], 30), np.tile(np.arange(30), 2)
    u = unit(centre(h, "whole"))
    parts = score_parts(u, relation)
    null = permuted_same(u, relation, entity_permutations(entity, relation, 2, 2000, rng)) - parts.W
    # S under permutation averages S and X in the ratio 1 : n - 1, as a fact keeps its own partner once in n
    expected = (parts.S + 29 * parts.X) / 30 - parts.W
    assert null.mean() == pytest.approx(expected, abs=4 * null.std() / np.sqrt(2000))
    assert null.mean() < -0.5
    found = score(u, draw_sample(relation, entity, 2, rng, draws=1))
    assert found["score"].pooled.null == pytest.approx(expected, abs=0.01)
    assert found["alignment"].pooled.null == pytest.approx(0, abs=0.01)


def test_permuted_same_follows_the_partners():
    h, _, rng = noise(7, facts=6, languages=3)
    relation, entity = np.zeros(6, dtype=int), np.arange(6)
    partners = entity_permutations(entity, relation, 3, 5, rng)
    found = permuted_same(unit(h), relation, partners)
    for draw in range(5):
        relabelled = np.stack([h[partners[0][a][draw], a] for a in range(3)], axis=1)
        pairs = combinations(range(3), 2)
        expected = np.mean([cosine(relabelled[f, a], relabelled[f, b]) for a, b in pairs for f in range(6)])
        assert found[draw] == pytest.approx(expected, abs=1e-12)


def test_the_smallest_p_is_had_where_no_permutation_comes_near_and_identity_counts():
    data = planted()
    assert score(units(data.h), sample_of(data, draws=1, permutations=99))["score"].pooled.p == 0.01
    # two facts: half of all permutations leave them where they are, and reach the observed value
    h = np.random.default_rng(0).normal(size=(2, 2, 4))
    pair = draw_sample(np.zeros(2, dtype=int), np.arange(2), 2, np.random.default_rng(0), draws=1, permutations=999)
    assert score(unit(h), pair)["S"].pooled.p >= 0.45


def test_unknown_baseline_is_refused_and_names_are_complete():
    data = planted(entities=5)
    with pytest.raises(ValueError, match="relation, any"):
        score(units(data.h), sample_of(data), "none")
    assert tuple(score(units(data.h), sample_of(data))) == NAMES
