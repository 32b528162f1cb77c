"""The half-rise without a shape, against the finding `phases`."""

import numpy as np
import pytest

from tests.sceptic.answering import recall_items, transfer_items
from tests.sceptic.information import no_fact_accuracies
from tests.sceptic.rising import half_rise, isotonic


def test_pooling_neighbours_is_the_nearest_rising_curve_by_brute_force():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, size=5) + rng.random(5)
    levels = sorted({y[start:end].mean() for start in range(5) for end in range(start + 1, 6)})

    def best(at, least):
        """The smallest sum of squares from a point on, with no level below one of those before."""
        if at == 5:
            return 0.0
        return min((y[at] - level) ** 2 + best(at + 1, level) for level in levels if level >= least)

    assert ((isotonic(y) - y) ** 2).sum() == pytest.approx(best(0, -np.inf))


@pytest.mark.parametrize("quantity", ["recall", "transfer"])
def test_half_rises_are_the_sceptics(quantity, readings, found):
    tables = found("told", "phases")
    onset = tables["onsets"].query(f"quantity == '{quantity}' and unit == 'accuracy'").iloc[0]
    reading = readings("told")
    items = recall_items(reading) if quantity == "recall" else transfer_items(reading)
    guesses = no_fact_accuracies(reading, items)
    known = [guess for guess in guesses if quantity == "transfer" or "told" not in guess]
    floor = max(guesses[guess] for guess in known)  # the best guess without facts
    metrics = reading.run.metrics
    steps, accuracy = metrics["step"].to_numpy(), metrics[f"{quantity}_accuracy"].to_numpy()
    y = np.maximum(accuracy - floor, 0)
    fitted = steps >= onset["from_step"]
    assert y[fitted][0] <= y[steps >= 1][:3].max()  # from the curve's minimum on
    ours = half_rise(steps[fitted], y[fitted])
    assert onset["half_low"] <= ours <= onset["half_high"]
    assert onset["half_step"] == pytest.approx(ours, rel=1e-3)
