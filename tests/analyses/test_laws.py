"""The law and its rivals, fitted to cells that each of them made: the one that made them is found."""

import numpy as np
import pytest

from analyses.laws import FITTED, LAW, MODELS, Cells, fit, held_out_error, predicted

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
