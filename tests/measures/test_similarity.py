"""The score and its parts against brute force over pairs, planted truth, and known failures."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from mechxl.measures.sample import entity_permutations
from mechxl.measures.score import permuted_same, score_parts, weighted_parts
from mechxl.measures.vectors import centre, cosine_matrix, undefined, unit


def cosine(x, y):
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def brute_parts(h, relation, weight=None):
    """S, W, X by loops over facts, within each relation and ordered pair of languages, then equally."""
    weight = np.ones(len(h)) if weight is None else weight
    cells = {"S": [], "W": [], "X": []}
    for r in set(relation.tolist()):
        facts = np.flatnonzero(relation == r)
        if len(facts) < 2 or (weight[facts] > 0).sum() < 2:
            continue
        pairs = list(permutations(facts, 2))
        w = np.array([weight[f] * weight[g] for f, g in pairs])
        for a, b in permutations(range(h.shape[1]), 2):
            cells["S"].append(np.average([cosine(h[f, a], h[f, b]) for f in facts], weights=weight[facts]))
            cells["X"].append(np.average([cosine(h[f, a], h[g, b]) for f, g in pairs], weights=w))
        for a in range(h.shape[1]):
            cells["W"].append(np.average([cosine(h[f, a], h[g, a]) for f, g in pairs], weights=w))
    return {name: np.mean(values) for name, values in cells.items()}


def random_sample(seed, facts=9, languages=3, d=5, relations=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(facts, languages, d)) + 0.5, rng.integers(0, relations, size=facts), rng


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 3))
def test_parts_equal_brute_force(seed, languages, relations):
    h, relation, _ = random_sample(seed, languages=languages, relations=relations)
    if (np.bincount(relation) < 2).all():
        return
    parts, brute = score_parts(unit(h), relation), brute_parts(h, relation)
    for name, value in brute.items():
        assert getattr(parts, name) == pytest.approx(value, abs=1e-12)
    assert parts.score == pytest.approx(parts.alignment - parts.separation, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_count_pairs_of_facts_and_never_a_fact_with_itself(seed):
    h, relation, rng = random_sample(seed, facts=8, languages=2)
    relation[:4] = [0, 0, 1, 1]
    weight = rng.integers(0, 3, size=(3, len(h))).astype(float)
    weight[:, :4] = 1.0
    parts = weighted_parts(unit(h), relation, weight)
    for draw, w in enumerate(weight):
        for name, value in brute_parts(h, relation, w).items():
            assert getattr(parts, name)[draw] == pytest.approx(value, abs=1e-12)


def test_languages_that_coincide_score_one_minus_within():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(200, 1, 64))
    parts = score_parts(unit(centre(np.repeat(one, 2, axis=1), "whole")), np.zeros(200, dtype=int))
    assert pytest.approx(1) == parts.S
    assert pytest.approx(parts.X) == parts.W
    assert parts.score == pytest.approx(1, abs=0.02)


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


def test_scaling_and_rotating_all_vectors_changes_nothing():
    h, relation, _ = random_sample(3, facts=12)
    turned = 7 * h @ ortho_group.rvs(5, random_state=4)
    for how in ("none", "whole", "per_language"):
        before, after = (score_parts(unit(centre(x, how)), relation) for x in (h, turned))
        assert after.score == pytest.approx(before.score, abs=1e-12)


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


def test_permuted_same_follows_the_partners():
    h, _, rng = random_sample(7, facts=6, languages=3)
    relation, entity = np.zeros(6, dtype=int), np.arange(6)
    partners = entity_permutations(entity, relation, 3, 5, rng)
    found = permuted_same(unit(h), relation, partners)
    for draw in range(5):
        relabelled = np.stack([h[partners[0][a][draw], a] for a in range(3)], axis=1)
        pairs = combinations(range(3), 2)
        expected = np.mean([cosine(relabelled[f, a], relabelled[f, b]) for a, b in pairs for f in range(6)])
        assert found[draw] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("h", "relation", "reason"),
    [
        (np.random.default_rng(0).normal(size=(4, 1, 3)), [0, 0, 0, 0], "one language"),
        (np.random.default_rng(0).normal(size=(3, 2, 3)), [0, 1, 2], "no relation has two facts"),
        (np.ones((4, 2, 3)), [0, 0, 1, 1], "one vector"),
    ],
)
def test_what_is_not_defined_says_why(h, relation, reason):
    assert reason in undefined(h, np.array(relation))


def test_one_constant_language_is_enough_not_to_be_defined():
    h = np.random.default_rng(0).normal(size=(4, 2, 3))
    assert undefined(h, np.zeros(4, dtype=int)) == ""
    h[:, 1] = 1.0
    assert "one vector" in undefined(h, np.zeros(4, dtype=int))


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (0.0, "length 0")])
def test_vectors_without_a_direction_are_refused(value, message):
    h = np.ones((3, 2, 4))
    h[1, 0] = value
    with pytest.raises(ValueError, match=message):
        unit(h)


def test_unknown_centring_is_refused():
    with pytest.raises(ValueError, match="per_language"):
        centre(np.ones((2, 2, 2)), "mean")


def test_the_checkerboard_lists_languages_one_after_the_other():
    h, _, _ = random_sample(8, facts=3, languages=2)
    board = cosine_matrix(h)
    for (f, a), (g, b) in combinations([(f, a) for a in range(2) for f in range(3)], 2):
        assert board[a * 3 + f, b * 3 + g] == pytest.approx(cosine(h[f, a], h[g, b]), abs=1e-12)
