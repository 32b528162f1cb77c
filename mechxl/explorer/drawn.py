"""The explorer's figures: created once, then updated when a control changes or a fact is picked."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechxl.explorer.choice import Choice
from mechxl.explorer.shown import Patched, Renderings
from mechxl.instruments.patching.pairs import OUTCOMES
from mechxl.plots import (
    GREY,
    INK,
    LANGUAGES,
    SEPARATE_TO_UNIFIED,
    faint,
    layer_colour,
    level,
    line,
    step_axis,
    steps_shown,
    themed,
)

WIDTH, HEIGHT = 520, 430
LARGE, SMALL = 15, 8
MARGIN = {"l": 52, "r": 14, "t": 48, "b": 64}


def map_figure(names: Sequence[str]) -> go.FigureWidget:
    """The first trace holds the lines that join a fact's two renderings; each language has a further trace."""
    figure = go.Figure(go.Scatter(mode="lines", line={"color": faint(GREY, 0.5), "width": 1}, hoverinfo="skip"))
    for name in names:
        figure.add_trace(go.Scatter(mode="markers", name=name, hovertemplate="%{text}<extra></extra>"))
    figure.data[0].showlegend = False
    figure = _sized(themed(figure))
    figure.update_xaxes(title="first component")
    figure.update_yaxes(title="second component", scaleanchor="x")
    return figure


def draw_map(figure: go.FigureWidget, shown: Renderings, names: Sequence[str], picked: tuple[int, int]) -> None:
    """Moves the points; those of the picked fact are larger, in both languages."""
    n = len(shown.fact) // 2
    with figure.batch_update():
        a, b = shown.plane[:n], shown.plane[n:]
        for axis, values in enumerate(("x", "y")):
            gaps = np.full(n, np.nan)
            figure.data[0][values] = np.stack([a[:, axis], b[:, axis], gaps], axis=1).ravel()
        for trace, part, start in zip(traces(figure)[1:], (a, b), (0, n), strict=True):
            language = int(shown.language[start])
            trace.x, trace.y = part[:, 0], part[:, 1]
            trace.text = [f"{escape(names[language])}: {escape(text)}" for text in shown.text[start : start + n]]
            trace.name = escape(names[language])
            size = np.where(shown.fact[:n] == picked[0], LARGE, SMALL)
            edge = np.where((shown.fact[:n] == picked[0]) & (language == picked[1]), 2, 0)
            trace.marker = {
                "color": LANGUAGES[language % len(LANGUAGES)],
                "size": size,
                "opacity": 1,
                "line": {"color": INK, "width": edge},
            }
        figure.layout.title.text = f"Map: {shown.explained:.0%} of the variance of {shown.facts:,} facts"


def board_figure() -> go.FigureWidget:
    """One heat map of cosines; a rectangle marks the row that is picked."""
    scale = {"title": {"text": "cosine"}, "thickness": 9}
    heat = go.Heatmap(zmin=-1, zmax=1, colorscale=SEPARATE_TO_UNIFIED, colorbar=scale)
    heat.hovertemplate = "%{customdata}<br>cosine %{z:.2f}<extra></extra>"
    figure = _sized(themed(go.Figure(heat)))
    figure.update_xaxes(showgrid=False, constrain="domain")
    figure.update_yaxes(showgrid=False, autorange="reversed", scaleanchor="x")
    return figure


def draw_board(figure: go.FigureWidget, shown: Renderings, names: Sequence[str], picked: tuple[int, int]) -> None:
    """Redraws the cosines, language by language."""
    n = len(shown.fact) // 2
    labels = [f"{escape(names[int(a)])}: {escape(text)}" for a, text in zip(shown.language, shown.text, strict=True)]
    ticks = {
        "tickvals": [n / 2 - 0.5, 1.5 * n - 0.5],
        "ticktext": [escape(names[int(a)]) for a in shown.language[[0, n]]],
    }
    edge = [{"type": "line", "line": {"color": INK, "width": 1}}] * 2
    shapes = [
        edge[0] | {"x0": n - 0.5, "x1": n - 0.5, "y0": -0.5, "y1": 2 * n - 0.5},
        edge[1] | {"y0": n - 0.5, "y1": n - 0.5, "x0": -0.5, "x1": 2 * n - 0.5},
    ]
    for row in np.flatnonzero((shown.fact == picked[0]) & (shown.language == picked[1])).tolist():
        around = {"x0": -0.5, "x1": 2 * n - 0.5, "y0": row - 0.5, "y1": row + 0.5}
        shapes.append({"type": "rect", "line": {"color": INK, "width": 1.5}} | around)
    with figure.batch_update():
        figure.data[0].z = shown.board
        figure.data[0].customdata = [[f"{row}<br>{column}" for column in labels] for row in labels]
        figure.layout.shapes = shapes
        figure.layout.xaxis.update(ticks)
        figure.layout.yaxis.update(ticks)
        figure.layout.title.text = f"Checkerboard: {n} facts in two languages"


def curves_figure(steps: Sequence[int], n_layers: int) -> go.FigureWidget:
    """One curve for each layer; the last trace marks the chosen checkpoint and layer."""
    figure = go.Figure()
    for layer in range(n_layers + 1):
        curve = line(steps_shown(steps), [], f"layer {layer}", layer_colour(layer, n_layers))
        curve.mode = "lines+markers"
        figure.add_trace(curve)
    figure.add_trace(go.Scatter(mode="markers", marker={"size": 13, "color": INK, "symbol": "circle-open"}))
    figure.data[-1].update(showlegend=False, hoverinfo="skip")
    level(figure, 0.0, "")
    step_axis(themed(figure), steps)
    figure.update_yaxes(title="S − W")
    return _sized(figure, hovermode="x unified")


def draw_curves(figure: go.FigureWidget, curves: pd.DataFrame, choice: Choice, facts: int) -> None:
    """Redraws the curves, and the mark at the chosen checkpoint and layer."""
    with figure.batch_update():
        for layer in curves.columns:
            figure.data[layer].y = curves[layer].to_numpy()
        figure.data[-1].x = steps_shown([choice.step])
        figure.data[-1].y = [curves.loc[choice.step, choice.layer]]
        figure.layout.title.text = f"Score over training: {facts:,} {choice.group} facts"


def attention_figure() -> go.FigureWidget:
    """Two panels, one for each language: rows are (head, query position), columns are key positions."""
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.28)
    for column in (1, 2):
        heat = go.Heatmap(zmin=0, zmax=1, colorscale="Blues", showscale=column == 2, colorbar={"thickness": 9})
        heat.hovertemplate = "from %{y} to %{x}: %{z:.2f}<extra></extra>"
        figure.add_trace(heat, row=1, col=column)
    figure = _sized(themed(figure))
    figure.update_yaxes(autorange="reversed")
    return figure


def draw_attention(
    figure: go.FigureWidget, patterns: Sequence[tuple[pd.DataFrame, list[str]]], layer: int, names: Sequence[str]
) -> None:
    """Redraws the patterns of one prompt in both languages. Heads have TransformerLens's names (L0H1)."""
    with figure.batch_update():
        for trace, (pattern, tokens), name in zip(traces(figure), patterns, names, strict=True):
            labels = [f"{position} {escape(token)}" for position, token in enumerate(tokens)]
            rows = [f"{escape(name)} L{layer - 1}H{head} {labels[query]}" for head, query in pattern.index]
            trace.update(z=pattern.to_numpy(dtype=float), x=labels, y=rows)
        writers = f"layer {layer} (heads L{layer - 1}H0, ...)" if layer else "none at layer 0 (embeddings)"
        figure.layout.title.text = f"Attention by head: {writers}"


def patch_figure(layers: Sequence[int], roles: Sequence[str]) -> go.FigureWidget:
    """Rows are layers, columns are roles; each cell shows the word that is answered."""
    scale = {"title": {"text": "nats"}, "thickness": 9}
    heat = go.Heatmap(
        x=list(roles), y=[f"layer {layer}" for layer in layers], colorscale="PuOr", zmid=0, colorbar=scale
    )
    heat.update(texttemplate="%{text}", hovertemplate="%{y}, %{x}<br>%{customdata}<br>%{z:.2f} nats<extra></extra>")
    figure = _sized(themed(go.Figure(heat)))
    figure.layout.title.text = "Patching: click a fact"
    return figure


def draw_patch(figure: go.FigureWidget, patched: Patched | None) -> None:
    """Redraws the answers; empties the figure if there is no receiver."""
    with figure.batch_update():
        if patched is None:
            figure.data[0].update(z=None, text=None, customdata=None)
            figure.layout.title.text = "Patching: no receiver for this fact"
            return
        words = [[escape(word) for word in row] for row in patched.answer.to_numpy()]
        kinds = [[escape(OUTCOMES[int(kind)]) for kind in row] for row in patched.outcome.to_numpy()]
        figure.data[0].update(z=patched.gain.to_numpy(), text=words, customdata=kinds)
        figure.layout.title.text = "Patched answers; log p of the donor's value minus the receiver's"


def traces(figure: go.FigureWidget) -> Any:
    """The figure's traces; plotly does not declare their type."""
    return figure.data


def _sized(figure: go.Figure, hovermode: str = "closest") -> go.FigureWidget:
    figure.update_layout(
        width=WIDTH, height=HEIGHT, margin=MARGIN, hovermode=hovermode, title={"font": {"size": 14}, "x": 0.02}
    )
    return go.FigureWidget(figure)
