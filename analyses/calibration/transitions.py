"""How often do onsets err? Coverage, misses, false alarms, and lags that are not there, on planted curves.

    python -m analyses transitions [--quick]

Planted: logistics of height 1 in ln(step), half-rise uniform in ln from 200 to 1,000 and width uniform from .1 to .3 in
ln(step), of 120 evaluations to step 3,000, log- or linearly spaced, or of the default run's 28 checkpoints after step
0, plus AR(1) noise (rho 0, .3, .6) of standard deviation 1 / SNR. Misses: neither a transition nor "not finished".
Coverage: of the half-rise by the 95 % interval, among transitions. Surrogates without a transition: AR(1) at .5, .8 and
.95; a random walk around a line that rises by 1 (steps of .05); a line; a quadratic (in step and in ln(step), noise .05
AR(.5)); one spike of 10 standard deviations in AR(.5) noise. A false alarm is a transition. Lags: two curves of one
onset, SNR 10, own widths and noise; rejected where p <= .05. AICc's margins, the number of standard deviations and the
width of the interval were set on seeds below 1,000; the table is of seeds from 10,000 on.
"""

import itertools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.stats import beta, binom

from mechxl.config import TrainingConfig
from mechxl.measures.rises import Rise
from mechxl.measures.transitions import lag, onset
from mechxl.plots import Panel, group_colour, small_multiples, themed

NOTE = Path(__file__).parents[2] / "docs" / "phases.md"
POINTS, LAST, FIRST = 120, 3000, 10_000
SPACINGS = {
    "log": np.geomspace(1, LAST, POINTS),
    "linear": np.linspace(LAST / POINTS, LAST, POINTS),
    "checkpoints": np.array(TrainingConfig(steps=LAST).checkpoint_steps()[1:], dtype=float),
}


def ar(rng: np.random.Generator, points: int, rho: float, sd: float = 1.0) -> np.ndarray:
    """Stationary AR(1) noise."""
    steps = rng.normal(size=points) * sd * np.sqrt(1 - rho**2)
    noise = np.empty(points)
    noise[0] = rng.normal() * sd
    for point in range(1, points):
        noise[point] = rho * noise[point - 1] + steps[point]
    return noise


def planted(
    rng: np.random.Generator, x: np.ndarray, snr: float, rho: float, m: float | None = None
) -> tuple[Any, float]:
    """A curve, and its half-rise in ln(step)."""
    m = rng.uniform(np.log(200), np.log(1000)) if m is None else m
    return 1 / (1 + np.exp(-(x - m) / rng.uniform(0.1, 0.3))) + ar(rng, len(x), rho, 1 / snr), m


SURROGATES = {
    "AR(1) at .5": lambda rng, x, step: ar(rng, len(x), 0.5),
    "AR(1) at .8": lambda rng, x, step: ar(rng, len(x), 0.8),
    "AR(1) at .95": lambda rng, x, step: ar(rng, len(x), 0.95),
    "random walk around a line": lambda rng, x, step: np.cumsum(rng.normal(size=len(x)) * 0.05) + step / step[-1],
    "line in step": lambda rng, x, step: step / step[-1] + ar(rng, len(x), 0.5, 0.05),
    "line in ln(step)": lambda rng, x, step: (x - x[0]) / (x[-1] - x[0]) + ar(rng, len(x), 0.5, 0.05),
    "quadratic in step": lambda rng, x, step: (step / step[-1]) ** 2 + ar(rng, len(x), 0.5, 0.05),
    "quadratic in ln(step)": lambda rng, x, step: ((x - x[0]) / (x[-1] - x[0])) ** 2 + ar(rng, len(x), 0.5, 0.05),
    "one spike": lambda rng, x, step: ar(rng, len(x), 0.5, 0.1) + (np.arange(len(x)) == rng.integers(5, len(x) - 5)),
}


def one_planted(job: tuple[str, float, float, int]) -> tuple[str, bool]:
    """Outcome of one planted curve, and whether its interval covers."""
    spacing, snr, rho, seed = job
    rng, step = np.random.default_rng(seed), SPACINGS[spacing]
    y, m = planted(rng, np.log(step), snr, rho)
    rise = onset(step, y, rng)
    return rise.outcome, bool(rise.low <= np.exp(m) <= rise.high)


def one_surrogate(job: tuple[str, str, int]) -> str:
    """Outcome of one surrogate."""
    spacing, name, seed = job
    rng, step = np.random.default_rng(seed), SPACINGS[spacing]
    rise = Rise.of(step, SURROGATES[name](rng, np.log(step), step))
    return "no transition" if isinstance(rise, str) else rise.outcome()[0]


def one_lag(job: tuple[str, float, int]) -> tuple[float, bool]:
    """p of the lag of two curves, and whether its interval covers the planted one."""
    spacing, true, seed = job
    rng, step = np.random.default_rng(seed), SPACINGS[spacing]
    first, m = planted(rng, np.log(step), 10, 0.3, rng.uniform(np.log(200), np.log(600)))
    second, _ = planted(rng, np.log(step), 10, 0.3, m + true)
    measured_lag = lag(step, first, second, rng)
    return measured_lag.p, bool(measured_lag.low <= true <= measured_lag.high)


def exact(hits: int, n: int, level: float = 0.95) -> str:
    """A share with its exact binomial interval (Clopper and Pearson 1934)."""
    low, high = (1 - level) / 2, 1 - (1 - level) / 2
    ends = (beta.ppf(low, hits, n - hits + 1) if hits else 0.0, beta.ppf(high, hits + 1, n - hits) if hits < n else 1.0)
    return f"{hits / n:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def simulate(quick: bool) -> Iterator[dict[str, Any]]:
    """The counts of planted curves, surrogates and lags; of a few of each if quick."""
    many, some = (40, 20) if quick else (2000, 600)
    with ProcessPoolExecutor() as pool:
        yield from _planted(pool, some)
        yield from _surrogates(pool, many)
        yield from _lags(pool, some)


def _planted(pool: ProcessPoolExecutor, n: int) -> Iterator[dict[str, Any]]:
    for spacing, snr, rho in itertools.product(SPACINGS, (2, 5, 10), (0.0, 0.3, 0.6)):
        curves = list(pool.map(one_planted, [(spacing, snr, rho, FIRST + seed) for seed in range(n)], chunksize=10))
        outcomes = [name for name, _ in curves]
        yield {
            "what": "planted",
            "spacing": spacing,
            "snr": snr,
            "rho": rho,
            "n": n,
            "missed": outcomes.count("no transition"),
            "transitions": outcomes.count("transition"),
            "covered": sum(covers for name, covers in curves if name == "transition"),
        }


def _surrogates(pool: ProcessPoolExecutor, n: int) -> Iterator[dict[str, Any]]:
    for name, spacing in itertools.product(SURROGATES, SPACINGS):
        outcomes = list(pool.map(one_surrogate, [(spacing, name, FIRST + seed) for seed in range(n)], chunksize=50))
        alarms, unfinished = outcomes.count("transition"), outcomes.count("not finished")
        yield {"what": name, "spacing": spacing, "n": n, "alarms": alarms, "unfinished": unfinished}


def _lags(pool: ProcessPoolExecutor, n: int) -> Iterator[dict[str, Any]]:
    for true, spacing in itertools.product((0.0, 0.3, -0.3), SPACINGS):
        lags = list(pool.map(one_lag, [(spacing, true, FIRST + seed) for seed in range(n)], chunksize=10))
        lags = [(p, covers) for p, covers in lags if np.isfinite(p)]
        yield {
            "what": "lag",
            "true": true,
            "spacing": spacing,
            "n": len(lags),
            "rejected": sum(p <= 0.05 for p, _ in lags),
            "covered": sum(covers for _, covers in lags),
        }


def analyse(rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Misses and coverage of planted curves, false alarms of surrogates, and lags."""
    lags = [row for row in rows if row["what"] == "lag"]
    return {
        "planted": pd.DataFrame([_planted_line(row) for row in rows if row["what"] == "planted"]),
        "surrogates": pd.DataFrame([_surrogate_line(row) for row in rows if "alarms" in row]),
        "lags": pd.DataFrame([_lag_line(row) for row in lags]),
    }


def _planted_line(row: dict[str, Any]) -> dict[str, Any]:
    n, risen, covered = row["n"], row["transitions"], row["covered"]
    low, high = binom.ppf([0.0005, 0.9995], max(risen, 1), 0.95)
    inside = ("yes" if low <= covered <= high else "no") if risen else "-"
    return {
        "spacing": row["spacing"],
        "SNR": row["snr"],
        "rho": row["rho"],
        "curves": n,
        "misses": exact(row["missed"], n),
        "not finished": f"{(n - risen - row['missed']) / n:.3f}",
        "coverage": exact(covered, risen) if risen else "-",
        "transitions": risen,
        "inside 99.9 % of .95": inside,
    }


def _surrogate_line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "surrogate": row["what"],
        "spacing": row["spacing"],
        "n": row["n"],
        "false alarms": exact(row["alarms"], row["n"]),
        "not finished": f"{row['unfinished'] / row['n']:.3f}",
    }


def _lag_line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "lag, ln(step)": row["true"],
        "spacing": row["spacing"],
        "n": row["n"],
        "p <= .05": exact(row["rejected"], row["n"]),
        "coverage": exact(row["covered"], row["n"]),
    }


def figures(rows: list[dict[str, Any]]) -> list[Panel]:
    """Misses by the noise's rho, for each spacing and signal-to-noise ratio."""
    figure = small_multiples([f"evaluations: {spacing}" for spacing in SPACINGS])
    for place, spacing in enumerate(SPACINGS):
        for number, snr in enumerate((2, 5, 10)):
            curves = [
                row for row in rows if row["what"] == "planted" and (row["spacing"], row["snr"]) == (spacing, snr)
            ]
            line = go.Scatter(
                x=[row["rho"] for row in curves],
                y=[row["missed"] / row["n"] for row in curves],
                name=f"SNR {snr}",
                legendgroup=str(snr),
                line={"color": group_colour(number)},
                showlegend=place == 0,
            )
            figure.add_trace(line, row=place // 2 + 1, col=place % 2 + 1)
    figure.update_yaxes(range=[-0.02, 1.02])
    figure.update_xaxes(title="rho of the noise")
    caption = (
        "Planted rises that are called no transition, by how far noise is correlated from one evaluation to the next."
    )
    return [Panel("misses", "How often a rise is missed", caption, themed(figure, height=520, legend_rows=1))]
