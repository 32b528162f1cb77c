"""Figures of the question `phases`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from mechxl.findings import Finding, signed
from mechxl.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    VERMILION,
    Panel,
    faint,
    layer_colour,
    line,
    small_multiples,
    step_axis,
    steps_shown,
    themed,
)
from mechxl.questions.phases.named import EXCESS, RAW, layer_of

# one of each quantity stands on the time line; raw S - X does only where there is no excess
UNITS = ("accuracy", EXCESS.units[0], "bits", "ratio")


def figures(finding: Finding) -> list[Panel]:
    """The time line; the curves with their fits; lags; the second opinion."""
    panels = [_timeline(finding), _curves(finding)]
    if finding.tables["lags"]["value"].notna().any():
        panels.append(_lags(finding))
    if len(finding.tables["change_points"]):
        panels.append(_second_opinion(finding))
    return panels


def overview(finding: Finding) -> Panel:
    """The time line without its caption, small: for the first screen."""
    figure = _timeline(finding).figure
    axis: Any = figure.layout["yaxis"]
    rows = len(axis["categoryarray"])
    figure.update_layout(height=70 + 25 * rows, margin={"t": 4, "b": 44}, font={"size": 12})
    caption = (
        "Bar: from 10 to 90 % of a rise; diamond: half-rise step with its 95 % interval; open: not finished; circle: "
        "half of the way, where no onset is resolved. A dashed line marks the checkpoint chosen below."
    )
    return Panel("overview", "The phases of this run", caption, figure)


def colour_of(quantity: str, n_layers: int) -> str:
    """One colour for each quantity; layers by their own palette."""
    if quantity.startswith((EXCESS.quantity, RAW.quantity)):
        return layer_colour(layer_of(quantity), n_layers)
    names = {"recall": INK, "transfer": VERMILION}
    return names.get(quantity, PURPLE if quantity.startswith("language") else GREEN)


def rise(fit: Mapping[Any, Any], step: np.ndarray) -> np.ndarray:
    """The fitted curve at some steps: one logistic, or the sum of two."""
    curve = np.full(len(step), fit["c"])
    for number in ("", "2"):
        if np.isfinite(fit[f"A{number}"]):
            z = np.clip((np.log(step) - fit[f"m{number}"]) / fit[f"w{number}"], -60, 60)
            curve += fit[f"A{number}"] / (1 + np.exp(-z))
    return curve


def _timeline(finding: Finding) -> Panel:
    onsets, marginals, figure = finding.tables["onsets"], finding.tables["marginals"], go.Figure()
    last, labels, quiet = finding.notes["last"], [], {"color": GREY, "size": 11}
    bound = signed(finding.notes["near"])
    for marginal in marginals["marginal"].unique():
        labels.append(f"knows {marginal} only")
        near = marginals[(marginals["marginal"] == marginal) & marginals["near"].astype(bool)]["step"]
        if len(near):
            _bar(figure, labels[-1], near.min(), near.max(), ORANGE, f"KL below {bound} nats")
        else:
            figure.add_annotation(x=np.log10(last), y=labels[-1], text=f"never within {bound} nats", font=quiet)
    units = UNITS if (onsets["unit"] == EXCESS.units[0]).any() else (*UNITS, RAW.units[0])
    for row in onsets[onsets["unit"].isin(units)].to_dict("records"):
        labels.append(row["quantity"].removesuffix(", transferred"))  # short enough for a phone
        colour = colour_of(row["quantity"], finding.notes["layers"])
        if row["outcome"] == "no rise":
            figure.add_annotation(x=np.log10(last), y=labels[-1], text=_without_rise(finding, row), font=quiet)
        for mark in _marks(row, last):
            if mark.ends:
                _bar(figure, labels[-1], *mark.ends, colour, "from 10 to 90 % of a rise")
            figure.add_trace(_mark(mark, labels[-1], colour))
    figure.update_annotations(showarrow=False, xanchor="right")
    step_axis(figure, [last])
    figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1], tickfont={"size": 11}, type="category")
    themed(figure, height=110 + 34 * len(labels))
    figure.update_layout(hovermode="closest", margin={"b": 56, "t": 12}, showlegend=False)
    caption = (
        "What is learned, and when. Unification is the excess of S - X over the trained null; raw alignment, shown "
        "where there is no null, may rise where nothing can unify. Bar: from 10 to 90 % of the fitted rise. Diamond: "
        "the half-rise step with its 95 % "
        "interval, the wider of the gap between evaluations and an AR(1) residual bootstrap "
        f"({finding.notes['draws']} draws). Open diamond: the rise is not finished, so that its step is not known yet. "
        "Circle: the curve rises, but no onset is resolved; half of the way, whatever the shape. A curve that does not "
        "rise, and is defined only later, is given by its value. "
        "Orange: the answers about unseen entities follow that marginal and no fact. Null: a constant or a line with "
        "AR(1) noise; docs/phases.md says how often one is given an onset. The next figure has n, the evaluations "
        "of each curve; one run."
    )
    return Panel("timeline", "The time line", caption, figure)


def _without_rise(finding: Finding, row: Mapping[Any, Any]) -> str:
    """What the time line says of a curve that does not rise: where it stays, if it is defined only later."""
    curves = finding.tables["curves"]
    steps = curves[(curves["quantity"] == row["quantity"]) & (curves["unit"] == row["unit"])]["step"]
    return f"near {signed(row['last'])} from step {steps.min():,} on" if steps.min() > 1 else "no rise"


@dataclass(frozen=True)
class _Mark:
    """What the time line shows of one rise: its step, with an interval, and where its bar begins and ends."""

    step: float
    low: float
    high: float
    ends: tuple[float, float] | None
    symbol: str
    hover: str


def _marks(row: Mapping[Any, Any], last: int) -> list[_Mark]:
    """A diamond for each rise, open where it is not finished; a circle where no onset is resolved."""
    marks = []
    for prefix, number in (("", ""), ("second_", "2")):
        step = row[f"{prefix}step"]
        if np.isfinite(step):
            ends = np.exp(row[f"m{number}"] + np.array([-1, 1]) * np.log(9) * row[f"w{number}"]).clip(1, last)
            open_ = row["outcome"] == "rises, not finished" and (prefix or not np.isfinite(row["second_step"]))
            symbol, what = ("diamond-open", "not finished, half-rise") if open_ else ("diamond", "half-rise")
            marks.append(_Mark(step, row[f"{prefix}low"], row[f"{prefix}high"], (ends[0], ends[1]), symbol, what))
    if not marks and np.isfinite(row["half_step"]):
        what = f"{row['outcome']}; half of the way"
        marks.append(_Mark(row["half_step"], row["half_low"], row["half_high"], None, "circle-open", what))
    return marks


def _mark(mark: _Mark, label: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[mark.step],
        y=[label],
        mode="markers",
        marker={"color": colour, "size": 10, "symbol": mark.symbol},
        error_x={"type": "data", "symmetric": False, "thickness": 2, "array": [mark.high - mark.step],
                 "arrayminus": [mark.step - mark.low]},
        hovertemplate=f"{mark.hover} {mark.step:,.0f} [{mark.low:,.0f}, {mark.high:,.0f}]<extra></extra>",
        showlegend=False,
    )  # fmt: skip


def _bar(figure: go.Figure, label: str, low: float, high: float, colour: str, hover: str) -> None:
    bar = go.Scatter(
        x=steps_shown([int(low), int(high)]),
        y=[label, label],
        mode="lines",
        line={"color": faint(colour, 0.35), "width": 14},
        hovertemplate=f"{hover}: %{{x:,.0f}}<extra></extra>",
        showlegend=False,
    )
    figure.add_trace(bar)


def _curves(finding: Finding) -> Panel:
    curves, onsets = finding.tables["curves"], finding.tables["onsets"]
    fits = onsets.to_dict("records")
    figure = small_multiples([f"{fit['quantity']}: {fit['unit']}" for fit in fits])
    for place, fit in enumerate(fits):
        row, column = place // 2 + 1, place % 2 + 1
        part = curves[(curves["quantity"] == fit["quantity"]) & (curves["unit"] == fit["unit"])].sort_values("step")
        colour = colour_of(fit["quantity"], finding.notes["layers"])
        dots = go.Scatter(
            x=steps_shown(part["step"]),
            y=part["value"],
            mode="markers",
            marker={"size": 3.5, "color": colour},
            hovertemplate="step %{x:,.0f}: %{y:.3f}<extra></extra>",
            showlegend=False,
        )
        figure.add_trace(dots, row=row, col=column)
        if np.isfinite(fit["step"]):
            x = np.geomspace(max(fit["from_step"], 1), finding.notes["last"], 80)
            figure.add_trace(
                line(x, fit["floor"] + rise(fit, x), "", colour, showlegend=False, width=1.3), row=row, col=column
            )
            inside = {"fillcolor": faint(colour), "line_width": 0, "row": row, "col": column}
            for prefix in ("", "second_"):
                if np.isfinite(fit[f"{prefix}step"]):
                    figure.add_vrect(x0=fit[f"{prefix}low"], x1=fit[f"{prefix}high"], **inside)  # pyright: ignore[reportArgumentType]
    step_axis(figure, finding.notes["steps"], narrow=True)
    figure.update_xaxes(title=None)
    themed(figure, height=90 + 150 * -(-len(fits) // 2))
    figure.update_layout(hovermode="closest", margin={"b": 40}, showlegend=False)
    figure.update_annotations(font_size=11)
    counts = ", ".join(f"{fit['quantity']} ({fit['unit']}) {int(fit['n'])}" for fit in fits)
    caption = (
        "Every curve, with the logistics in ln(step) fitted to it where it has an onset. "
        "Shaded: the 95 % interval of each half-rise. An accuracy's rise is fitted to what lies above the best guess "
        "without facts. Bits about the language have their sign changed, so that losing "
        f"the language is a rise. Null: a constant and lines with AR(1) residuals, by AICc. n, evaluations: {counts}; "
        "one run."
    )
    return Panel("fits", "The curves behind it", caption, figure)


def _lags(finding: Finding) -> Panel:
    lags = finding.tables["lags"]
    lags = lags[lags["value"].notna()]
    labels = [f"{row['second']} after {row['first']}<br>{row['units']}" for row in lags.to_dict("records")]
    factor, low, high = (np.exp(lags[name].to_numpy()) for name in ("value", "low", "high"))
    points = go.Scatter(
        x=factor,
        y=[label.replace("unification, layer", "unif.") for label in labels],
        mode="markers",
        marker={"size": 9, "color": [BLUE if p <= 0.05 else GREY for p in lags["p"]]},
        error_x={"type": "data", "symmetric": False, "array": high - factor, "arrayminus": factor - low, "color": GREY},
        text=[f"p = {p:.3f}" for p in lags["p"]],
        hovertemplate="%{x:.2f} times, %{text}<extra></extra>",
        showlegend=False,
    )
    figure = go.Figure(points)
    figure.add_vline(x=1, line={"color": GREY, "dash": "dot"})  # pyright: ignore[reportArgumentType]
    ticks = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16]
    texts = ["1/16", "1/8", "1/4", "1/2", "1", "2", "4", "8", "16"]
    title = {"text": "times the step of the first", "standoff": 6}
    figure.update_xaxes(type="log", title=title, tickvals=ticks, ticktext=texts)
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10})
    themed(figure, height=100 + 40 * len(lags)).update_layout(hovermode="closest", margin={"b": 56, "t": 12})
    caption = (
        "How much later the second rises than the first, in every pair of units. Whiskers: 95 % by the residual "
        "bootstraps of both. Blue: p <= .05 under the null that both curves have one onset (drawn around one midpoint "
        f"and refitted, {finding.notes['draws']} draws). A lag depends on units, so 'precedes' needs one sign in all "
        "units. A lag is a description; a cause needs an intervention. "
        f"n = {len(finding.notes['steps'])} checkpoints for scores; one run."
    )
    return Panel("lags", "How far one lies behind the other", caption, figure)


def _second_opinion(finding: Finding) -> Panel:
    table, figure = finding.tables["change_points"], go.Figure()
    for quantity in table["quantity"].unique():
        rows = table[table["quantity"] == quantity].to_dict("records")
        points = [(int(step), row["penalty"]) for row in rows for step in row["steps"].split()]
        colour = colour_of(quantity, finding.notes["layers"])
        marks = go.Scatter(
            x=[step for step, _ in points],
            y=[penalty for _, penalty in points],
            mode="markers",
            name=quantity,
            marker={"size": 8, "symbol": "line-ns", "line": {"width": 2, "color": colour}},
        )
        figure.add_trace(marks)
    step_axis(figure, finding.notes["steps"])
    penalties = sorted(set(table["penalty"].astype(int)))
    figure.update_yaxes(type="log", title="penalty", tickvals=penalties, ticktext=list(map(str, penalties)))
    themed(figure, height=260).update_layout(hovermode="closest")
    caption = (
        "Changes of the mean by PELT (ruptures), with penalties of 1 to 32 times ln(n) times the noise variance. "
        "This is a second opinion: on a smooth curve the number of changes depends more on the penalty than on the "
        "data, and there is neither interval nor null. "
        f"n = {len(finding.notes['steps'])} checkpoints or more; one run."
    )
    return Panel("change-points", "A second opinion: change points by penalty", caption, figure)
