"""The explorer's figures, each drawn from the numbers that it shows."""

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

HEIGHT = 400
LARGE, SMALL = 15, 8
MARGIN = {"l": 52, "r": 14, "t": 34, "b": 64}  # at the top lies plotly's mode bar


def draw_map(shown: Renderings, names: Sequence[str], picked: tuple[int, int]) -> go.Figure:
    """The first trace joins a fact's two renderings by lines; each language has a further trace of points.

    The points of the picked fact are larger, in both languages.
    """
    n = len(shown.fact) // 2
    a, b = shown.plane[:n], shown.plane[n:]
    joined = np.stack([a, b, np.full((n, 2), np.nan)], axis=1).reshape(-1, 2)
    figure = go.Figure(
        go.Scatter(
            x=joined[:, 0],
            y=joined[:, 1],
            mode="lines",
            line={"color": faint(GREY, 0.5), "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for points, start in ((a, 0), (b, n)):
        language = int(shown.language[start])
        is_picked = shown.fact[:n] == picked[0]
        marker = {
            "color": LANGUAGES[language % len(LANGUAGES)],
            "size": np.where(is_picked, LARGE, SMALL),
            "opacity": 1,
            "line": {"color": INK, "width": np.where(is_picked & (language == picked[1]), 2, 0)},
        }
        text = [f"{escape(names[language])}: {escape(sentence)}" for sentence in shown.text[start : start + n]]
        figure.add_scatter(
            x=points[:, 0],
            y=points[:, 1],
            mode="markers",
            name=escape(names[language]),
            marker=marker,
            text=text,
            hovertemplate="%{text}<extra></extra>",
        )
    figure = _sized(figure, f"Map: {shown.explained:.0%} of the variance of {shown.facts:,} facts")
    figure.update_xaxes(title="first component")
    figure.update_yaxes(title="second component", scaleanchor="x")
    return figure


def draw_board(shown: Renderings, names: Sequence[str], picked: tuple[int, int]) -> go.Figure:
    """A heat map of cosines, language by language; a rectangle marks the row that is picked."""
    n = len(shown.fact) // 2
    labels = [f"{escape(names[int(a)])}: {escape(text)}" for a, text in zip(shown.language, shown.text, strict=True)]
    figure = go.Figure(
        go.Heatmap(
            z=shown.board,
            customdata=[[f"{row}<br>{column}" for column in labels] for row in labels],
            zmin=-1,
            zmax=1,
            colorscale=SEPARATE_TO_UNIFIED,
            colorbar={"title": {"text": "cosine"}, "thickness": 9},
            hovertemplate="%{customdata}<br>cosine %{z:.2f}<extra></extra>",
        )
    )
    first, last = -0.5, 2 * n - 0.5
    edge = {"color": INK, "width": 1}
    figure.add_shape(type="line", line=edge, x0=n - 0.5, x1=n - 0.5, y0=first, y1=last)
    figure.add_shape(type="line", line=edge, y0=n - 0.5, y1=n - 0.5, x0=first, x1=last)
    for row in np.flatnonzero((shown.fact == picked[0]) & (shown.language == picked[1])).tolist():
        thicker = {"color": INK, "width": 1.5}
        figure.add_shape(type="rect", line=thicker, x0=first, x1=last, y0=row - 0.5, y1=row + 0.5)
    figure = _sized(figure, f"Checkerboard: {n} facts in two languages")
    ticks: dict[str, Any] = {
        "showgrid": False,
        "tickvals": [n / 2 - 0.5, 1.5 * n - 0.5],
        "ticktext": [escape(names[int(a)]) for a in shown.language[[0, n]]],
    }
    figure.update_xaxes(constrain="domain", **ticks)
    figure.update_yaxes(autorange="reversed", scaleanchor="x", **ticks)
    return figure


def draw_curves(curves: pd.DataFrame, choice: Choice, facts: int) -> go.Figure:
    """One curve of S - W for each layer; the last trace marks the chosen checkpoint and layer."""
    figure, steps = go.Figure(), curves.index.tolist()
    layers = [int(layer) for layer in curves.columns]
    for layer in layers:
        colour = layer_colour(layer, layers[-1])
        curve = line(steps_shown(steps), curves[layer], f"layer {layer}", colour)
        curve.update(mode="lines+markers", customdata=steps, hovertemplate="step %{customdata:,}: %{y:.3f}")
        figure.add_trace(curve)
    figure.add_scatter(
        x=steps_shown([choice.step]),
        y=[curves.loc[choice.step, choice.layer]],
        mode="markers",
        marker={"size": 13, "color": INK, "symbol": "circle-open"},
        showlegend=False,
        hoverinfo="skip",
    )
    level(figure, 0.0, "")
    figure = _sized(figure, f"Score over training: {facts:,} {choice.group} facts", hovermode="x unified")
    step_axis(figure, steps)
    figure.update_yaxes(title="S − W")
    return figure


def draw_attention(patterns: Sequence[tuple[pd.DataFrame, list[str]]], layer: int, names: Sequence[str]) -> go.Figure:
    """The patterns of one prompt in two languages: rows are (head, query position), columns are key positions.

    Heads have TransformerLens's names (L0H1).
    """
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.36)
    for column, ((pattern, tokens), name) in enumerate(zip(patterns, names, strict=True), start=1):
        labels = [f"{position} {escape(token)}" for position, token in enumerate(tokens)]
        rows = [f"L{layer - 1}H{head} {labels[query]}" for head, query in pattern.index]
        heat = go.Heatmap(
            z=pattern.to_numpy(dtype=float),
            x=labels,
            y=rows,
            zmin=0,
            zmax=1,
            colorscale="Blues",
            showscale=column == 2,
            colorbar={"thickness": 9},
            hovertemplate="from %{y} to %{x}: %{z:.2f}<extra></extra>",
        )
        figure.add_trace(heat, row=1, col=column)
        figure.update_xaxes(title={"text": escape(name), "standoff": 4}, col=column)
    writers = f"layer {layer} (heads L{layer - 1}H0, ...)" if layer else "none at layer 0 (embeddings)"
    figure = _sized(figure, f"Attention by head: {writers}")
    figure.update_xaxes(tickfont={"size": 11})
    figure.update_yaxes(tickfont={"size": 11}, autorange="reversed")
    return figure


def draw_patch(patched: Patched | None, layers: Sequence[int], roles: Sequence[str], without: str) -> go.Figure:
    """The answers by layer (row) and role (column), as words; without a patch the title is `without`."""
    heat = go.Heatmap(
        x=list(roles),
        y=[f"layer {layer}" for layer in layers],
        colorscale="PuOr",
        zmid=0,
        colorbar={"title": {"text": "nats"}, "thickness": 9},
        texttemplate="%{text}",
        hovertemplate="%{y}, %{x}<br>%{customdata}<br>%{z:.2f} nats<extra></extra>",
    )
    title = without
    if patched is not None:
        words = [[escape(word) for word in row] for row in patched.answer.to_numpy()]
        kinds = [[escape(OUTCOMES[int(kind)]) for kind in row] for row in patched.outcome.to_numpy()]
        heat.update(z=patched.gain.to_numpy(), text=words, customdata=kinds)
        title = "Patched answers; log p of the donor's value minus the receiver's"
    figure = _sized(go.Figure(heat), title)
    if patched is None:  # an empty figure shows its places
        figure.update_xaxes(type="category", range=[-0.5, len(roles) - 0.5])
        figure.update_yaxes(type="category", range=[-0.5, len(layers) - 0.5])
    return figure


def _sized(figure: go.Figure, title: str, hovermode: str = "closest") -> go.Figure:
    """The theme; the width is that of the place where the figure is shown."""
    figure = themed(figure, HEIGHT)
    clear = {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": INK}
    return figure.update_layout(margin=MARGIN, hovermode=hovermode, title={"text": title}, modebar=clear)
