"""The studies that intervene: their own measures against brute force, and a verdict that needs every part."""

from itertools import product

import numpy as np
import pytest

from analyses import contrasts
from analyses.claims.late_unification import half_rise
from analyses.claims.pulled_together import TESTS, _cause, auc_within, cosines


def test_auc_is_counted_within_strata_alone():
    rng = np.random.default_rng(0)
    scores, right, stratum = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4, rng.integers(0, 3, 60)
    pairs = [
        (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
        for i, j in product(range(60), range(60))
        if right[i] and not right[j] and stratum[i] == stratum[j]
    ]
    assert auc_within(scores, right, stratum) == pytest.approx(np.mean(pairs))
    assert auc_within(scores + 100 * stratum, right, stratum) == pytest.approx(np.mean(pairs))
    assert np.isnan(auc_within(scores, np.ones(60, dtype=bool), stratum))


def test_cosines_are_blind_to_what_language_and_relation_add():
    rng = np.random.default_rng(1)
    relation = np.repeat([0, 1], 20)
    code, other = rng.normal(size=(2, 40, 1, 8))
    offset = 50 * rng.normal(size=(2, 2, 8))[relation]
    assert cosines(np.concatenate([code, 2 * code], axis=1) + offset, relation) == pytest.approx(1)
    assert abs(cosines(np.concatenate([code, other], axis=1) + offset, relation).mean()) < 0.2


def test_a_half_rise_lies_between_checkpoints():
    steps = np.array([0, 10, 20, 30])
    assert half_rise(steps, np.array([4.0, 5.0, 7.0, 8.0])) == pytest.approx(15)
    assert half_rise(steps, np.array([8.0, 4.0, 3.0, 0.0])) == pytest.approx(10)  # a fall
    assert half_rise(steps, np.array([0.0, np.nan, 1.0, 1.0])) == pytest.approx(10)
    assert np.isnan(half_rise(steps, np.array([np.nan, 1.0, 1.0, 2.0])))


@pytest.mark.parametrize(
    ("missing", "low", "said"),
    [
        (set(), set(), "both"),
        ({"a.pull"}, set(), "push"),
        ({"d.push"}, set(), "pull"),
        ({"d.pull_.3"}, set(), "both"),
        (set(), {"pull_.3_permuted"}, "both"),
        (set(), {"pull_.3_permuted", "pull_.1_permuted"}, "push"),
        (set(), {"none"}, "none"),
        ({"b.pull", "b.push"}, set(), "none"),
    ],
)
def test_a_cause_needs_the_end_equal_recall_and_the_right_pairs(missing: set[str], low: set[str], said: str):
    ones = np.ones(12)
    tests = [
        contrasts.Tested(test.name, test.says, ones if test.name not in missing else -ones, 0.0005, 0.005)
        for test in TESTS
    ]
    assert _cause([*tests, contrasts.Tested("f", "", ones, 0.0005, 0.005)], low) == said
