"""Probes against Gaussian data with a known mutual information, labels that say nothing, and rows that leak."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from mechxl.measures.probes import FIXED, REFITTED, _with_error, code_length, entity_folds, probe, repeated_folds
from mechxl.measures.readers import fitted, value_reader


def rng(seed=0):
    return np.random.default_rng(seed)


def gaussians(n, distance, d=8, seed=0):
    """Two balanced classes N(-distance/2, 1) and N(distance/2, 1) along one direction, noise along the others."""
    r = rng(seed)
    label = np.arange(n) % 2
    turn = np.linalg.qr(r.standard_normal((d, d)))[0]
    x = r.standard_normal((n, d))
    x[:, 0] += distance * (label - 0.5)
    return x @ turn, label


def exact_bits(distance):
    """I(label; x) = h(mixture) - h(N(0, 1)), integrated."""

    def entropy_density(t):
        p = 0.5 * norm.pdf(t, -distance / 2) + 0.5 * norm.pdf(t, distance / 2)
        return -p * np.log2(p)

    return quad(entropy_density, -12, 12, limit=200)[0] - 0.5 * np.log2(2 * np.pi * np.e)


@pytest.mark.parametrize("distance", [0.5, 1.5, 3.0])
def test_bits_are_the_exact_mutual_information_of_gaussians(distance):
    x, label = gaussians(12_000, distance)
    entity = np.arange(len(x)) // 2
    found = probe(x, label, entity, entity_folds(entity, 5, rng(1)), rng(2))
    assert found.bits == pytest.approx(exact_bits(distance), abs=0.02)
    assert found.bits_low < exact_bits(distance) + 0.01
    assert found.bits_high > exact_bits(distance) - 0.01
    assert found.accuracy == pytest.approx(norm.cdf(distance / 2), abs=0.02)
    assert (found.n, found.entities) == (12_000, 6000)


def test_three_gaussians_against_their_integral_by_sampling():
    r = rng(3)
    means = 1.5 * np.eye(3)
    label = np.arange(12_000) % 3
    x = r.standard_normal((len(label), 3)) + means[label]
    density = np.exp(-0.5 * ((x[:, None] - means) ** 2).sum(-1))
    exact = np.log2(3) + np.log2(density[np.arange(len(x)), label] / density.sum(1)).mean()
    entity = np.arange(len(x)) // 3
    found = probe(x, label, entity, entity_folds(entity, 4, rng(1)), rng(2))
    assert found.bits == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_labels_that_say_nothing_give_no_bits(seed):
    x = rng(seed).standard_normal((1200, 16))
    label = rng(seed + 10).permuted(np.tile([0, 1], (600, 1)), axis=1).reshape(-1)
    entity = np.arange(1200) // 4
    found = probe(x, label, entity, entity_folds(entity, 3, rng(1)), rng(2))
    assert found.bits_low <= 0 <= found.bits_high + 1e-3  # a reader of noise loses a little on new entities
    assert found.accuracy_low <= 0.5 <= found.accuracy_high


def test_folds_by_row_report_a_leak_and_folds_by_entity_do_not():
    """Every entity has a place of its own and a random class: a row of it in training gives the class of the others."""
    r = rng(5)
    entity = np.repeat(np.arange(60), 12)
    label = r.permutation(np.arange(60) % 2)[entity]
    x = 3 * r.standard_normal((60, 64))[entity] + 0.1 * r.standard_normal((len(entity), 64))
    by_row = probe(x, label, np.arange(len(x)), entity_folds(np.arange(len(x)), 3, rng(1)), rng(2))
    by_entity = probe(x, label, entity, entity_folds(entity, 3, rng(1)), rng(2))
    assert by_row.bits > 0.5
    assert by_entity.bits_low < 0.1
    assert by_entity.accuracy < 0.7 < by_row.accuracy


def test_a_direction_of_one_relation_does_not_serve_another():
    """With a relation left out, a label that each relation codes its own way is not read."""
    r = rng(6)
    n = 1600
    relation, label = np.arange(n) % 2, (np.arange(n) // 2) % 2
    x = 0.3 * r.standard_normal((n, 4))
    x[np.arange(n), relation] += 2 * label - 1
    entity = np.arange(n) // 4
    within = probe(x, label, entity, entity_folds(entity, 3, rng(1)), rng(2))
    assert within.bits > 0.3
    assert probe(x, label, entity, relation, rng(2)).bits < 0.05


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-50, 50), st.integers(0, 5))
def test_units_and_origin_do_not_matter(scale, origin, seed):
    x, label = gaussians(300, 1.0, d=3, seed=seed)
    entity = np.arange(300) // 2
    fold = entity_folds(entity, 3, rng(1))
    one, other = (probe(h, label, entity, fold, rng(2)) for h in (x, scale * x + origin))
    assert other.bits == pytest.approx(one.bits, abs=1e-4)


def test_folds_hold_whole_entities_in_equal_numbers():
    entity = np.repeat(np.arange(11), 3)
    fold = entity_folds(entity, 4, rng())
    assert all(len(set(fold[entity == e])) == 1 for e in range(11))
    sizes = np.bincount(fold[::3])
    assert sizes.max() - sizes.min() <= 1


def test_refitted_intervals_hold_what_other_folds_of_the_same_entities_give():
    """Those of a fixed probe do not: it leaves out what another training would give."""
    x, label = gaussians(360, 2.0, d=12, seed=1)
    entity = np.arange(360) // 6
    found = probe(x, label, entity, repeated_folds(entity, 3, rng(0)), rng(0))
    assert found.interval == REFITTED
    others = [probe(x, label, entity, entity_folds(entity, 3, rng(seed)), rng(seed)) for seed in range(1, 9)]
    assert all(one.interval == FIXED for one in others)
    inside = [found.bits_low <= one.bits <= found.bits_high for one in others]
    assert sum(inside) >= 7
    assert found.bits_high - found.bits_low > np.mean([one.bits_high - one.bits_low for one in others])
    assert found.accuracy_low < found.accuracy < found.accuracy_high


def test_the_error_of_a_reading_is_the_formula_of_its_docstring():
    """Entities of 1 and 2 prompts, two draws of three folds, all by hand."""
    values, entity = np.array([[1.0, 0.0, 0.5], [0.6, 0.4, 0.5]]), np.array([0, 1, 1])
    mean, error, freedom = _with_error(values, entity, 3, unseen=0.1)
    # means over draws .8, .2, .5; less .5: entities .3 and -.3; 2 / 1 (.09 + .09) / 3^2 = .04; draws .5, .5
    assert (mean, error**2, freedom) == (pytest.approx(0.5), pytest.approx(0.04 + 0.01), pytest.approx(1))
    values[1] += 0.2
    # draws .5 and .7: variance .02, times 1 / 2 + 1 / 2
    assert _with_error(values, entity, 3)[1] ** 2 == pytest.approx(0.04 + 0.02)


def test_where_all_is_read_the_interval_still_allows_for_an_entity_that_was_not_seen():
    x, label = gaussians(240, 60.0, d=2)
    entity = np.arange(240) // 4
    found = probe(x, label, entity, repeated_folds(entity, 3, rng(0)), rng(0))
    assert found.bits > 0.999
    assert 0.5 / 60 < 1 - found.bits_low < 0.1
    assert found.accuracy_low < 0.99 < found.accuracy


def test_code_length_is_short_for_what_is_easy_and_a_bit_for_what_is_not_there():
    entity = np.arange(1024) // 2
    easy, label = gaussians(1024, 12.0)
    bits, reason = code_length(easy, label, entity, rng(1))
    assert not reason
    assert 16 / 512 <= bits < 0.1  # the first entities cost a bit a row
    nothing, _ = code_length(rng(9).standard_normal((1024, 8)), label, entity, rng(1))
    assert 0.98 < nothing < 1.1
    between, _ = code_length(gaussians(1024, 1.5)[0], label, entity, rng(1))
    assert 1 - exact_bits(1.5) - 0.05 < between < 1 - exact_bits(1.5) + 0.15


def test_code_length_of_blocks_against_a_reader_block_by_block():
    x, label = gaussians(128, 1.0, d=2)
    entity, order = np.arange(128), rng(4).permutation(np.arange(128))
    r = rng(4)
    r.permutation(np.arange(128))
    total = 16.0
    for start in (16, 32, 64):
        before, block = order[:start], order[start : 2 * start]
        before, block = np.sort(before), np.sort(block)
        log_p = fitted(x[before], label[before], entity[before], r)(x[block])
        total -= log_p[np.arange(len(block)), label[block]].sum() / np.log(2)
    assert code_length(x, label, entity, rng(4))[0] == pytest.approx(total / 128, abs=1e-9)


def test_a_reader_of_values_finds_planted_directions_and_only_those():
    r = rng(7)
    value = r.integers(0, 6, 800)
    x = 4 * np.eye(6)[value] + 0.5 * r.standard_normal((800, 6))
    reader = value_reader(x[:400], value[:400])
    assert (reader(x[400:]) == value[400:]).mean() > 0.98
    turned = np.roll(x, 1, axis=1)  # the other language codes each value along another one's direction
    assert (reader(turned[400:]) == value[400:]).mean() < 0.1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda x, y, e: (np.where(np.arange(len(x))[:, None] == 3, np.nan, x), y, e, e % 2), "NaN"),
        (lambda x, y, e: (x, y, e, entity_folds(e, 9, rng())), "9 folds of 8 entities"),
        (lambda x, y, e: (x, y, e, entity_folds(e, 1, rng())), "1 folds"),
    ],
)
def test_bad_input_is_refused(change, named):
    x, label = gaussians(32, 1.0, d=3)

    def changed():
        h, y, entity, fold = change(x, label, np.arange(32) // 4)
        return probe(h, y, entity, fold, rng())

    with pytest.raises(ValueError, match=named):
        changed()


def test_what_is_not_defined_says_why():
    x, label = gaussians(64, 1.0, d=3)
    entity = np.arange(64) // 2
    fold = entity_folds(entity, 2, rng())
    assert "one class" in probe(x, 0 * label, entity, fold, rng()).reason
    assert "one fold" in probe(x, label, entity, 0 * fold, rng()).reason
    assert "one fold" in probe(x, fold, entity, fold, rng()).reason
    assert "coded without a reader" in code_length(x[:8], label[:8], entity[:8], rng())[1]
    same = probe(np.ones((64, 3)), label, entity, fold, rng())
    assert (same.bits, same.accuracy) == (pytest.approx(0, abs=1e-9), pytest.approx(0.5))
