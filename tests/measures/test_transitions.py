"""Onsets against planted rises, invariances and degenerate curves; analyses/calibration/ has the rates."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from analyses.planted import SPACINGS, planted_twice
from mechxl.measures.logistics import (
    RHOS,
    Grid,
    fit_rises,
    noise_shape,
    white_lengths,
    whiten,
    whiten_back,
    without_constant,
)
from mechxl.measures.pairs import fit_pair
from mechxl.measures.rises import FEWEST_POINTS, Rise, window_start
from mechxl.measures.transitions import Lag, change_points, lag, onset, precedes

STEP = np.geomspace(1, 3000, 90)
X = np.log(STEP)


def rng(seed=0):
    return np.random.default_rng(seed)


def logistic(m, w=0.25, height=1.0, floor=0.0, x=X):
    return floor + height / (1 + np.exp(-(x - np.log(m)) / w))


def rise_of(y):
    found = Rise.of(STEP, y)
    assert not isinstance(found, str)
    return found


def noise(seed, sd=0.05, rho=0.3):
    steps, out = rng(seed).normal(size=len(X)) * sd * np.sqrt(1 - rho**2), np.zeros(len(X))
    for at in range(len(X)):
        out[at] = (rho * out[at - 1] if at else 0) + steps[at]
    return out


@pytest.mark.parametrize("m", [20, 150, 600])
def test_a_planted_rise_is_found_where_it_was_put(m):
    found = onset(STEP, logistic(m, floor=0.1, height=0.8) + noise(1), rng())
    assert found.outcome == "rises"
    assert found.first.low <= m <= found.first.high
    assert found.half.low <= m <= found.half.high
    assert found.fit["A"] == pytest.approx(0.8, abs=0.1)
    assert found.fit["w"] == pytest.approx(0.25, rel=0.5)


def test_without_noise_it_is_exact_to_a_hundredth_and_as_wide_as_the_gap_between_evaluations():
    found = onset(STEP, logistic(300), rng())
    assert np.log(found.first.step) == pytest.approx(np.log(300), abs=0.01)
    assert np.log(found.half.step) == pytest.approx(np.log(300), abs=0.01)
    after = np.searchsorted(STEP, found.first.step)
    assert (found.first.low, found.first.high) == pytest.approx((STEP[after - 1], STEP[after]))


def test_likelihood_is_that_of_a_multivariate_normal_with_ar1_covariance():
    """The best profile against a dense Gaussian likelihood, maximised over the same grid by brute force."""
    x, y = X[::3], (logistic(200) + noise(3))[::3]
    grid = Grid.of(x)
    found = fit_rises(grid, y[None])
    best = -np.inf
    for rho in (0.0, 0.2, 0.4, 0.6):
        covariance = rho ** np.abs(np.subtract.outer(np.arange(len(x)), np.arange(len(x)))) / (1 - rho**2)
        inverse, (_, logdet) = np.linalg.inv(covariance), np.linalg.slogdet(covariance)
        for shape in grid.shapes():
            design = np.stack([np.ones(len(x)), shape], axis=1)
            weights = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ y)
            if weights[1] < 0:
                continue
            rest = y - design @ weights
            best = max(best, -len(x) / 2 * np.log(rest @ inverse @ rest / len(x)) - logdet / 2)
    assert found.rho[0] in (0.0, 0.2, 0.4, 0.6)
    assert found.profile.max() == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("kappa", [0.0, 3.0])
def test_aicc_is_the_textbooks_against_rivals_fitted_by_brute_force(kappa):
    x, y = X[::3], (logistic(200) + noise(3))[::3]
    n, g = len(x), noise_shape(logistic(200)[None, ::3], kappa)
    found = fit_rises(Grid.of(x), y[None], g)
    ones, lags = np.ones(n), np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    designs = {"constant": [ones], "line": [ones, x], "line in step": [ones, np.exp(x)]}
    best = dict.fromkeys(designs, -np.inf)
    for rho in RHOS:
        covariance = np.outer(g, g) * rho**lags / (1 - rho**2)
        for name, columns in designs.items():
            design = np.stack(columns, axis=1)
            inverse = np.linalg.inv(covariance)
            weights = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ y)
            rest = y - design @ weights
            like = multivariate_normal(np.zeros(n), rest @ inverse @ rest / n * covariance).logpdf(rest)
            best[name] = max(best[name], like + n / 2 * np.log(2 * np.pi) + n / 2)  # constants that cancel

    def aicc(like, k):
        return -2 * like + 2 * k + 2 * k * (k + 1) / (n - k - 1)

    assert found.constant[0] == pytest.approx(aicc(best["constant"], 4), abs=1e-6)
    assert found.lines[0] == pytest.approx(aicc(max(best["line"], best["line in step"]), 5), abs=1e-6)
    assert found.aicc[0] == pytest.approx(aicc(found.profile.max(), 7), abs=1e-9)


def test_two_rises_are_at_least_as_likely_as_any_pair_tried_by_brute_force():
    x, y = X[::3], (0.4 * logistic(60) + 0.6 * logistic(900) + noise(3))[::3]
    pair = fit_pair(x, y, np.ones(len(x)))
    assert pair is not None
    best, n = np.inf, len(x)
    for rho in (0.0, 0.2, 0.4):
        white = whiten(np.stack([np.ones(n), y]), rho)
        for m1 in np.log([40, 50, 60, 70]):
            for m2 in np.log([700, 800, 900, 1000]):
                for w in (0.15, 0.25, 0.35):
                    shapes = whiten(np.stack([1 / (1 + np.exp(-(x - m) / w)) for m in (m1, m2)]), rho)
                    design = np.vstack([white[:1], shapes]).T
                    rest = white[1] - design @ np.linalg.lstsq(design, white[1])[0]
                    best = min(best, n * np.log(rest @ rest / n) - np.log(1 - rho**2))
    assert pair.aicc - 2 * 10 * n / (n - 11) <= best + 1e-9
    assert pair.m == pytest.approx((np.log(60), np.log(900)), abs=0.3)
    assert min(pair.A) > 0.3


def test_the_margin_is_wider_where_residuals_wander_or_evaluations_are_left_out():
    y = logistic(200) + noise(1)
    y[0] = y.min()
    assert rise_of(y).margin() == 3
    left_out = rise_of((STEP < 30) + logistic(500, height=1.2) + noise(1))
    assert left_out.margin() == pytest.approx(3 + 10 * np.log(90 / len(left_out.y)))
    assert len(left_out.y) < 60
    wanders = rise_of(logistic(200) + noise(1, sd=0.1, rho=0.97))
    assert wanders.fits.rho[0] > 0.7
    assert wanders.margin() >= 13


def test_rises_of_five_sds_are_found_and_wandering_noise_is_not():
    """A small version of the table in docs/phases.md."""
    found = [rise_of(logistic(400) + noise(seed, sd=0.2, rho=0.3)).outcome()[0] for seed in range(30)]
    assert "no rise" not in found
    assert found.count("rises") >= 25
    rises = [Rise.of(STEP, noise(1000 + seed, sd=1, rho=0.95)) for seed in range(30)]
    alarms = [rise for rise in rises if not isinstance(rise, str) and rise.outcome()[0] != "no rise"]
    assert len(alarms) <= 5  # 5 of 30: p = .02 if the rate is .05


def test_two_stages_are_told_from_one_and_noise_that_grows_with_the_rise_is_not_a_stage():
    for seed in range(4):
        two = onset(STEP, 0.5 * logistic(60) + 0.5 * logistic(700) + noise(seed, sd=0.02), rng(), draws=20)
        assert two.outcome == "rises twice"
        assert two.first.step == pytest.approx(60, rel=0.2)
        assert two.second.step == pytest.approx(700, rel=0.2)
        one = logistic(300)
        uneven = one + noise(seed, sd=0.15) * (0.1 + 0.9 * 4 * one * (1 - one))
        assert rise_of(uneven).outcome()[0] == "rises"
        assert np.ptp(rise_of(uneven).fits.g) > 0


SHAPES = {
    "a line in step": STEP / STEP[-1],
    "a line in ln(step)": X / X[-1],
    "a quadratic": (STEP / STEP[-1]) ** 2,
    "a jump": (STEP > 300).astype(float),
    "three jumps": ((STEP > 30).astype(float) + (STEP > 300) + (STEP > 2000)) / 3,
    "an unfinished rise": logistic(2000),
    "a rise before the first evaluation": logistic(1, w=1.0),
    "a fall and a higher rise": -0.5 * logistic(20) + 1.5 * logistic(700),
    "saturation": 1 - np.exp(-STEP / 700),
    "a slow rise": logistic(300, w=1.5),
    "at the very end": (np.arange(90) > 80).astype(float),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("height", [0.05, 40.0])
@pytest.mark.parametrize("every", [1, 6, 11])
def test_nothing_that_ends_clearly_above_its_start_is_called_no_rise(shape, height, every):
    """90, 15 and 9 evaluations; noise of a fiftieth of the height."""
    y = height * (SHAPES[shape] + noise(4, sd=0.02))
    if shape == "at the very end" and every > 1:
        return  # a single evaluation, which may be noise
    found = onset(STEP[::every], y[::every], rng(), draws=10)
    assert found.outcome != "no rise", found.reason
    assert np.isfinite(found.half.step)


def test_sampling_error_that_is_known_forbids_a_rise_within_it():
    y = 0.1 + 0.1 * logistic(300) + noise(1, sd=0.003)
    assert onset(STEP, y, rng(), draws=10).outcome != "no rise"
    found = onset(STEP, y, rng(), noise=0.05, draws=10)  # an accuracy of about 40 questions
    assert (found.outcome, "within the error" in found.reason) == ("no rise", True)


def test_whitened_ar1_noise_is_white():
    steps = rng().normal(size=4000)
    out = np.zeros(4000)
    for at in range(4000):
        out[at] = (0.8 * out[at - 1] if at else 0) + steps[at]
    np.testing.assert_allclose(whiten(out, 0.8)[1:], steps[1:], atol=1e-12)


def test_products_and_lengths_of_innovations_are_known_without_them():
    rows, target, one = rng(1).normal(size=(5, 30)), rng(2).normal(size=30), 1 / rng(3).uniform(1, 2, size=30)
    for rho in (0.0, 0.6, 0.99):
        np.testing.assert_allclose(rows @ whiten_back(target, rho), whiten(rows, rho) @ target, atol=1e-12)
        direct = without_constant(whiten(rows, rho), whiten(one, rho))
        np.testing.assert_allclose(white_lengths(rows, one, rho), np.linalg.norm(direct, axis=1), rtol=1e-9)


def test_an_interval_is_wider_where_noise_grows_or_may_grow_unseen():
    """A rise with few points inside, one with many, and one whose noise grows."""
    few = slice(None, None, 3)
    sparse = Rise.of(STEP[few], (logistic(300, w=0.1) + noise(2, sd=0.03, rho=0))[few])
    assert not isinstance(sparse, str)
    one = logistic(300)
    dense = rise_of(one + noise(1, sd=0.02, rho=0))
    uneven = rise_of(one + noise(0, sd=0.15) * (0.1 + 0.9 * 4 * one * (1 - one)))
    assert (dense.spread(), uneven.spread(), sparse.spread()) == (2.25, 2.5, 3.5)
    # noise of up to four times what is seen at rest: wider, and not without bound
    even = sparse.fitted() + sparse.fits.sd[0] * rng().normal(size=(50, len(sparse.y)))
    as_seen = np.std(fit_rises(sparse.grid, even).m)
    assert as_seen < np.std(sparse.bootstrap(rng(), 50)) < 6 * as_seen


@pytest.mark.parametrize("seed", [1, 44, 53, 59])
def test_a_jump_of_the_noise_that_looks_like_a_second_rise_is_not_dated_too_narrowly(seed):
    """Noise that grows, SNR 10: the fit puts the second rise elsewhere, and far more sharply than it is known."""
    x, generator = np.log(SPACINGS["log"]), rng(seed)
    y, (_, planted_second) = planted_twice(generator, x, 10, "growing")
    found = onset(SPACINGS["log"], y, generator)
    assert found.outcome == "rises twice"
    assert abs(np.log(found.second.step) - planted_second) > 0.1
    assert found.second.low <= np.exp(planted_second) <= found.second.high


def test_no_interval_leaves_the_steps_that_there_were():
    """The first of two rises has so few evaluations that it is hardly known at all."""
    x, generator, step = np.log(SPACINGS["linear"]), rng(32), SPACINGS["linear"]
    y, _ = planted_twice(generator, x, 20, "even")
    found = onset(step, y, generator)
    assert found.outcome == "rises twice"
    assert (found.first.low, found.first.high) == pytest.approx((1, step[-1]))
    behind = lag(step, y, logistic(600, x=x) + 0.02 * generator.normal(size=len(x)), generator, draws=50)
    assert (behind.low, behind.high) == pytest.approx((-np.log(step[-1]), np.log(step[-1])))


def test_units_of_the_curve_and_of_the_clock_move_the_onset_as_they_must():
    y = logistic(200) + noise(2)
    plain, scaled, slower = onset(STEP, y, rng()), onset(STEP, 7 * y - 3, rng()), onset(10 * STEP, y, rng())
    assert scaled.first.step == pytest.approx(plain.first.step, rel=1e-9)
    assert slower.first.step == pytest.approx(10 * plain.first.step, rel=1e-6)
    assert slower.half.step == pytest.approx(10 * plain.half.step, rel=1e-6)


@pytest.mark.parametrize(
    ("curve", "outcome", "reason"),
    [
        (np.full(90, 0.3), "no rise", "AICc"),
        (X / X[-1], "rises, onset not resolved", "better than a line"),
        (STEP / STEP[-1], "rises, onset not resolved", "better than a line"),
        (logistic(200, height=0.05) + 0.001 * noise(1), "rises, onset not resolved", "needs more than 0.1"),
        (logistic(2900, w=0.3) + 0.2 * noise(1), "rises, not finished", "at the last step"),
        (logistic(1.2, w=0.5) + 0.2 * noise(1), "rises, onset not resolved", "at the first evaluation"),
        (-logistic(200), "no rise", "minimum"),
        (0.05 * noise(1) + (np.arange(90) == 40), "no rise", ""),
    ],
    ids=["constant", "line in ln(step)", "line in step", "too small", "not finished", "risen", "a fall", "a spike"],
)
def test_what_has_no_onset_says_why(curve, outcome, reason):
    found = onset(STEP, curve, rng())
    assert found.outcome == outcome
    assert reason in found.reason
    assert np.isfinite(found.first.step) == (outcome == "rises, not finished")
    assert np.isfinite(found.half.step) == (outcome != "no rise")


@pytest.mark.parametrize("after", [3, 5, 8, 9])  # 10: twelve evaluations from the running median's minimum
def test_a_rise_from_the_minimum_in_few_checkpoints_is_told(after):
    """A score that falls from -.8 to -1.1 and rises to .15, in fewer evaluations than a fit takes."""
    score = np.concatenate([np.linspace(-0.8, -1.1, 6), np.linspace(-1.1, 0.15, after + 1)[1:]])
    found = onset(np.geomspace(10, 3000, len(score)), score, rng())
    assert found.outcome == "rises, onset not resolved"
    assert f"fewer than {FEWEST_POINTS}" in found.reason


def test_few_evaluations_give_no_onset_and_nan_and_step_0_are_left_out():
    few = slice(None, None, 9)
    assert len(STEP[few]) < FEWEST_POINTS
    short = onset(STEP[few], logistic(200)[few], rng())
    assert (short.outcome, f"fewer than {FEWEST_POINTS}" in short.reason) == ("rises, onset not resolved", True)
    assert short.half.low <= 200 <= short.half.high
    flat = onset(STEP[few], 0.2 * noise(1)[few], rng())
    assert (flat.outcome, "above its start" in flat.reason) == ("no rise", True)
    two = onset(np.array([0, 3000]), np.array([0.0, 1.0]), rng())  # a run of two checkpoints
    assert two.outcome == "rises, onset not resolved"
    assert onset(np.array([0]), np.array([0.0]), rng()).outcome == "no rise"
    y = logistic(200) + noise(2)
    holes = np.where(np.arange(90) % 5 == 2, np.nan, y)
    known = np.isfinite(holes)
    with_zero = onset(np.append(0, STEP), np.append(9.0, holes), rng())
    assert with_zero.first.step == pytest.approx(onset(STEP[known], y[known], rng()).first.step)


def test_a_clean_rise_is_found_in_the_fewest_evaluations_that_are_taken():
    few = np.linspace(0, len(X) - 1, FEWEST_POINTS).astype(int)
    y = logistic(60, w=0.7) + 0.1 * noise(1)
    assert onset(STEP[few], y[few], rng()).outcome == "rises"


def test_a_rise_after_a_fall_is_fitted_from_the_minimum():
    y = -logistic(30, height=0.8) + logistic(500, height=1.5) - 0.2
    assert STEP[window_start(y)] == pytest.approx(STEP[np.argmin(y)], rel=0.2)
    assert onset(STEP, y, rng()).first.step == pytest.approx(500, rel=0.1)


def test_noise_does_not_throw_a_flat_beginning_away():
    assert STEP[window_start(logistic(500) + noise(5))] < 3


@pytest.mark.parametrize("ratio", [2.0, 0.5])
def test_planted_lags_are_recovered_in_either_order(ratio):
    found = lag(STEP, logistic(200) + noise(1), logistic(200 * ratio, w=0.15) + noise(2), rng())
    assert found.low <= np.log(ratio) <= found.high
    assert np.sign(found.value) == np.sign(np.log(ratio))
    assert found.p <= 0.02


def test_curves_with_one_onset_have_no_lag_and_a_curve_without_onset_has_none_to_give():
    assert lag(STEP, logistic(200) + noise(1), logistic(200, w=0.4) + noise(2), rng()).p > 0.05
    none = lag(STEP, logistic(200), np.full(90, 0.3), rng())
    assert np.isnan(none.value)
    assert none.reason.startswith("the second curve: no rise")
    twice = 0.5 * logistic(60) + 0.5 * logistic(900) + noise(3, sd=0.02)
    assert lag(STEP, logistic(200) + noise(1), twice, rng()).value == pytest.approx(np.log(60 / 200), abs=0.2)


def test_a_logistic_and_its_square_are_not_called_a_lag():
    """Two quantities that are one, each in two units: the square rises later, so that no sign is shared."""
    y = logistic(200)
    units = [(y + noise(1, sd=0.02)), (y + noise(2, sd=0.02)) ** 2]
    others = [(y + noise(3, sd=0.02)), (y + noise(4, sd=0.02)) ** 2]
    lags = [lag(STEP, a, b, rng()) for a in units for b in others]
    assert lags[1].value > 0.1 > -0.1 > lags[2].value
    assert precedes(lags) == 0


def test_precedes_needs_one_sign_and_every_p():
    late, early, unsure = Lag(0.5, 0.4, 0.6, 0.01), Lag(-0.5, -0.6, -0.4, 0.01), Lag(0.5, -0.1, 1.1, 0.3)
    assert precedes([late, late]) == 1
    assert precedes([early]) == -1
    assert precedes([late, early]) == precedes([late, unsure]) == 0
    assert precedes([late, Lag(float("nan"), float("nan"), float("nan"), float("nan"), "none")]) == 0


def test_change_points_find_planted_steps_and_fewer_with_a_higher_penalty():
    y = np.repeat([0.0, 1.0, 0.2], 30) + 0.02 * rng().normal(size=90)
    path = change_points(y, np.array([2.0, 1e6]))
    assert path[0] == [30, 60]
    assert path[1] == []


def test_rises_of_many_curves_are_those_of_each():
    curves = np.stack([logistic(m) + noise(m) for m in (50, 200, 900)])
    grid = Grid.of(X)
    together = fit_rises(grid, curves)
    for number, curve in enumerate(curves):
        assert fit_rises(grid, curve[None]).m[0] == pytest.approx(together.m[number], abs=1e-12)
    rise = Rise.of(STEP, curves[1])
    assert not isinstance(rise, str)
    assert np.std(rise.bootstrap(rng(), 50)) > 0
