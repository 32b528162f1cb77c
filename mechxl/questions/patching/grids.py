"""Figures of all places: the grid of layers and roles, and head by head."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechxl.findings import Finding
from mechxl.plots import (
    Panel,
    step_slider,
    themed,
)
from mechxl.questions.patching.labels import direction_labels, pairs_counted

SCALE = [(0.0, "#FFFFFF"), (0.5, "#6FA8D6"), (1.0, "#08306B")]
BAR = {"orientation": "h", "thickness": 9, "yref": "container", "y": 1, "yanchor": "top"}


def grid_panel(finding: Finding) -> Panel:
    """Interchange accuracy and ceiling at every place, by checkpoint."""
    table, steps = finding.tables["places"], finding.notes["few_steps"]
    groups, roles = finding.notes["groups"], finding.notes["roles"]
    ways = [*direction_labels(finding), ("both", "ceiling")]
    titles = [f"{group}: {label}" for group in groups for _, label in ways]
    figure = make_subplots(
        rows=len(groups), cols=3, subplot_titles=titles, shared_yaxes=True, shared_xaxes=True, horizontal_spacing=0.03,
        vertical_spacing=0.08,
    )  # fmt: skip
    last = _cells(finding, table, steps[-1], ways)
    labels = [role.replace("_", " ") for role in roles]
    for at, cells in enumerate(last):
        heat = go.Heatmap(
            x=labels,
            y=_row_labels(table),
            zmin=0,
            zmax=1,
            colorscale=SCALE,
            showscale=at == 0,
            colorbar=BAR,
            hovertemplate="%{y}, %{x}: %{z:.2f}<br>%{customdata}<extra></extra>",
            **cells,
        )
        figure.add_trace(heat, row=at // 3 + 1, col=at % 3 + 1)
    traces = list(range(len(last)))
    figure.frames = [
        go.Frame(data=[{"type": "heatmap", **cells} for cells in _cells(finding, table, step, ways)],
                 name=str(step), traces=traces)
        for step in steps
    ]  # fmt: skip
    themed(figure, height=130 + 240 * len(groups))
    figure.update_xaxes(tickangle=-50, tickfont={"size": 10})
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10})
    figure.update_annotations(font_size=10.5)
    slider = step_slider(steps)
    slider["pad"] = {"t": 70, "b": 4}
    figure.update_layout(sliders=[slider], hovermode="closest", margin={"t": 84, "b": 170})
    return Panel("grid", "Layer by role: where another language's fact is used", _grid_caption(finding), figure)


def _grid_caption(finding: Finding) -> str:
    same = ", ".join(
        f"{role.replace('_', ' ')} = {twin.replace('_', ' ')}" for role, twin in finding.notes["same"].items()
    )
    return (
        "Interchange accuracy at every place, by group and direction, at the checkpoint that the slider picks. Right: "
        "the ceiling, the same donor facts in the receiver's language. Shade: share of answers. Rows: what is patched; "
        "layer 0 is the prompt itself. Hover shows the ceiling, causal unification, the null (donors permuted), and "
        "why a place is fixed by construction. Where both languages have the same tokens up to a place, accuracy "
        "equals the ceiling; the last block is read at the prompt's last token alone. "
        f"{f'Roles at one position: {same}. ' if same else ''}{pairs_counted(finding)}; the table `places` has the "
        "intervals; one run. Every cell is shown, and none is a test."
    )


def _row_labels(table: pd.DataFrame) -> list[str]:
    rows = table[["layer", "component"]].drop_duplicates()
    return [f"{layer} {component}" for layer, component in rows.itertuples(index=False)]


def _cells(finding: Finding, table: pd.DataFrame, step: int, ways: list[tuple[str, str]]) -> list[dict[str, Any]]:
    cells, roles = [], finding.notes["roles"]
    for group in finding.notes["groups"]:
        for direction, label in ways:
            rows = table[(table["step"] == step) & (table["group"] == group) & (table["direction"] == direction)]
            value = rows["ceiling" if label == "ceiling" else "accuracy"].to_numpy().reshape(-1, len(roles))
            hover = [
                f"ceiling {row['ceiling']:.2f}, null {row['null']:.2f}, unification "
                + (
                    f"{row['unification']:.2f}"
                    if np.isfinite(row["unification"])
                    else f"not defined:<br>{row['reason']}"
                )
                if np.isfinite(row["accuracy"])
                else row["reason"]
                for row in rows.to_dict("records")
            ]
            z = [[None if np.isnan(v) else round(float(v), 3) for v in line] for line in value]
            cells.append({"z": z, "customdata": np.array(hover, dtype=object).reshape(value.shape).tolist()})
    return cells


def heads_panel(finding: Finding) -> Panel:
    """Interchange accuracy and ceiling of each head's query, key, value, output and pattern."""
    table, roles = finding.tables["heads"], finding.notes["roles"]
    group = finding.notes["groups"][-1] if "parallel" in finding.notes["groups"] else finding.notes["groups"][0]
    rows = table[(table["group"] == group) & (table["direction"] == "both")]
    parts = list(dict.fromkeys(rows["component"]))
    figure = make_subplots(
        rows=2, cols=len(parts), shared_yaxes=True, horizontal_spacing=0.02, vertical_spacing=0.12,
        subplot_titles=[*parts, *("" for _ in parts)], row_titles=["across", "ceiling"],
    )  # fmt: skip
    labels = [role.replace("_", " ") for role in roles]
    for column, part in enumerate(parts, start=1):
        own = rows[rows["component"] == part]
        layers_and_heads = own[["layer", "head"]].drop_duplicates()
        heads = [head_name(layer, head) for layer, head in layers_and_heads.itertuples(index=False)]
        for line_at, name in ((1, "accuracy"), (2, "ceiling")):
            z = own[name].to_numpy().reshape(len(heads), len(roles))
            heat = go.Heatmap(
                x=labels, y=heads, z=[[None if np.isnan(v) else round(float(v), 3) for v in line] for line in z],
                zmin=0, zmax=max(0.05, float(np.nan_to_num(rows["ceiling"]).max(initial=0))), colorscale=SCALE,
                showscale=line_at == 1 and column == 1, colorbar=BAR,
                hovertemplate=f"{part} of %{{y}}, %{{x}}: %{{z:.2f}}<extra></extra>",
            )  # fmt: skip
            figure.add_trace(heat, row=line_at, col=column)
    themed(figure, height=230 + 26 * 2 * finding.notes["layers"] * finding.notes["heads"])
    figure.update_xaxes(tickangle=-60, tickfont={"size": 9}, row=2)
    figure.update_xaxes(showticklabels=False, row=1)
    figure.update_yaxes(autorange="reversed", type="category", tickfont={"size": 10})
    figure.update_annotations(font_size=12)
    figure.update_layout(hovermode="closest", margin={"t": 84, "b": 90, "r": 24})
    caption = (
        f"One head's query, key, value, output (z) or attention pattern is patched at a time: {group} facts, last "
        "checkpoint, both directions. Rows: heads as TransformerLens names them (block, then head), with our layer. "
        "Above: interchange accuracy across languages. Below: the ceiling, the same donor facts in the receiver's "
        "language. Shade: share of answers. One head alone seldom carries a fact: look where the upper row falls short "
        f"of the lower. {pairs_counted(finding, 'heads')}; the table `heads` has intervals, nulls and the other group; "
        "one run."
    )
    return Panel("heads", "Head by head", caption, figure)


def head_name(layer: int, head: int) -> str:
    """A head as TransformerLens names it, with our layer: its block's number is one less."""
    return f"L{layer - 1}H{head} (layer {layer})"
