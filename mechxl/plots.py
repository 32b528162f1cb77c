"""How figures look: the theme, and a palette for each concept (languages, layers, groups of runs, kinds of answers)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#B8A700",
)
GREY, INK, RULE = "#8A8F98", "#1F2430", "#E3E6EB"

LANGUAGES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, YELLOW, INK)
GROUPS = (INK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE)
LAYERS = ("#BBD3E8", "#6FA8D6", "#2171B5", "#08306B")
KIND_COLOURS = {"right": GREEN, "right_value_other_language": SKY, "wrong_value": ORANGE, "other": GREY}
PAPER = "#FFFFFF"
# On a dark page, these colours replace those of a light page; the other colours serve on both.
DARK = {
    INK: "#E6E8EC",
    RULE: "#343A45",
    GREY: "#9AA1AC",
    PAPER: "#1B1F27",
    LAYERS[0]: "#33536F",
    LAYERS[1]: "#4F8CC0",
    LAYERS[2]: "#7DBBF0",
    LAYERS[3]: "#D3E9FF",
}
SEPARATE_TO_UNIFIED = [(0.0, VERMILION), (0.5, PAPER), (1.0, BLUE)]


@dataclass(frozen=True)
class Panel:
    """A figure with its title and caption.

    Attributes:
        name: identifies the panel in links.
        title: the claim or the quantity.
        caption: how to read the figure, with n, seeds, interval and null.
        figure: the figure itself.
        square: whether the figure keeps its proportions, instead of a fixed height.
    """

    name: str
    title: str
    caption: str
    figure: go.Figure
    square: bool = False


def group_colour(number: int) -> str:
    """The colour of a group of runs in a comparison."""
    return GROUPS[number % len(GROUPS)]


def layer_colour(layer: int, n_layers: int) -> str:
    """The colour of a layer, from light (embeddings) to dark (the last layer)."""
    return LAYERS[round(layer / max(n_layers, 1) * (len(LAYERS) - 1))]


def faint(colour: str, opacity: float = 0.18) -> str:
    """A hex colour made transparent, for intervals."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def themed(figure: go.Figure, height: int = 380, legend_rows: int = 1) -> go.Figure:
    """Applies the theme: light grid lines, the legend below the panels, margins that fit narrow screens."""
    figure.update_layout(
        template="none",
        height=height + 22 * (legend_rows - 1),
        margin={"l": 52, "r": 14, "t": 34, "b": 60 + 22 * legend_rows},
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified",
        hoverlabel={"font": {"size": 12}},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
    )
    figure.update_xaxes(
        gridcolor=RULE, zeroline=False, linecolor=GREY, ticks="outside", tickcolor=GREY, automargin=True
    )
    figure.update_yaxes(
        hoverformat=".3f",
        gridcolor=RULE,
        zeroline=False,
        linecolor=GREY,
        ticks="outside",
        tickcolor=GREY,
        automargin=True,
    )
    return figure


ZERO_AT = 0.4


def steps_shown(steps: Iterable[int]) -> list[float]:
    """Steps as places on a logarithmic axis; step 0 is drawn left of step 1."""
    return [float(step) if step else ZERO_AT for step in steps]


def step_axis(
    figure: go.Figure, steps: Iterable[int], *, narrow: bool = False, row: int | None = None, col: int | None = None
) -> None:
    """Makes the horizontal axis a logarithmic axis of steps, with 0 marked.

    Args:
        figure: the figure to change.
        steps: the steps of all checkpoints.
        narrow: whether to draw fewer labels, for panels side by side.
        row: row of the panels to change; all rows if not given.
        col: column of the panels to change; all columns if not given.
    """
    last = int(max(steps))
    ticks = [10**power for power in range(int(narrow), len(str(last)))]
    if narrow and len(ticks) > 3:  # more labels would overlap on a phone
        ticks = ticks[::2]
    if not narrow:
        ticks = [*(tick for tick in ticks if tick < last / 1.6), last]
    figure.update_layout(
        meta={"clock": "step"}
    )  # so that a page can mark the checkpoint that was chosen in another figure
    figure.update_xaxes(
        type="log",
        range=[math.log10(ZERO_AT), math.log10(max(last, 1)) + 0.02],
        tickvals=[ZERO_AT, *ticks],
        ticktext=["0", *(f"{tick:,}" for tick in ticks)],
        tickangle=0,
        hoverformat=",.0f",
        title={"text": "step", "standoff": 6},
        row=row,
        col=col,
    )


def step_slider(steps: Sequence[int]) -> dict[str, object]:
    """A slider over a figure's frames, which are named by step. It starts at the last."""
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    return {
        "active": len(steps) - 1,
        "currentvalue": {"prefix": "step "},
        "pad": {"t": 34, "b": 4},
        "steps": [{"label": f"{step:,}", "method": "animate", "args": [[str(step)], at_once]} for step in steps],
    }


def side_by_side(*titles: str) -> go.Figure:
    """Panels side by side that share one vertical axis."""
    return make_subplots(rows=1, cols=len(titles), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)


def small_multiples(titles: Sequence[str], columns: int = 2) -> go.Figure:
    """Panels for one quantity each, row by row, each with its own vertical axis."""
    rows = math.ceil(len(titles) / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=titles,
        shared_xaxes=True,
        horizontal_spacing=0.1,
        vertical_spacing=0.3 / rows,
    )
    return figure.update_annotations(font_size=13)


def line(
    x: Iterable[float],
    y: Iterable[float],
    name: str,
    colour: str,
    *,
    dash: str = "solid",
    width: float = 2,
    group: str | None = None,
    showlegend: bool = True,
) -> go.Scatter:
    """A curve."""
    return go.Scatter(
        x=list(x),
        y=list(y),
        name=name,
        mode="lines",
        line={"color": colour, "dash": dash, "width": width},
        legendgroup=group,
        showlegend=showlegend,
    )


def band(
    x: Iterable[float], low: Iterable[float], high: Iterable[float], colour: str, group: str | None = None
) -> go.Scatter:
    """A shaded interval around a curve."""
    return go.Scatter(
        x=[*(points := list(x)), *reversed(points)],
        y=[*high, *reversed(list(low))],
        fill="toself",
        fillcolor=faint(colour),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group,
    )


def level(figure: go.Figure, y: float, text: str, subplot: int = 1) -> None:
    """Draws a horizontal reference line with its label into one of the panels side by side."""
    axis = "" if subplot == 1 else str(subplot)
    rule = {"color": GREY, "dash": "dot", "width": 1.5}
    figure.add_shape(type="line", x0=0, x1=1, y0=y, y1=y, xref=f"x{axis} domain", yref=f"y{axis}", line=rule)
    if text:
        place = {"x": 1, "xref": f"x{axis} domain", "xanchor": "right", "y": y, "yref": f"y{axis}", "yanchor": "bottom"}
        figure.add_annotation(text=text, font={"size": 11, "color": GREY}, showarrow=False, **place)
