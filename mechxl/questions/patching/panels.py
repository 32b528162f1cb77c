"""Figures of the question `patching`."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechxl.findings import Finding
from mechxl.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
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
from mechxl.questions.patching.words import place_name

SCALE = [(0.0, "#FFFFFF"), (0.5, "#6FA8D6"), (1.0, "#08306B")]
BAR = {"orientation": "h", "thickness": 9, "yref": "container", "y": 1, "yanchor": "top"}
GROUP_COLOURS = {"mono": VERMILION, "parallel": BLUE}
OUTCOME_COLOURS = {
    "donor_receivers": ("donor's value, receiver's language", GREEN),
    "donor_donors": ("donor's value, donor's language", SKY),
    "fact_receivers": ("donor's fact, as the receiver's language has it", PURPLE),
    "receiver_receivers": ("receiver's value, receiver's language", ORANGE),
    "receiver_donors": ("receiver's value, donor's language", "#B8A700"),
    "other": ("other", GREY),
}


def figures(finding: Finding) -> list[Panel]:
    """The chosen place over training; the grid; outcomes; heads; controls."""
    if not len(finding.tables["places"]) or not finding.tables["curve"]["accuracy"].notna().any():
        return []
    panels = [_curve_panel(finding), _grid_panel(finding), _outcomes_panel(finding)]
    return [*panels, _heads_panel(finding), _controls_panel(finding)]


def _ways(finding: Finding) -> list[tuple[str, str]]:
    names = finding.notes["languages"]
    if len(names) == 2:
        return [("forth", f"{names[0]} → {names[1]}"), ("back", f"{names[1]} → {names[0]}")]
    return [("forth", "to later languages"), ("back", "to earlier ones")]


def _n(finding: Finding, table: str = "curve") -> str:
    rows = finding.tables[table]
    rows = rows[rows["step"] == rows["step"].max()] if "step" in rows else rows
    counts = (f"{group} {int(rows[rows['group'] == group]['n'].max()):,}" for group in finding.notes["groups"])
    return f"n, pairs with both answers right at the last checkpoint: {', '.join(counts)}"


def _curve_panel(finding: Finding) -> Panel:
    curve, beside = finding.tables["curve"], finding.tables["beside"]
    titles = ("Interchange accuracy", "Causal unification")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.1)
    for group in finding.notes["groups"]:
        colour = GROUP_COLOURS[group]
        own = curve[(curve["group"] == group) & curve["accuracy"].notna()].sort_values("step")
        for (way, label), dash in zip(_ways(finding), ("solid", "dash"), strict=True):
            rows = own[own["direction"] == way]
            x = steps_shown(rows["step"])
            figure.add_trace(band(x, rows["accuracy_low"], rows["accuracy_high"], colour), row=1, col=1)
            figure.add_trace(line(x, rows["accuracy"], f"{group}, {label}", colour, dash=dash), row=1, col=1)
        both = own[own["direction"] == "both"]
        trace = line(steps_shown(both["step"]), both["ceiling"], f"{group}, ceiling", colour, dash="dot", width=1.5)
        figure.add_trace(trace, row=1, col=1)
        both = both[both["unification"].notna()]
        x = steps_shown(both["step"])
        figure.add_trace(band(x, both["unification_low"], both["unification_high"], colour), row=1, col=2)
        trace = line(x, both["unification"], f"{group}: causal unification", colour, width=2.5)
        figure.add_trace(trace, row=1, col=2)
    for layer in range(1, finding.notes["layers"] + 1):
        rows = beside[beside[f"score_{layer}"].notna()]
        colour = layer_colour(layer, finding.notes["layers"])
        trace = line(steps_shown(rows["step"]), rows[f"score_{layer}"], f"score, layer {layer}", colour, width=1.3)
        figure.add_trace(trace, row=1, col=2)
    rows = beside[beside["transfer"].notna()]
    figure.add_trace(line(steps_shown(rows["step"]), rows["transfer"], "transfer", INK, dash="dot"), row=1, col=2)
    level(figure, 0.0, "", 2)
    step_axis(figure, finding.notes["steps"], narrow=True)
    tops = curve["unification_high"].dropna()
    top = float(min(max(1.05, tops.quantile(0.9) if len(tops) else 1.05), 2.0))
    low = float(min(0.0, *(beside[f"score_{layer}"].min() for layer in range(1, finding.notes["layers"] + 1))))
    figure.update_yaxes(range=[-0.03, 1.03], col=1)
    figure.update_yaxes(range=[1.05 * low - 0.05, top], col=2)
    figure.update_annotations(font_size=13)
    nulls = curve[(curve["step"] == finding.notes["steps"][-1]) & (curve["direction"] == "both")].set_index("group")
    null = ", ".join(
        f"{group} {nulls.loc[group, 'null']:.3f}" for group in finding.notes["groups"] if group in nulls.index
    )
    caption = (
        f"Patched: {place_name(finding.notes['place'])}, the place that one half of the pairs chose at the last "
        "checkpoint; shown: the other half. Left: how often the answer becomes the donor's value in the receiver's "
        "language, by direction; dotted: the same donor facts in the receiver's own language, the ceiling. Null, "
        f"donors permuted within a relation, at the end: {null}. Right: causal unification, the first over the second, "
        "both directions, where the ceiling's interval lies above .1, beside the score of the run's mono facts and its "
        f"transfer. Bands: 95 % intervals over pairs, no entity in two of them. {_n(finding)}; fewer before; one run. "
        "Curves of one training go together somehow: patching shows use, the curves show when."
    )
    return Panel("curve", "Whose value comes out, over training", caption, themed(figure, legend_rows=5))


def _grid_panel(finding: Finding) -> Panel:
    table, steps = finding.tables["places"], finding.notes["few_steps"]
    groups, roles = finding.notes["groups"], finding.notes["roles"]
    ways = [*_ways(finding), ("both", "ceiling")]
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
    same = ", ".join(
        f"{role.replace('_', ' ')} = {twin.replace('_', ' ')}" for role, twin in finding.notes["same"].items()
    )
    caption = (
        "Interchange accuracy at every place, by direction and group, at the checkpoint that the slider picks; right: "
        "the ceiling, the same donor facts in the receiver's language. Shade: share of answers. Rows: what is patched; "
        "layer 0 is the prompt itself. Hover gives the ceiling, causal unification, the null (donors permuted) and why "
        "a place is fixed by construction: where both languages have the same tokens so far, across equals the "
        "ceiling; the last block is read at the prompt's last token alone. "
        f"{f'Roles at one position: {same}. ' if same else ''}{_n(finding)}; intervals are in the table `places`; one "
        "run. Every cell is shown; none is a test."
    )
    return Panel("grid", "Layer by role: where another language's fact is used", caption, figure)


def _row_labels(table: pd.DataFrame) -> list[str]:
    rows = table[["layer", "component"]].drop_duplicates()
    return [f"{layer} {component}" for layer, component in rows.itertuples(index=False)]


def _cells(finding: Finding, table: pd.DataFrame, step: int, ways: list[tuple[str, str]]) -> list[dict[str, Any]]:
    found, roles = [], finding.notes["roles"]
    for group in finding.notes["groups"]:
        for way, label in ways:
            rows = table[(table["step"] == step) & (table["group"] == group) & (table["direction"] == way)]
            value = rows["ceiling" if label == "ceiling" else "accuracy"].to_numpy().reshape(-1, len(roles))
            said = [
                f"ceiling {row['ceiling']:.2f}, unification {row['unification']:.2f}, null {row['null']:.2f}"
                + (f"<br>fixed: {row['fixed']}" if row["fixed"] else "")
                if np.isfinite(row["accuracy"])
                else row["reason"]
                for row in rows.to_dict("records")
            ]
            z = [[None if np.isnan(v) else round(float(v), 3) for v in line] for line in value]
            found.append({"z": z, "customdata": np.array(said, dtype=object).reshape(value.shape).tolist()})
    return found


def _outcomes_panel(finding: Finding) -> Panel:
    curve, groups = finding.tables["curve"], finding.notes["groups"]
    figure = side_by_side(*(f"{group} facts" for group in groups))
    for column, group in enumerate(groups, start=1):
        rows = curve[(curve["group"] == group) & (curve["direction"] == "both") & curve["accuracy"].notna()]
        rows = rows.sort_values("step")
        for key, (name, colour) in OUTCOME_COLOURS.items():
            if finding.notes["shared_facts"] == 1 and key == "fact_receivers":
                continue
            trace = go.Scatter(
                x=steps_shown(rows["step"]),
                y=rows[key],
                name=name,
                mode="lines",
                line={"width": 0.5, "color": colour},
                stackgroup="one",
                legendgroup=key,
                showlegend=column == 1,
                hovertemplate="%{y:.2f}",
            )
            figure.add_trace(trace, row=1, col=column)
    step_axis(figure, finding.notes["steps"], narrow=True)
    figure.update_yaxes(range=[0, 1])
    end = curve[(curve["step"] == finding.notes["steps"][-1]) & (curve["direction"] == "both")]
    change = "; ".join(
        f"{row['group']}: {row['logit_diff_unpatched']:.1f} to {row['logit_diff']:.1f} "
        f"[{row['logit_diff_low']:.1f}, {row['logit_diff_high']:.1f}]"
        for _, row in end[end["logit_diff"].notna()].iterrows()
    )
    caption = (
        f"All outcomes of the same patches ({place_name(finding.notes['place'])}), both directions together: whose "
        "value, in whose language. Where the words coincide, the upper name of the list counts. The logit difference "
        "between the donor's and the receiver's value in the receiver's language, unpatched and patched, at the last "
        f"checkpoint: {change or 'not defined'}. {_n(finding)}; intervals of all shares are in the table `curve`; one "
        "run."
    )
    return Panel("outcomes", "Whose value, in whose language", caption, themed(figure, legend_rows=5))


def _heads_panel(finding: Finding) -> Panel:
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
        heads = [f"{layer}.{head}" for layer, head in own[["layer", "head"]].drop_duplicates().itertuples(index=False)]
        for line_at, name in ((1, "accuracy"), (2, "ceiling")):
            z = own[name].to_numpy().reshape(len(heads), len(roles))
            heat = go.Heatmap(
                x=labels, y=heads, z=[[None if np.isnan(v) else round(float(v), 3) for v in line] for line in z],
                zmin=0, zmax=max(0.05, float(np.nanmax(rows["ceiling"], initial=0))), colorscale=SCALE,
                showscale=line_at == 1 and column == 1, colorbar=BAR,
                hovertemplate=f"{part}, head %{{y}}, %{{x}}: %{{z:.2f}}<extra></extra>",
            )  # fmt: skip
            figure.add_trace(heat, row=line_at, col=column)
    themed(figure, height=230 + 26 * 2 * finding.notes["layers"] * finding.notes["heads"])
    figure.update_xaxes(tickangle=-60, tickfont={"size": 9}, row=2)
    figure.update_xaxes(showticklabels=False, row=1)
    figure.update_yaxes(autorange="reversed", type="category", tickfont={"size": 10})
    figure.update_annotations(font_size=12)
    figure.update_layout(hovermode="closest", margin={"t": 84, "b": 90, "r": 24})
    caption = (
        f"One head's query, key, value, output (z) or attention pattern at a time, {group} facts, last checkpoint, "
        "both directions; rows: layer.head. Above: interchange accuracy across languages; below: the ceiling, the "
        "same donor facts in the receiver's language. Shade: share of answers. A head alone seldom carries a fact: "
        "what matters is where the upper row falls short of the lower. "
        f"{_n(finding, 'heads')}; intervals, nulls and the other group are in the table `heads`; one run."
    )
    return Panel("heads", "Head by head", caption, figure)


def _controls_panel(finding: Finding) -> Panel:
    curve, table = finding.tables["curve"], finding.tables["controls"]
    labels = {
        "accuracy": "another language's donor",
        "ceiling": "same language (ceiling)",
        "null": "donors permuted (null)",
        "entity": "other relation: entity's value",
        "value": "other relation: its own value",
        "checkpoint_0": "checkpoint 0",
    }
    figure = go.Figure()
    end = curve[(curve["step"] == finding.notes["steps"][-1]) & (curve["direction"] == "both")].set_index("group")
    for group in finding.notes["groups"]:
        own = table[(table["group"] == group) & table["low"].notna()].set_index("control")
        points = []
        for key, label in labels.items():
            if key in ("accuracy", "ceiling", "null"):
                value = end.loc[group, key]
                low, high = (end.loc[group, f"{key}_{side}"] if key != "null" else value for side in ("low", "high"))
            elif key in own.index:
                value, low, high = own.loc[key, ["value", "low", "high"]]
            else:
                continue
            if np.isfinite(value):
                points.append((label, value, value - low, high - value))
        figure.add_trace(
            go.Scatter(
                y=[label for label, *_ in points],
                x=[value for _, value, *_ in points],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "arrayminus": [p[2] for p in points],
                    "array": [p[3] for p in points],
                },
                mode="markers",
                name=f"{group} facts",
                marker={"color": GROUP_COLOURS[group], "size": 9},
            )
        )
    figure.update_layout(scattermode="group", scattergap=0.5)
    figure.update_xaxes(range=[-0.02, 1.02], title={"text": "share of answers", "standoff": 6})
    figure.update_yaxes(autorange="reversed")
    sizes = table[table["value"].notna()].groupby("control")["n"].max().to_dict()
    own = table[(table["control"] == "self") & table["value"].notna()]["value"]
    final = table[(table["control"] == "final") & table["value"].notna()]["value"]
    caption = (
        f"Patches at {place_name(finding.notes['place'])}, last checkpoint: how often the answer becomes the donor's "
        "value in the receiver's language, and what controls give. A donor of another relation (same entity, next "
        "relation) is scored twice: by its entity's value in the receiver's relation, and by its own relation's value. "
        f"n, pairs: {', '.join(f'{name} {n}' for name, n in sizes.items())}; whiskers: 95 % intervals over pairs (the "
        "null is exact); one run. Not drawn: a run patched into itself changes a log p by at most "
        f"{own.max() if len(own) else float('nan'):.0e}; the final stream at the last position gives the donor's own "
        f"first token in {final.min() if len(final) else float('nan'):.0%} of pairs, as it must."
    )
    figure = themed(figure, height=300)
    return Panel("controls", "Controls", caption, figure.update_layout(hovermode="closest", margin={"l": 8}))
