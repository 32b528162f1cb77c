"""Rest: by hand, and each bound from both sides."""

import numpy as np
import pytest

from mechxl.measures.rest import rest

STEP = np.arange(0, 3001, 50)


def curves(**tails) -> list[np.ndarray]:
    """Loss, recall and transfer that end in given tails of seven evaluations (steps 2,700 to 3,000)."""
    whole = {"loss": np.full(len(STEP), 3.0), "recall": np.full(len(STEP), 0.1), "transfer": np.full(len(STEP), 0.1)}
    still = {"loss": [0.001] * 7, "recall": [1.0] * 7, "transfer": [0.7] * 7}
    for name, tail in (still | tails).items():
        whole[name][-7:] = tail
    return [whole[name] for name in still]


def test_movements_are_those_of_the_last_tenth():
    transfer = [0.70, 0.71, 0.69, 0.72, 0.70, 0.70, 0.69]
    found = rest(STEP, *curves(transfer=transfer))
    assert (found.first, found.last, found.evaluations) == (2700, 3000, 7)
    assert found.transfer is not None
    assert found.transfer.mean == pytest.approx(np.mean(transfer))
    assert found.transfer.sd == pytest.approx(np.std(transfer))
    assert (found.transfer.low, found.transfer.high, found.transfer.last) == (0.69, 0.72, 0.69)
    assert found.rests is False
    assert "transfer moves over a range of 0.030" in found.reason


@pytest.mark.parametrize(
    ("tails", "rests", "reason"),
    [
        ({}, True, ""),
        ({"transfer": [0.70, 0.719, 0.70, 0.70, 0.70, 0.70, 0.70]}, True, ""),
        ({"recall": [0.97, 1, 1, 1, 1, 1, 1]}, False, "recall moves over a range of 0.030"),
        ({"loss": [0.001] * 6 + [0.06]}, False, "the loss reaches 0.060 nats"),
        ({"loss": [0.3] * 7}, False, "the loss reaches 0.300 nats"),
        ({"transfer": [np.nan] * 7}, True, ""),
    ],
)
def test_a_run_rests_if_its_loss_is_low_and_nothing_moves(tails, rests, reason):
    found = rest(STEP, *curves(**tails))
    assert found.rests is rests
    assert reason in found.reason
    assert found.words().startswith("at rest" if rests else "not at rest")
    assert (found.transfer is None) == bool(np.isnan(tails.get("transfer", [0])).all())


def test_a_loss_that_can_not_fall_further_is_no_unrest():
    assert rest(STEP, *curves(loss=[0.31] * 7)).rests is False
    assert rest(STEP, *curves(loss=[0.31] * 7), least_loss=0.3).rests is True


def test_few_evaluations_can_not_tell():
    one = slice(None, None, 20)
    found = rest(STEP[one], *(curve[one] for curve in curves()))
    assert (found.rests, found.evaluations) == (None, 1)
    assert "1 evaluation in the last tenth" in found.reason
    assert rest(*[np.zeros(0)] * 4).rests is None
