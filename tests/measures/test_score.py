"""The score and its parts against brute force over pairs, planted truth, and known failures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from mechxl.measures.measurement import by_place
from mechxl.measures.planted import Plant, fixed, population_parts
from mechxl.measures.sample import draw_sample
from mechxl.measures.score import NAMES, cell_parts, normalised, score
from mechxl.measures.vectors import centre, unit
from tests.measures.brute import brute_parts, gram_score, noise, planted, sample_of, units


def values(u, relation, **baseline):
    """The pooled values of the score's parts, by name."""
    rng = np.random.default_rng(0)
    sample = draw_sample(relation, np.arange(len(u)), u.shape[1], rng, draws=0, permutations=0)
    return {name: measurement.pooled.value for name, measurement in score(u, sample, **baseline).items()}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 3))
def test_parts_equal_brute_force(seed, languages, relations):
    h, relation, _ = noise(seed, languages=languages, n_relations=relations)
    if (np.bincount(relation) < 2).all():
        return
    parts, brute = values(unit(h), relation), brute_parts(h, relation)
    brute |= {"score": brute["S"] - brute["W"], "alignment": brute["S"] - brute["X"]}
    brute |= {"separation": brute["W"] - brute["X"], "normalised": (brute["S"] - brute["W"]) / (1 - brute["W"])}
    assert parts == pytest.approx(brute, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_count_pairs_of_facts_and_never_a_fact_with_itself(seed):
    h, relation, rng = noise(seed, facts=8, languages=2)
    relation[:4] = [0, 0, 1, 1]
    weight = rng.integers(0, 3, size=(3, len(h))).astype(float)
    weight[:, :4] = 1.0
    sample = draw_sample(relation, np.arange(8), 2, rng, draws=0, permutations=0)
    parts = cell_parts(unit(h), sample, weight)
    for draw, w in enumerate(weight):
        for name, value in brute_parts(h, relation, w).items():
            assert by_place(getattr(parts, name))[0, draw] == pytest.approx(value, abs=1e-12)


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


@pytest.mark.parametrize("languages", [2, 3])
@pytest.mark.parametrize("baseline", ["relation", "any"])
def test_null_parts_are_the_parts_of_relabelled_vectors(baseline, languages):
    data = planted(entities=6, plant=Plant(languages=languages))
    sample = sample_of(data, draws=1, permutations=5)
    null = {name: found.null for name, found in score(units(data.h), sample, baseline).items()}
    for k in range(5):
        h = centre(data.h, "whole").copy()
        for r, partner in zip(np.unique(data.relation), sample.partners, strict=True):
            members = np.flatnonzero(data.relation == r)
            h[members] = np.stack([h[members[partner[a, k]], a] for a in range(languages)], axis=1)
        brute = brute_parts(h, data.relation, baseline=baseline)
        for name in "SWX":
            assert null[name][k] == pytest.approx(brute[name], abs=1e-9)
        assert null["alignment"][k] == pytest.approx(brute["S"] - brute["X"], abs=1e-9)


def test_the_interval_is_of_bootstrap_weights_by_the_formula_of_the_parts():
    data = planted(entities=30)
    sample = sample_of(data, draws=200, permutations=1)
    u = units(data.h)
    drawn = [gram_score(u, data.relation, weight) for weight in sample.weights.astype(float)]
    estimate = score(u, sample)["score"].pooled
    # expanded from .025 and .975: Phi(-+ sqrt(30 / 29) 2.0452)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(drawn, [0.01867, 0.98133])), abs=1e-4)


def test_parts_come_to_the_population_values():
    plant = Plant()
    data = planted(entities=3000, plant=plant)
    truth = population_parts(plant, fixed(plant), facts=60_000)
    parts = values(units(data.h), data.relation)
    # standard errors of 3,000 entities are below .003
    assert {name: parts[name] for name in "SWX"} == pytest.approx({n: truth[n] for n in "SWX"}, abs=0.01)


def test_languages_that_coincide_score_one_minus_within():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(200, 1, 64))
    parts = values(units(np.repeat(one, 2, axis=1)), np.zeros(200, dtype=int))
    assert parts["S"] == pytest.approx(1)
    assert parts["W"] == pytest.approx(parts["X"])
    assert parts["score"] == pytest.approx(1, abs=0.02)


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
    assert abs(values(units(np.stack([one, turned], axis=1)), np.zeros(300, dtype=int))["score"]) < 0.05


def test_centring_per_language_hides_a_constant_offset_between_the_languages():
    rng = np.random.default_rng(2)
    one = rng.normal(size=(300, 1, 32))
    apart = np.concatenate([one, one + 3.0], axis=1)
    relation = np.zeros(300, dtype=int)
    whole, hidden = (values(units(apart, how), relation)["score"] for how in ("whole", "per_language"))
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
    of_name, of_fact = (values(units(data.h), data.relation)["alignment"] for data in (name, fact))
    assert of_name == pytest.approx(of_fact, abs=0.05)
    assert of_name > 0.4


def test_the_permuted_mean_of_the_score_is_x_minus_w_and_not_zero():
    rng = np.random.default_rng(6)
    language = np.array([[1.0] * 16, [-1.0] * 16])
    h = rng.normal(size=(60, 2, 16)) + 2 * language
    relation, entity = np.repeat([0, 1], 30), np.tile(np.arange(30), 2)
    u = unit(centre(h, "whole"))
    parts = brute_parts(u, relation)
    measurements = score(u, draw_sample(relation, entity, 2, rng, draws=1, permutations=2000))
    null = measurements["score"].null
    # S under permutation averages S and X in the ratio 1 : n - 1, as a fact keeps its own partner once in n
    expected = (parts["S"] + 29 * parts["X"]) / 30 - parts["W"]
    assert null.mean() == pytest.approx(expected, abs=4 * null.std() / np.sqrt(2000))
    assert null.mean() < -0.5
    assert measurements["score"].pooled.null == pytest.approx(null.mean())
    assert measurements["alignment"].pooled.null == pytest.approx(0, abs=0.01)


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
