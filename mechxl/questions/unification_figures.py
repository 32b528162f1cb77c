"""Figures of the question `unification`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mechxl.findings import Finding, signed
from mechxl.plots import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    SEPARATE_TO_UNIFIED,
    VERMILION,
    Panel,
    band,
    layer_colour,
    level,
    line,
    side_by_side,
    step_axis,
    step_slider,
    steps_shown,
    themed,
)


def figures(finding: Finding) -> list[Panel]:
    """The score by layer, its parts, groups and centrings apart, and the checkerboard."""
    return [_score_panel(finding), _parts_panel(finding), _groups_panel(finding), _checkerboard_panel(finding)]


def _curve(finding: Finding, group: str, centring: str, layer: int) -> pd.DataFrame:
    table = finding.tables["score"]
    picked = (table["group"] == group) & (table["centring"] == centring) & (table["layer"] == layer)
    return table[picked & table["score"].notna()]


def _sizes(finding: Finding, group: str) -> str:
    row = finding.tables["score"][finding.tables["score"]["group"] == group].iloc[0]
    sample = ", a sample" if group in finding.notes["sampled"] else ""
    return f"{int(row['facts']):,} facts of {int(row['entities']):,} entities{sample}"


def _score_panel(finding: Finding) -> Panel:
    figure, n_layers, group = go.Figure(), finding.notes["layers"], finding.notes["headline"]
    left_out = []
    for layer in range(n_layers + 1):
        curve, colour = _curve(finding, group, "whole", layer), layer_colour(layer, n_layers)
        if not len(curve):
            left_out.append(str(layer))
            continue
        x = steps_shown(curve["step"])
        figure.add_trace(band(x, curve["score_low"], curve["score_high"], colour, group=f"layer {layer}"))
        figure.add_trace(line(x, curve["score"], f"layer {layer}", colour, width=2.5, group=f"layer {layer}"))
        figure.add_trace(
            line(x, curve["null"], f"layer {layer}, null", colour, dash="dot", width=1.2, group=f"layer {layer}")
        )
    level(figure, 0.0, "")
    step_axis(figure, finding.notes["steps"])
    figure.update_yaxes(title="S − W")
    caption = (
        f"Unification score S − W of {group} facts at the prompt's last token, after each block (layer 0: embeddings), "
        f"centred on the whole sample; n = {_sizes(finding, group)}, every fact in every language, told or not. About "
        "1: the languages coincide; 0: the same fact in the other language is no closer than another fact in this "
        f"one; negative: the language dominates. Bands: 95 % intervals over entities ({finding.notes['draws']:,} "
        f"draws). Dotted: the mean score when entities are permuted ({finding.notes['permutations']:,} permutations), "
        "which is X − W and not 0: what the test compares is S with X. One run (one seed)."
        + (f" Layer {', '.join(left_out)} is left out: {_reason(finding, left_out[0])}." if left_out else "")
    )
    return Panel("score", "The unification score over training", caption, themed(figure, legend_rows=2))


def _reason(finding: Finding, layer: str) -> str:
    table = finding.tables["score"]
    return str(table[(table["layer"] == int(layer)) & (table["reason"] != "")]["reason"].iloc[0])


def _parts_panel(finding: Finding) -> Panel:
    n_layers, group = finding.notes["layers"], finding.notes["headline"]
    layers = [layer for layer in range(n_layers + 1) if len(_curve(finding, group, "whole", layer))]
    layers = layers or [n_layers]
    figure = side_by_side(*(f"Layer {layer}" for layer in layers))
    parts = (("S", "S: same fact, two languages", BLUE), ("W", "W: two facts, one language", VERMILION))
    parts += (("X", "X: two facts, two languages", GREY),)
    for column, layer in enumerate(layers, start=1):
        curve = _curve(finding, group, "whole", layer)
        for name, label, colour in parts:
            x = steps_shown(curve["step"])
            figure.add_trace(
                band(x, curve[f"{name}_low"], curve[f"{name}_high"], colour, group=name), row=1, col=column
            )
            trace = line(steps_shown(curve["step"]), curve[name], label, colour, group=name, showlegend=column == 1)
            figure.add_trace(trace, row=1, col=column)
    step_axis(figure, finding.notes["steps"], narrow=True)
    figure.update_yaxes(range=[-1.05, 1.05])
    figure.update_yaxes(title="mean cosine", col=1)
    caption = (
        f"The score's parts, {group} facts (n = {_sizes(finding, group)}), in every layer where they are defined. S − "
        "W is the score; S − X is fact alignment, which the permutation test is of; W − X is language separation. "
        f"Bands: 95 % intervals over entities ({finding.notes['draws']:,} draws); one run. With shared names S exceeds "
        "X even where no fact is shared, since the name is: the test then shows a shared entity."
    )
    return Panel("parts", "What the score is made of: S, W and X", caption, themed(figure, legend_rows=2))


def _groups_panel(finding: Finding) -> Panel:
    figure, layer = go.Figure(), 1
    shown = (
        ("mono", "whole", "mono facts", BLUE, "solid"),
        ("parallel", "whole", "parallel facts", VERMILION, "solid"),
        ("unseen", "whole", "unseen entities", GREY, "solid"),
        ("mono", "per_language", "mono facts, centred per language", ORANGE, "dash"),
    )
    sizes = []
    for group, centring, label, colour, dash in shown:
        curve = _curve(finding, group, centring, layer)
        if not len(curve):
            continue
        x = steps_shown(curve["step"])
        figure.add_trace(band(x, curve["score_low"], curve["score_high"], colour, group=label))
        figure.add_trace(line(x, curve["score"], label, colour, dash=dash, group=label))
        if centring == "whole":
            sizes.append(f"{label}: {_sizes(finding, group)}, null at the end {signed(curve['null'].iloc[-1])}")
    level(figure, 0.0, "")
    step_axis(figure, finding.notes["steps"])
    figure.update_yaxes(title="S − W at layer 1")
    caption = (
        f"{'; '.join(sizes)}. Each group is centred on itself. Unseen entities have no facts: with shared names their "
        "score shows a shared entity, not a shared fact. Dashed: subtracting each language's own mean hides a "
        "constant offset between the languages, and so can hide a separation. Bands: 95 % intervals over entities; "
        "one run."
    )
    return Panel(
        "groups", "Who unifies: groups of facts, and what centring hides", caption, themed(figure, legend_rows=2)
    )


def _checkerboard_panel(finding: Finding) -> Panel:
    boards, steps = finding.arrays["checkerboard"].astype(np.int8), finding.notes["steps"]
    names, texts = finding.notes["languages"], finding.notes["checkerboard_facts"]
    labels = [f"{name}: {text}" for name, told in zip(names, texts, strict=True) for text in told]
    per_language, last = len(texts[0]), len(steps) - 1
    heatmap = go.Heatmap(
        z=boards[last],
        zmin=-100,
        zmax=100,
        colorscale=SEPARATE_TO_UNIFIED,
        customdata=[[f"{row}<br>{column}" for column in labels] for row in labels],
        hovertemplate="%{customdata}<br>cosine %{z} / 100<extra></extra>",
        colorbar={
            "title": {"text": "cosine × 100", "side": "top"},
            "orientation": "h",
            "y": 1.01,
            "yanchor": "bottom",
            "thickness": 9,
        },
    )
    frames = [
        go.Frame(data=[{"type": "heatmap", "z": board}], name=str(step))
        for board, step in zip(boards, steps, strict=True)
    ]
    figure = go.Figure(heatmap, frames=frames)
    for edge in range(1, len(names)):
        rule = {"type": "line", "line": {"color": INK, "width": 1}}
        at = edge * per_language - 0.5
        figure.add_shape(x0=at, x1=at, y0=0, y1=1, yref="y domain", **rule)
        figure.add_shape(y0=at, y1=at, x0=0, x1=1, xref="x domain", **rule)
    themed(figure)
    margin = {"l": 30, "r": 10, "t": 70, "b": 90}
    figure.update_layout(sliders=[step_slider(steps)], hovermode="closest", margin=margin, height=None)
    centres = [per_language * (at + 0.5) - 0.5 for at in range(len(names))]
    square = {"tickvals": centres, "ticktext": names, "showgrid": False, "constrain": "domain"}
    figure.update_xaxes(**square)
    figure.update_yaxes(autorange="reversed", scaleanchor="x", **square)
    caption = (
        f"Cosines at layer 1 between {per_language} {finding.notes['checkerboard_group']} facts in every language, "
        "centred on all facts of the group, at the checkpoint that the slider picks. Rows and columns: language by "
        "language, and in each the same facts, ordered by relation and value. Bright blocks on the diagonal alone: "
        "each language is its own place. Bright stripes through the blocks off the diagonal: the same fact is at the "
        f"same place in both languages. A picture of {per_language} facts (one run); the numbers with intervals and "
        "null are the score's."
    )
    return Panel("checkerboard", "The checkerboard: facts × languages", caption, figure, square=True)
