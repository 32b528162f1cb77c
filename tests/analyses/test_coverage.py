"""The study of coverage runs, and its truths are true."""

import numpy as np
import pytest

from analyses.calibration.coverage import (
    ANSWER,
    CHEAP,
    COSTLY,
    SETTINGS,
    Job,
    Row,
    analyse,
    bounds,
    estimates,
    simulate,
    summary,
    truths,
)
from analyses.study import read_results
from mechxl.measures.coverage import COVERED, covered
from mechxl.measures.planted import Plant, draw, fixed, population_parts
from mechxl.measures.vectors import unit


def test_the_quick_study_has_every_measure():
    rows = list(simulate(quick=True))
    measures = set(analyse(rows)["coverage"]["measure"])
    assert measures == {*CHEAP, *ANSWER, *COSTLY} - {"procrustes"}  # 30 entities are too few for 16 dimensions
    assert all(np.isfinite([row["coverage"], row["truth"], row["half_width"]]).all() for row in rows)


def test_rates_are_of_what_is_known_and_lie_near_the_nominal_ones():
    """60 samples: 99.9 % binomial bounds, so wide that only a wrong formula falls out."""
    job = Job("unrelated", 40, CHEAP, 60, 200, 19)
    found = [estimates(job, i) for i in range(60)]
    rows = {row.measure: row for row in summary(job, found, truths("unrelated", 40_000))}
    low, _ = bounds(0.90, 60)
    for name in ("S", "W", "score", "alignment", "separation", "normalised", "retrieval", "mexa"):
        assert rows[name].coverage >= low, name
        assert rows[name].coverage + rows[name].above + rows[name].below == pytest.approx(1)
    assert rows["alignment"].truth == pytest.approx(0, abs=0.01)
    assert (rows["alignment"].rejected or 0) <= bounds(0.05, 60)[1]
    assert rows["W"].rejected is None


def test_population_parts_without_noise_are_those_of_the_fixed_vectors():
    """Only relations and values, no random parts: S is 1, W and X are of the mean unit vectors."""
    plant = Plant(d=5, relations=2, values=3, language=0, shared_entity=0, own_entity=0, shared_fact=0, noise=0)
    vectors = fixed(plant)
    u = unit((vectors.middle[:, :1] + vectors.value) - vectors.centre)
    parts = population_parts(plant, vectors, facts=40_000)
    assert parts["S"] == pytest.approx(1)
    assert parts["W"] == pytest.approx((u.mean(axis=1) ** 2).sum(axis=1).mean(), abs=0.02)
    assert parts["W"] == pytest.approx(parts["X"])
    assert parts["V_cross"] == pytest.approx(1)


def test_plants_have_the_sizes_that_they_say():
    for plant in SETTINGS.values():
        vectors, rng = fixed(plant), np.random.default_rng(0)
        data = draw(plant, vectors, 2000, rng)
        left = data.h - vectors.middle[data.relation] - vectors.value[data.relation, data.value[:, 0]][:, None]
        random = plant.shared_entity**2 + plant.own_entity**2 + plant.shared_fact**2 + plant.noise**2
        assert (left**2).sum(axis=2).mean() == pytest.approx(random, rel=0.02)
        assert (left[:, 0] * left[:, 1]).sum(axis=1).mean() == pytest.approx(
            plant.shared_entity**2 + plant.shared_fact**2, abs=0.01
        )


def kept() -> list[Row]:
    return [Row(**row) for row in read_results("coverage")]


def test_captions_say_the_kept_numbers():
    rows = kept()
    assert COVERED.keys() == {row.measure for row in rows}
    for measure, sizes in COVERED.items():
        for entities, ends in sizes.items():
            rates = [row.coverage for row in rows if (row.measure, row.entities) == (measure, entities)]
            assert ends == pytest.approx((min(rates), max(rates)), abs=0.0006)
        assert set(sizes) == {row.entities for row in rows if row.measure == measure}
    low, high = (f"{100 * share:.1f}" for share in COVERED["score"][500])
    assert covered("score", 1000) == f"95 % intervals covered {low} to {high} % of planted samples of 500 entities"
    assert "not studied" in covered("W_other_value", 100)
