"""Do the 95 % intervals of probes cover what the probe reads on average over samples, folds and trainings?

    python -m analyses probe_coverage [--quick]

Hypothesis. The intervals of refitted probes (`mechxl.measures.probes`) cover in 92 to 98 % of samples, in bits and in
accuracy; those of a fixed probe cover less often.

Grid. 60, 200 and 1,000 entities with a prompt in each of 4 relations and 2 languages, 16 dimensions, 3 folds. The
vector of a prompt: an entity's own (N(0, 1) in each dimension), half the difference of its languages (N(0, 1/4)), noise
(N(0, 1)), and along one dimension a distance between the languages of 0, 1, 3, 6 or 8. 200 samples of 60 and 200
entities, 60 of 1,000.

What is covered. The expected bits, and the expected balanced accuracy, of the procedure at that number of entities:
over samples of entities and over folds. It is estimated by the mean over the same samples, whose error is 7 % (200
samples) to 13 % (60) of the standard deviation of one estimate. It is not the information of an infinite sample: a
probe that is trained on 40 entities reads less.

Test. Each rate beside the range in which 99.9 % of binomial counts fall if it is .95. Explored before, on other seeds:
one draw of the folds and three and five; plain, logarithmic and square-root ends; an unseen entity of which 1/8, 1/4,
1/2, 3/4 or all is lost.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int

from analyses.calibration.coverage import LEVEL, bounds
from mechxl.findings import signed
from mechxl.measures.probes import Reading, probe, repeated_folds
from mechxl.plots import Panel, group_colour, side_by_side, themed

NOTE = Path(__file__).parents[2] / "docs" / "language.md"
SAMPLES = {60: 200, 200: 200, 1000: 60}
QUICK_SAMPLES = {60: 4}
DISTANCES = (0.0, 1.0, 3.0, 6.0, 8.0)
DIMENSIONS, PROMPTS, FOLDS = 16, 8, 3
SCORES = ("bits", "accuracy")


def planted(
    entities: int, distance: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "row d"], Int[np.ndarray, " row"], Int[np.ndarray, " row"]]:
    """Vectors, languages and entities of prompts."""
    entity, language = np.repeat(np.arange(entities), PROMPTS), np.tile([0, 1], entities * PROMPTS // 2)
    own, by_language = rng.standard_normal((2, entities, DIMENSIONS))
    x = own[entity] + by_language[entity] / 2 * (language[:, None] - 0.5)
    x += rng.standard_normal(x.shape)
    x[:, 0] += distance * (language - 0.5)
    return x, language, entity


def readings(entities: int, distance: float, index: int) -> tuple[Reading, Reading]:
    """Of one sample: the refitted probe, and the probe of its first folds, fixed."""
    rng = np.random.default_rng([1811, entities, int(distance), index])
    x, language, entity = planted(entities, distance, rng)
    folds = repeated_folds(entity, FOLDS, rng)
    return probe(x, language, entity, folds, rng), probe(x, language, entity, folds[0], rng)


def simulate(quick: bool) -> Iterator[dict[str, Any]]:
    """A row for each number of entities, distance, kind of interval, and bits or accuracy."""
    for entities, samples in (QUICK_SAMPLES if quick else SAMPLES).items():
        for distance in DISTANCES:
            kinds = zip(*(readings(entities, distance, index) for index in range(samples)), strict=True)
            for found in kinds:
                for score in SCORES:
                    value, low, high = (
                        np.array([getattr(one, f"{score}{end}") for one in found]) for end in ("", "_low", "_high")
                    )
                    truth = float(value.mean())
                    yield {
                        "entities": entities,
                        "distance": distance,
                        "interval": found[0].interval,
                        "score": score,
                        "samples": samples,
                        "truth": round(truth, 5),
                        "sd": round(float(value.std(ddof=1)), 5),
                        "half_width": round(float((high - low).mean() / 2), 5),
                        "coverage": round(float(((low <= truth) & (truth <= high)).mean()), 5),
                        "above": round(float((low > truth).mean()), 5),
                        "below": round(float((high < truth).mean()), 5),
                    }


def analyse(rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Coverage by entities and distance; bold outside the binomial range of .95."""
    lines = []
    for entities, distance in dict.fromkeys((row["entities"], row["distance"]) for row in rows):
        here = {
            (row["interval"], row["score"]): row
            for row in rows
            if (row["entities"], row["distance"]) == (entities, distance)
        }
        refitted = {score: here["refitted", score] for score in SCORES}
        line = {"entities": f"{entities:,}", "distance": f"{distance:g}"}
        line |= {f"{score}, truth": signed(refitted[score]["truth"], 3) for score in SCORES}
        for score in SCORES:
            line |= {
                f"{score}, refitted": _rate(refitted[score]),
                f"{score}, fixed probe": _rate(here["fixed probe", score]),
            }
        lines.append(line)
    return {"probe coverage": pd.DataFrame(lines)}


def _rate(row: dict[str, Any]) -> str:
    low, high = bounds(LEVEL, row["samples"])
    text = signed(row["coverage"], 3)
    return text if low <= row["coverage"] <= high else f"**{text}**"


def figures(rows: list[dict[str, Any]]) -> list[Panel]:
    """Coverage by what is read, beside the nominal rate."""
    figure = side_by_side(*SCORES)
    for place, score in enumerate(SCORES, start=1):
        for number, kind in enumerate(("refitted", "fixed probe")):
            here = [row for row in rows if (row["score"], row["interval"]) == (score, kind)]
            dots = go.Scatter(
                x=[row["truth"] for row in here],
                y=[row["coverage"] for row in here],
                text=[f"{row['entities']:,} entities, distance {row['distance']:g}" for row in here],
                mode="markers",
                marker={"color": group_colour(number), "size": 8},
                name=kind,
                legendgroup=kind,
                showlegend=place == 1,
            )
            figure.add_trace(dots, row=1, col=place)
    figure.add_hline(y=LEVEL, line={"dash": "dot", "width": 1})  # pyright: ignore[reportArgumentType]
    caption = f"Share of 95 % intervals that hold the expected reading, by that reading; dotted: {LEVEL}."
    return [Panel("coverage", "How often intervals of probes cover", caption, themed(figure, legend_rows=1))]
