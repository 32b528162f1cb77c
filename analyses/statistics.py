"""What studies say of numbers over seeds: intervals, sign tests, rank correlations, and figures of all points."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from scipy import stats

from mechxl.findings import signed
from mechxl.measures import statistics
from mechxl.plots import Panel, group_colour, small_multiples, themed

Rows = Sequence[Mapping[str, Any]]


def values(rows: Rows, variant: str, key: str) -> Float[np.ndarray, " seed"]:
    """A variant's numbers in the order of the rows, NaN where undefined."""
    return np.array([np.nan if row[key] is None else row[key] for row in rows if row["run"] == variant], dtype=float)


def t_interval(points: Float[np.ndarray, " seed"]) -> tuple[float, float, float]:
    """The mean of points and the ends of its 95 % t interval."""
    low, mean, high = statistics.t_interval(np.sort(points))  # in one order, so that it is rounded in one way
    return mean, low, high


def with_interval(points: Float[np.ndarray, " seed"], digits: int = 2) -> str:
    """A mean with its 95 % t interval: .75 [.66, .85]."""
    mean, low, high = t_interval(points)
    return f"{signed(mean, digits)} [{signed(low, digits)}, {signed(high, digits)}]"


def all_points(points: Float[np.ndarray, " seed"], digits: int = 2) -> str:
    """A mean with its 95 % t interval, and all points in ascending order."""
    return f"{with_interval(points, digits)} ({' '.join(signed(float(value), digits) for value in np.sort(points))})"


def by_variant(rows: Rows, variants: Sequence[str], keys: Sequence[str], digits: int = 2) -> dict[str, str]:
    """Numbers for prose. `KEY.VARIANT` is the mean; with .interval, .least, .most and .seeds after it, what they say.

    Seeds without a number are left out; what has none is "undefined".
    """
    numbers = {}
    for key in keys:
        for variant in variants:
            points = values(rows, variant, key)
            points = np.sort(points[~np.isnan(points)])
            name, known = f"{key}.{variant}", len(points) > 0
            numbers[name] = signed(float(points.mean()), digits) if known else "undefined"
            numbers[f"{name}.interval"] = with_interval(points, digits) if len(points) > 1 else numbers[name]
            numbers[f"{name}.least"] = signed(float(points.min()), digits) if known else "undefined"
            numbers[f"{name}.most"] = signed(float(points.max()), digits) if known else "undefined"
            numbers[f"{name}.seeds"] = str(len(points))
    return numbers


def said(holds: bool) -> str:
    """A verdict as a word of prose."""
    return "holds" if holds else "fails"


def p_value(p: float) -> str:
    """A p as text: three digits after the point, or as many as its first one needs: .031, .0005, .00003."""
    first = -int(f"{p:.0e}".partition("e")[2])  # the place of the first digit that is not 0, after rounding to one
    return signed(p, max(3, first))


def least_p(seeds: int, tests: int = 1) -> str:
    """The least p of a two-sided exact sign test of as many seeds, after Holm over as many tests that all give it."""
    return p_value(min(1.0, tests * 2 / 2**seeds))


def sign_test(differences: Float[np.ndarray, " seed"]) -> float:
    """Two-sided exact p of as many differences above 0; those that are 0 do not count."""
    positive, counted = int((differences > 0).sum()), int((differences != 0).sum())
    return float(stats.binomtest(positive, counted).pvalue) if counted else 1.0


def spearman(x: Float[np.ndarray, " run"], y: Float[np.ndarray, " run"]) -> float:
    """Spearman's rank correlation."""
    return float(np.asarray(stats.spearmanr(x, y))[0])


def spearman_p(
    x: Float[np.ndarray, " run"], y: Float[np.ndarray, " run"], rng: np.random.Generator, draws: int = 10_000
) -> float:
    """Two-sided p of Spearman's rho by permuting runs: (1 + how many are as far from 0) / (draws + 1)."""
    ranks, others = (np.asarray(stats.zscore(stats.rankdata(values))) for values in (x, y))
    null = np.array([abs(float(ranks @ rng.permutation(others))) for _ in range(draws)])
    return (1 + int((null >= abs(float(ranks @ others)) - 1e-9).sum())) / (draws + 1)


def points_panel(rows: Rows, variants: Sequence[str], columns: Mapping[str, str], caption: str) -> Panel:
    """Every run's numbers by variant, with means and 95 % t intervals over seeds: a panel a column."""
    figure = small_multiples(list(columns.values()))
    for place, key in enumerate(columns):
        for number, variant in enumerate(variants):
            points = values(rows, variant, key)
            points = points[~np.isnan(points)]
            row, column = place // 2 + 1, place % 2 + 1
            marker = {"color": group_colour(number), "size": 6, "opacity": 0.6}
            dots = go.Scatter(x=[variant] * len(points), y=points, mode="markers", marker=marker, showlegend=False)
            figure.add_trace(dots, row=row, col=column)
            if len(points) > 1:
                mean, low, high = t_interval(points)
                bar = {
                    "type": "data",
                    "array": [high - mean],
                    "arrayminus": [mean - low],
                    "color": group_colour(number),
                }
                mark = {"color": group_colour(number), "size": 11, "symbol": "line-ew-open"}
                middle = go.Scatter(x=[variant], y=[mean], error_y=bar, mode="markers", marker=mark, showlegend=False)
                figure.add_trace(middle, row=row, col=column)
    height = 260 * ((len(columns) + 1) // 2)
    figure.update_xaxes(dtick=1)  # each variant is named, on a phone too
    return Panel("points", "Every run", caption, themed(figure, height=height))


def dose_line(
    rows: Rows, variants: Mapping[float, str], key: str, name: str, colour: str, dash: str = "solid"
) -> go.Scatter:
    """A quantity against a setting: means over seeds with 95 % t intervals, where at least two seeds have it.

    Args:
        rows: of a study.
        variants: of each level of the setting.
        key: the quantity.
        name: in the legend; empty: none there.
        colour: of line and intervals.
        dash: of the line.
    """
    found = []
    for level, variant in variants.items():
        points = values(rows, variant, key)
        points = points[~np.isnan(points)]
        if len(points) > 1:
            found.append((level, *t_interval(points)))
    x, mean, low, high = np.array(found).reshape(-1, 4).T
    bars = {"type": "data", "array": high - mean, "arrayminus": mean - low, "thickness": 1, "width": 3}
    line = {"color": colour, "width": 1.5, "dash": dash}
    look = {"error_y": bars, "mode": "lines+markers", "line": line, "marker": {"size": 6}}
    return go.Scatter(x=x, y=mean, name=name, legendgroup=name, showlegend=bool(name), **look)
