"""Tests of studies as a list, what is measured at the end of a run, and curves of parallel data: planted answers."""

import numpy as np
import pytest
from safetensors.numpy import load, save
from scipy import stats

from analyses.claims import initialisation, parallel_data
from analyses.contrasts import Contrast, all_tested, as_numbers, as_table
from analyses.ends import ends, mono_scores, moved
from mechxl.questions.common import scores_over_training
from tests.runs import accepted, copied

SHIFT = Contrast("shift", "a less b", "y", "a", "b")
NONE = Contrast("none", "a less itself", "y", "a", "a")


def planted(shift: float, seeds: int = 12) -> list[dict[str, object]]:
    noise = np.random.default_rng(0).normal(0, 0.01, size=(seeds, 2))
    rows: list[dict[str, object]] = [{"run": "a", "seed": seed, "y": noise[seed, 0] + shift} for seed in range(seeds)]
    return rows + [{"run": "b", "seed": seed, "y": noise[seed, 1]} for seed in reversed(range(seeds))]


def test_a_planted_shift_is_found_by_seed_and_corrected():
    shift, none = all_tested(planted(0.3), (SHIFT, NONE))
    assert shift.numbers.mean() == pytest.approx(0.3, abs=0.01)
    assert shift.p == pytest.approx(2 / 2**12)
    assert shift.holm == pytest.approx(2 * 2 / 2**12)
    assert none.p == none.holm == 1.0  # all differences are 0
    said = as_numbers([shift, none])
    assert said["shift.above"] == "12"
    assert (said["shift.verdict"], said["shift.opposite"], said["none.verdict"]) == ("holds", "fails", "fails")
    assert as_numbers(all_tested(planted(-0.3), (SHIFT,)))["shift.opposite"] == "holds"
    assert as_table([shift])["seeds above 0"].tolist() == ["12 of 12"]


def test_seeds_that_one_side_lacks_or_does_not_define_are_left_out():
    rows = planted(0.3)
    rows[3]["y"] = None
    rows = [row for row in rows if (row["run"], row["seed"]) != ("b", 5)]
    (test,) = all_tested(rows, (SHIFT,))
    assert len(test.numbers) == 10


def test_what_is_measured_at_the_end_is_what_the_questions_say(trained, tmp_path):
    row, last = ends(copied(trained, tmp_path / "run")), trained.metrics.iloc[-1]
    assert row["recall"] == pytest.approx(last["recall_accuracy"], abs=1e-4)
    assert row["transfer"] == pytest.approx(last["transfer_accuracy"], abs=1e-4)
    scores = scores_over_training(trained, True).set_index(["step", "layer"])
    for name, column in (("score_1", "score"), ("alignment_1", "alignment")):
        assert row[name] == pytest.approx(scores[column][trained.steps[-1], 1], abs=1e-3)
    assert mono_scores(trained, 1)["score_1"] == pytest.approx(row["score_1"], abs=1e-4)


def test_weights_that_move_by_as_much_as_they_are_have_moved_by_one(trained, tmp_path):
    run = copied(trained, tmp_path / "run")
    first = load(run.read_checkpoint(run.steps[0])[0])
    doubled = {name: 2 * value if "W_" in name else value + 5 for name, value in first.items()}
    run.checkpoint(run.steps[-1]).write_bytes(save(doubled))
    assert moved(accepted(run.path)) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("name", parallel_data.CURVES)
def test_the_curve_that_made_transfer_has_no_error_at_left_out_levels(name):
    levels, guess = np.array(parallel_data.LEVELS[1:]), np.full(6, 0.07)
    true = {"threshold": (0.15, 0.9), "logistic": (-3.0, 6.0), "odds": (-0.5, 1.3)}[name]
    transfer = guess + (1 - guess) * parallel_data.curve(name, np.array(true), levels)
    assert parallel_data.left_out_error(name, levels, guess, transfer) < 1e-4
    for other in set(parallel_data.CURVES) - {name}:
        assert parallel_data.left_out_error(other, levels, guess, transfer) > 0.01, other


def test_correlations_over_levels_are_those_of_scipy():
    rng = np.random.default_rng(1)
    rows = [
        {"run": f"std{level:g}", "seed": seed, "transfer": float(rng.random())}
        for level in initialisation.LEVELS
        for seed in range(3)
    ]
    expected = []
    for seed in range(3):
        column = {row["run"]: row["transfer"] for row in rows if row["seed"] == seed}
        y = [column[f"std{level:g}"] for level in initialisation.FALL]
        expected.append(stats.spearmanr(initialisation.FALL, y)[0])
    np.testing.assert_allclose(initialisation.correlations(rows), expected)
