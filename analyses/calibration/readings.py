"""What does each measure read where the truth is planted: an offset, a turn, noise, a shared entity, a shared value?

    python -m analyses readings [--quick]

Hypothesis. What `mechxl/measures/table.py` says of each measure: whether an offset or a turn of one language's vectors
changes it, and whether it stays beyond its null under an offset that makes the score negative.

Grid. 150 entities with a fact in each of 4 relations, 2 languages, 16 dimensions, 16 values, centred over the sample.
All sizes are lengths. `identical`: both languages have the same vectors: relation .7, value .5, entity .5, fact .5.
From these: `offset`: a vector of length 2 is added to one language's; `turn`: one language's are turned by a right
angle in each of 8 random planes; `scale`: one language's are multiplied by 3. And with nothing in common but relation
.7 and: `noise`: noise of length 1 in each rendering; `shared entity`: what an entity's facts share in both languages,
.7, noise .7; `shared value`: what facts of a value share in both languages, .7, noise .7.

Test. Permutation p <= .01 of 199 permutations, a star in the table. One draw of the planted vectors: the numbers show
what a measure responds to, not how large it is in a model.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.stats import ortho_group

from mechxl.findings import Estimate, signed
from mechxl.measures.planted import Plant, Planted, draw, fixed
from mechxl.measures.sample import draw_sample, draw_split
from mechxl.measures.table import MEASURES, take
from mechxl.measures.vectors import centre, unit
from mechxl.plots import Panel, group_colour, small_multiples, themed

NOTE = Path(__file__).parents[2] / "docs" / "measures.md"
ENTITIES, QUICK_ENTITIES = 150, 60
PERMUTATIONS = 199
CLEAR = 0.01
UNCHANGED = 1e-6
SHARED = Plant(language=0, own_entity=0, noise=0)
APART = Plant(language=0, value=0, shared_entity=0, own_entity=0, shared_fact=0, noise=0.7)
IDENTICAL = "identical"
PLANTED = {
    IDENTICAL: SHARED,
    "offset": SHARED,
    "turn": SHARED,
    "scale": SHARED,
    "noise": replace(APART, noise=1.0),
    "shared entity": replace(APART, shared_entity=0.7),
    "shared value": replace(APART, value=0.7),
}


def planted(name: str, entities: int) -> Planted:
    """The vectors of one column of the table."""
    plant, rng = PLANTED[name], np.random.default_rng(2508)
    data = draw(plant, fixed(plant), entities, rng)
    h = data.h.copy()
    if name == "offset":
        h[:, 1] += 2 / np.sqrt(plant.d)
    elif name == "turn":
        basis = ortho_group.rvs(plant.d, random_state=0)
        quarter = np.kron(np.eye(plant.d // 2), [[0, 1], [-1, 0]])
        h[:, 1] = h[:, 1] @ basis @ quarter @ basis.T
    elif name == "scale":
        h[:, 1] *= 3
    return replace(data, h=h)


def read(name: str, entities: int = ENTITIES, draws: int = 0) -> dict[str, Estimate]:
    """What every measure reads in the vectors of one column."""
    data, rng = planted(name, entities), np.random.default_rng(0)
    languages = data.h.shape[1]
    sample = draw_sample(
        data.relation, data.entity, languages, rng, draws=draws, permutations=PERMUTATIONS, value=data.value
    )
    sample = replace(sample, split=draw_split(sample, rng))
    measurements = take(MEASURES, data.h, unit(centre(data.h, "whole")), sample)
    return {measure: one.pooled for measure, one in measurements.items()}


def simulate(quick: bool) -> Iterator[dict[str, Any]]:
    """A row for each measure and column."""
    for name in PLANTED:
        for measure, estimate in read(name, QUICK_ENTITIES if quick else ENTITIES).items():
            numbers = {key: getattr(estimate, key) for key in ("value", "null", "p")}
            yield {"measure": measure, "planted": name} | {
                key: None if np.isnan(value) else round(float(value), 6) for key, value in numbers.items()
            }


def analyse(rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """The table of docs/measures.md: a row for each measure, a column for each plant."""
    at = {(row["measure"], row["planted"]): row for row in rows}
    lines = [
        {"measure": measure.label} | {name: _cell(at[measure.name, name]) for name in PLANTED}
        for measure in MEASURES
        if (measure.name, IDENTICAL) in at
    ]
    return {"readings": pd.DataFrame(lines)}


def _cell(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "–"
    tested = next(measure.tested for measure in MEASURES if measure.name == row["measure"])
    return signed(row["value"]) + ("*" if tested and row["p"] is not None and row["p"] <= CLEAR else "")


def figures(rows: list[dict[str, Any]]) -> list[Panel]:
    """Every measure in each plant, and the mean of its null."""
    figure = small_multiples(list(PLANTED))
    for place, name in enumerate(PLANTED):
        here = [row for row in rows if row["planted"] == name and row["value"] is not None]
        for number, (key, label) in enumerate((("value", "value"), ("null", "null"))):
            dots = go.Scatter(
                x=[row[key] for row in here],
                y=[row["measure"] for row in here],
                mode="markers",
                marker={"color": group_colour(number), "size": 8},
                name=label,
                legendgroup=label,
                showlegend=place == 0,
            )
            figure.add_trace(dots, row=place // 2 + 1, col=place % 2 + 1)
    caption = "What each measure reads in planted vectors, and the mean of its null."
    return [Panel("readings", "What measures read", caption, themed(figure, height=1500, legend_rows=1))]
