"""Do the 95 % intervals of the measures cover, and do their 5 % permutation tests keep their level?

    python -m analyses coverage [--quick]

Hypothesis. On planted data (`mechxl.measures.planted`) an interval covers the known value in 95 % of the samples, and
p <= .05 in 5 % of those where there is nothing to find.

Grid. 30, 100 and 500 entities with a fact in each of 4 relations, 2 languages, 16 dimensions, vectors centred over the
sample (so that the centre is estimated, as it is in use). Settings: `shared`, where languages share entities, facts and
values; `unrelated`, where an entity's facts share a component in each language, but a different one in each, so that
S = X and nothing is shared beyond relations; `same answer`, the same with shared values, so that S = V_cross.
Score and its parts, controls, retrieval and MEXA: 2,000 samples, 1,000 bootstrap draws, 199 permutations. The others:
500 samples, 99 permutations. AUC: an item is right if an entity effect and noise (in `shared` and its score) exceed 0.

Truth. S, W, X and what follows from them: infinitely many entities about the population's centre, by a sample of
400,000. CKA: closed form. Retrieval, MEXA, Procrustes, checkerboard, anisotropy and AUC depend on the number of
entities: their expected value at that number, estimated by the mean of the same samples (its error is 2 to 5 % of a
standard error).

Test. Both rates beside the range in which 99.9 % of binomial counts fall if the nominal rate is true. A rate outside it
refutes the hypothesis for that measure and size; which ones do, and by how much, is what this study is for. It was
preceded by explorations of 300 and 600 samples, on other seeds and up to 100 entities, which chose expanded percentiles
over plain ones and over the jackknife for the score, and askers before all competitors for retrieval.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.stats import binom

from mechxl.findings import Estimate
from mechxl.measures.auc import auc
from mechxl.measures.by_fact import score_by_fact
from mechxl.measures.planted import Plant, draw, fixed, population_cka, population_parts
from mechxl.measures.sample import draw_sample, draw_split
from mechxl.measures.table import MEASURES, take
from mechxl.measures.vectors import centre, unit
from mechxl.plots import Panel, group_colour, small_multiples, themed

NOTE = Path(__file__).parents[2] / "docs" / "measures.md"
LEVEL, ALPHA = 0.95, 0.05
FACTS, QUICK_FACTS = 400_000, 20_000  # of which the population's values are means
NOTHING = Plant(shared_entity=0, shared_fact=0, own_entity=0.8, value=0)
SAME_ANSWER = Plant(shared_entity=0, shared_fact=0, own_entity=0.8)
SETTINGS = {"shared": Plant(), "unrelated": NOTHING, "same answer": SAME_ANSWER}
STUDIED = [row for row in MEASURES if row.studied]
CHEAP = tuple(row.name for row in STUDIED if row.cost == "cheap")
ANSWER = tuple(row.name for row in STUDIED if row.needs_values)
COSTLY = (*(row.name for row in STUDIED if row.cost != "cheap" and not row.needs_values), "auc")
SEEDS = {CHEAP: 9, ANSWER: 2, COSTLY: 6}  # a job's place in its samples' seeds; a further measure leaves them
# where the null of a measure holds: tests of S = X in `unrelated`, of S = V_cross in `same answer`
HELD = {"entities": "unrelated", "same value": "same answer", "none": ""}
NULL = {row.name: HELD[row.null] for row in STUDIED if row.tested} | {"auc": "unrelated"}


@dataclass(frozen=True)
class Job:
    """Samples of one setting and size, and which measures are taken of them.

    Attributes:
        setting: a name in SETTINGS.
        entities: how many.
        measures: their names.
        samples: how many.
        draws: bootstrap draws.
        permutations: of entities.
    """

    setting: str
    entities: int
    measures: tuple[str, ...]
    samples: int
    draws: int
    permutations: int


@dataclass(frozen=True)
class Row:
    """What came out for one measure, setting and size; rates are shares of samples."""

    measure: str
    setting: str
    entities: int
    samples: int
    truth: float
    mean: float
    sd: float
    half_width: float
    coverage: float
    above: float
    below: float
    rejected: float | None


def jobs(quick: bool) -> list[Job]:
    """The grid; a small corner of it if quick."""
    sizes, cheap, costly = ((30,), 40, 20) if quick else ((30, 100, 500), 2000, 500)
    found = []
    for entities in sizes:
        for setting, null in (("shared", 0), ("unrelated", 1)):
            found.append(Job(setting, entities, CHEAP, cheap, 1000, null * 199))
            found.append(Job(setting, entities, COSTLY, costly, 0, null * 99))
        found += [Job(name, entities, ANSWER, cheap, 1000, n) for name, n in (("shared", 0), ("same answer", 199))]
    return found


def estimates(job: Job, index: int) -> list[Estimate]:
    """The measures of one sample."""
    plant = SETTINGS[job.setting]
    names = list(SETTINGS)
    rng = np.random.default_rng([2508, names.index(job.setting), job.entities, SEEDS[job.measures], index])
    planted = draw(plant, fixed(plant), job.entities, rng)
    of = planted.relation, planted.entity, plant.languages, rng
    value = planted.value if job.measures == ANSWER else None
    sample = draw_sample(*of, draws=job.draws, permutations=job.permutations, value=value)
    u = unit(centre(planted.h, "whole"))
    rows = [row for row in MEASURES if row.name in job.measures]
    if "auc" not in job.measures:
        measurements = take(rows, planted.h, u, sample)
    else:
        s = score_by_fact(u, planted.relation)[:, 0]
        effect = rng.normal(size=job.entities)[planted.entity] + rng.normal(size=len(s))
        effect += (job.setting == "shared") * (s - s.mean()) / s.std()
        sample = replace(sample, split=draw_split(sample, rng))
        measurements = take(rows, planted.h, u, sample)
        items = s, effect > 0, planted.entity, planted.relation
        measurements["auc"] = auc(*items, rng, permutations=job.permutations)
    return [measurements[name].pooled for name in job.measures]


def summary(job: Job, found: list[list[Estimate]], known: dict[str, float]) -> Iterator[Row]:
    """Rates for each measure, of what is known or else of the mean; none for one that is not defined at this size."""
    for name, of_measure in zip(job.measures, zip(*found, strict=True), strict=True):
        value, low, high, p = np.array([(e.value, e.low, e.high, e.p) for e in of_measure]).T
        if np.isnan(value).all():
            continue
        truth = known.get(name, float(value.mean()))
        above, below = float(np.mean(low > truth)), float(np.mean(high < truth))
        rejected = float(np.mean(p <= ALPHA + 1e-9)) if NULL.get(name) == job.setting else None
        half = float((high - low).mean() / 2)
        rates = float(np.mean((low <= truth) & (truth <= high))), above, below, rejected
        yield Row(
            name, job.setting, job.entities, len(value), truth, float(value.mean()), float(value.std()), half, *rates
        )


@cache
def truths(setting: str, facts: int) -> dict[str, float]:
    """What is known of the population: closed forms, and means over so many facts."""
    plant = SETTINGS[setting]
    vectors = fixed(plant)
    parts = population_parts(plant, vectors, facts)
    s, w, x, v = (parts[name] for name in ("S", "W", "X", "V_cross"))
    more = {"score": s - w, "alignment": s - x, "separation": w - x, "normalised": (s - w) / (1 - w)}
    return parts | more | {"beyond_value": s - v, "cka": population_cka(plant, vectors)}


def bounds(rate: float, samples: int) -> tuple[float, float]:
    """In which 99.9 % of the rates fall that are of a binomial count."""
    return float(binom.ppf(0.0005, samples, rate) / samples), float(binom.ppf(0.9995, samples, rate) / samples)


def simulate(quick: bool) -> Iterator[dict[str, Any]]:
    """The rows of the grid, job by job; a small corner of it, with rough truths, if quick."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers, which start afresh
    facts = QUICK_FACTS if quick else FACTS
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for job in jobs(quick):
            samples = list(pool.map(partial(estimates, job), range(job.samples), chunksize=10))
            for row in summary(job, samples, truths(job.setting, facts)):
                yield {
                    key: round(value, 5) if isinstance(value, float) else value for key, value in asdict(row).items()
                }


def analyse(rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """The rates of each measure and setting by number of entities; bold where outside `bounds`."""
    sizes = sorted({row["entities"] for row in rows})
    lines = []
    for name in (*CHEAP, *ANSWER, *COSTLY):
        for setting in SETTINGS:
            by_size = {row["entities"]: row for row in rows if (row["measure"], row["setting"]) == (name, setting)}
            if by_size:
                line = {"measure": name, "setting": setting}
                for column, key, nominal in (("covered", "coverage", LEVEL), ("rejected", "rejected", ALPHA)):
                    for n in sizes:
                        row = by_size.get(n)
                        line[f"{column}, {n}"] = _rate(row[key], nominal, row["samples"]) if row else "–"
                lines.append(line)
    return {"coverage": pd.DataFrame(lines)}


def _rate(rate: float | None, nominal: float, samples: int) -> str:
    if rate is None:
        return ""
    low, high = bounds(nominal, samples)
    text = f"{rate:.3f}".lstrip("0") if rate < 1 else "1"
    return text if low <= rate <= high else f"**{text}**"


def figures(rows: list[dict[str, Any]]) -> list[Panel]:
    """Coverage of every measure by number of entities, beside the nominal rate."""
    figure = small_multiples(list(SETTINGS))
    for place, setting in enumerate(SETTINGS):
        for number, n in enumerate(sorted({row["entities"] for row in rows})):
            of_size = [row for row in rows if (row["setting"], row["entities"]) == (setting, n)]
            dots = go.Scatter(
                x=[row["coverage"] for row in of_size],
                y=[row["measure"] for row in of_size],
                mode="markers",
                marker={"color": group_colour(number), "size": 8},
                name=f"{n} entities",
                legendgroup=str(n),
                showlegend=place == 0,
            )
            figure.add_trace(dots, row=place // 2 + 1, col=place % 2 + 1)
    figure.add_vline(x=LEVEL, line={"dash": "dot", "width": 1})
    caption = f"Share of 95 % intervals that hold the truth, on planted data; dotted: {LEVEL}. Settings: see below."
    return [Panel("coverage", "How often intervals cover", caption, themed(figure, height=760, legend_rows=1))]
