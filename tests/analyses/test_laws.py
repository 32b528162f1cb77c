"""The law and its rivals, fitted to cells that each of them made: the one that made them is found."""

import numpy as np
import pytest

from analyses.claims import dose_map
from analyses.laws import FITTED, LAW, MODELS, Cells, fit, held_out_error, predicted, width
from analyses.study import read_results
from mechxl.config import differences, parse_config
from mechxl.data.prediction import LAWS, NO_MATTER
from mechxl.sweep.study import parse_study

TRUE = {
    LAW: [3.0, 1.5, 0.05, 4.0, 0.5],
    "additive": [1.0, 6.0, 4.0],
    "product": [2.0, 4.0],
    "two ways": [1.0, 5.0, 4.0],
}
CONTAIN = {"product": {"two ways"}}  # which is the other with b = 0


def cells(transfer: np.ndarray | None = None) -> Cells:
    k, q = (
        axis.ravel() for axis in np.meshgrid([0, 0.25, 0.5, 0.75, 1], [0, 0.02, 0.05, 0.1, 0.25, 0.5], indexing="ij")
    )
    guess = 0.08 * (1 - k)
    return Cells(np.arange(30), k, q, k**2, guess, np.zeros(30) if transfer is None else transfer)


@pytest.mark.parametrize("name", TRUE)
def test_what_made_the_cells_is_found_from_half_of_them(name: str):
    true = np.array(TRUE[name])
    made = cells(predicted(name, true, cells()))
    assert held_out_error(name, made) < 1e-6
    np.testing.assert_allclose(fit(name, made), true, rtol=1e-3)
    for other in {"additive", "product", "two ways"} - {name} - CONTAIN.get(name, set()):
        assert held_out_error(other, made) > 0.01, other


def test_predictions_lie_between_the_guess_and_one_and_half_of_the_cells_are_fitted():
    made = cells()
    for name, model in MODELS.items():
        shown = predicted(name, np.ones(len(model.names)), made)
        assert ((shown >= made.guess) & (shown <= 1)).all()
    assert len(FITTED) == made.fitted.sum() == 15
    assert made.where(~made.fitted).number.tolist() == sorted(set(range(30)) - set(FITTED))


def test_an_interval_holds_its_share_of_new_runs():
    rng, prediction = np.random.default_rng(0), np.full(4000, 0.5)
    wide = width(prediction[:199] + 0.05 * rng.normal(size=199), prediction[:199])
    inside = np.abs(0.05 * rng.normal(size=4000)) <= wide * 0.5
    assert 0.92 < inside.mean() < 0.98
    assert wide * 0.5 == pytest.approx(0.05 * 1.96, rel=0.2)


def test_the_law_that_predicts_is_the_one_that_the_study_fitted():
    rows, law = read_results("dose_map"), next(law for law in LAWS if law.study == "dose_map")
    means = dose_map._means(rows)
    np.testing.assert_allclose(fit(LAW, means.where(means.fitted)), law.parameters, rtol=1e-3)
    assert dose_map.interval_width(rows) == pytest.approx(law.width, rel=1e-2)
    base = parse_config(law.settings)
    for run in parse_study(dose_map.GRID).runs[:360]:
        changed = {name for name in differences(base, run.config) if not name.endswith("seed")}
        assert changed - set(NO_MATTER) <= set(law.ranges) | {"world.shared_facts"}
