"""Onsets against planted rises, invariances and degenerate curves; analyses/calibration/ has the rates."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from mechxl.measures.rises import FEWEST_POINTS, RHOS, Grid, Rise, fit_rises, whiten, window_start
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
    assert found.outcome == "transition"
    assert found.low <= m <= found.high
    assert found.fit["A"] == pytest.approx(0.8, abs=0.1)
    assert found.fit["w"] == pytest.approx(0.25, rel=0.5)


def test_without_noise_it_is_exact_to_a_hundredth_and_as_wide_as_the_gap_between_evaluations():
    found = onset(STEP, logistic(300), rng())
    assert np.log(found.step) == pytest.approx(np.log(300), abs=0.01)
    after = np.searchsorted(STEP, found.step)
    assert (found.low, found.high) == pytest.approx((STEP[after - 1], STEP[after]))


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


def test_aicc_is_the_textbooks_against_rivals_fitted_by_brute_force():
    x, y = X[::3], (logistic(200) + noise(3))[::3]
    n, found = len(x), fit_rises(Grid.of(x), y[None])
    ones, lags = np.ones(n), np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    rivals = {(k, j): -np.inf for j, k in enumerate((3, 4, 4))}
    for rho in RHOS:
        covariance = rho**lags / (1 - rho**2)
        for (k, j), best in rivals.items():
            design = np.stack([[ones], [ones, x], [ones, np.exp(x)]][j], axis=1)
            weights = np.linalg.solve(
                design.T @ np.linalg.solve(covariance, design), design.T @ np.linalg.solve(covariance, y)
            )
            rest = y - design @ weights
            variance = rest @ np.linalg.solve(covariance, rest) / n
            like = multivariate_normal(np.zeros(n), variance * covariance).logpdf(rest)
            rivals[k, j] = max(best, like + n / 2 * np.log(2 * np.pi) + n / 2)  # constants that cancel

    def aicc(like, k):
        return -2 * like + 2 * k + 2 * k * (k + 1) / (n - k - 1)

    expected = aicc(found.profile.max(), 6) - min(aicc(like, k) for (k, _), like in rivals.items())
    assert found.aicc[0] == pytest.approx(expected, abs=1e-6)


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
    found = [rise_of(logistic(400) + noise(seed, sd=0.2, rho=0.3)).outcome()[0] for seed in range(40)]
    assert found.count("no transition") == 0
    rises = [Rise.of(STEP, noise(1000 + seed, sd=1, rho=0.95)) for seed in range(40)]
    alarms = [rise for rise in rises if not isinstance(rise, str) and rise.outcome()[0] == "transition"]
    assert len(alarms) == 0


def test_whitened_ar1_noise_is_white():
    steps = rng().normal(size=4000)
    out = np.zeros(4000)
    for at in range(4000):
        out[at] = (0.8 * out[at - 1] if at else 0) + steps[at]
    np.testing.assert_allclose(whiten(out, 0.8)[1:], steps[1:], atol=1e-12)


def test_units_of_the_curve_and_of_the_clock_move_the_onset_as_they_must():
    y = logistic(200) + noise(2)
    plain, scaled, slower = onset(STEP, y, rng()), onset(STEP, 7 * y - 3, rng()), onset(10 * STEP, y, rng())
    assert scaled.step == pytest.approx(plain.step, rel=1e-9)
    assert slower.step == pytest.approx(10 * plain.step, rel=1e-9)


@pytest.mark.parametrize(
    ("curve", "outcome", "reason"),
    [
        (np.full(90, 0.3), "no transition", "AICc"),
        (X / X[-1], "no transition", "AICc"),
        (STEP / STEP[-1], "no transition", "AICc"),
        (logistic(200, height=0.05) + 0.001 * noise(1), "no transition", "needs more than 0.1"),
        (logistic(2900, w=0.3) + 0.2 * noise(1), "not finished", "at the last step"),
        (-logistic(200), "no transition", "minimum"),
        (0.05 * noise(1) + (np.arange(90) == 40), "no transition", ""),
    ],
    ids=["constant", "line in ln(step)", "line in step", "too small", "not finished", "a fall", "a spike"],
)
def test_what_is_no_transition_says_why(curve, outcome, reason):
    found = onset(STEP, curve, rng())
    assert found.outcome == outcome
    assert reason in found.reason
    assert np.isnan(found.step) == (outcome == "no transition")


def test_few_evaluations_are_no_transition_and_nan_and_step_0_are_left_out():
    short = onset(STEP[: FEWEST_POINTS - 1], logistic(3)[: FEWEST_POINTS - 1], rng())
    assert (short.outcome, f"fewer than {FEWEST_POINTS}" in short.reason) == ("no transition", True)
    y = logistic(200) + noise(2)
    holes = np.where(np.arange(90) % 5 == 2, np.nan, y)
    known = np.isfinite(holes)
    with_zero = onset(np.append(0, STEP), np.append(9.0, holes), rng())
    assert with_zero.step == pytest.approx(onset(STEP[known], y[known], rng()).step)


def test_a_clean_rise_is_found_in_the_fewest_evaluations_that_are_taken():
    few = np.linspace(0, len(X) - 1, FEWEST_POINTS).astype(int)
    y = logistic(60, w=0.7) + 0.1 * noise(1)
    assert onset(STEP[few], y[few], rng()).outcome == "transition"


def test_a_rise_after_a_fall_is_fitted_from_the_minimum():
    y = -logistic(30, height=0.8) + logistic(500, height=1.5) - 0.2
    assert STEP[window_start(y)] == pytest.approx(STEP[np.argmin(y)], rel=0.2)
    assert onset(STEP, y, rng()).step == pytest.approx(500, rel=0.1)


def test_noise_does_not_throw_a_flat_beginning_away():
    assert STEP[window_start(logistic(500) + noise(5))] < 3


@pytest.mark.parametrize("ratio", [2.0, 0.5])
def test_planted_lags_are_recovered_in_either_order(ratio):
    found = lag(STEP, logistic(200) + noise(1), logistic(200 * ratio, w=0.15) + noise(2), rng())
    assert found.low <= np.log(ratio) <= found.high
    assert np.sign(found.value) == np.sign(np.log(ratio))
    assert found.p <= 0.02


def test_curves_with_one_onset_have_no_lag_and_a_curve_without_transition_has_none_to_give():
    assert lag(STEP, logistic(200) + noise(1), logistic(200, w=0.4) + noise(2), rng()).p > 0.05
    none = lag(STEP, logistic(200), np.full(90, 0.3), rng())
    assert np.isnan(none.value)
    assert none.reason.startswith("the second curve: no transition")


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
    for at, curve in enumerate(curves):
        assert fit_rises(grid, curve[None]).m[0] == pytest.approx(together.m[at], abs=1e-12)
    rise = Rise.of(STEP, curves[1])
    assert not isinstance(rise, str)
    assert np.std(rise.bootstrap(rng(), 50)) > 0
