"""Figures of the question `language_identity`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mechxl.findings import Finding
from mechxl.plots import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    VERMILION,
    Panel,
    band,
    layer_colour,
    level,
    line,
    side_by_side,
    small_multiples,
    step_axis,
    steps_shown,
    themed,
)
from mechxl.questions.language_identity.verified import outcome

SCALE_BAR = {
    "title": {"text": "bits", "side": "top"},
    "orientation": "h",
    "thickness": 9,
    "yref": "container",
    "y": 1,
    "yanchor": "top",
}
BITS_SCALE = [(0.0, "#FFFFFF"), (0.5, "#6FA8D6"), (1.0, "#08306B")]
ERASED = {
    "nothing": ("nothing", INK),
    "language": ("the language within relations", VERMILION),
    "random_rank": ("random, same rank", GREY),
    "random_variance": ("random, same variance", BLUE),
    "values": ("a random split of values", ORANGE),
}


def figures(finding: Finding) -> list[Panel]:
    """What is known and read; probes over layers, roles and steps; curves; readers of values; erasure; steering."""
    if not finding.tables["probes"]["bits"].notna().any():
        return []
    panels = [_known_panel(finding), _heat_panel(finding), _curves_panel(finding)]
    panels += [_values_panel(finding)] if len(finding.tables["values"]) else []
    panels.append(_erasure_panel(finding))
    return panels + ([_steering_panel(finding)] if finding.tables["steering"]["n"].sum() else [])


def _n(finding: Finding) -> str:
    facts, entities = finding.notes["probed"]
    languages = len(finding.notes["languages"])
    return f"{facts * languages:,} prompts ({facts:,} facts in {languages} languages) of {entities:,} entities"


def _most(finding: Finding) -> float:
    return float(np.log2(len(finding.notes["languages"])))


def _known_panel(finding: Finding) -> Panel:
    probes, known = finding.tables["probes"], finding.tables["known"]
    figure, roles, last = go.Figure(), finding.notes["roles"], finding.notes["steps"][-1]
    labels = [role.replace("_", " ") for role in roles]
    for column, name, colour in (
        ("prefix_bits", "held by the tokens up to here", "#DDE3EA"),
        ("token_bits", "held by this token alone", "#B4BECB"),
    ):
        figure.add_trace(go.Bar(x=labels, y=known.set_index("role").loc[roles, column], name=name, marker_color=colour))
    bag = probes[probes["layer"] == -1].set_index("role").loc[roles]
    figure.add_trace(_points(labels, bag, "a linear reader of a bag of these tokens", GREY, "diamond", "bits"))
    for layer in range(finding.notes["layers"] + 1):
        rows = probes[(probes["step"] == last) & (probes["layer"] == layer) & (probes["labels"] == "true")]
        rows = rows.set_index("role").loc[roles]
        colour = layer_colour(layer, finding.notes["layers"])
        figure.add_trace(_points(labels, rows, f"probe, layer {layer}", colour, "circle", "bits"))
    figure.update_layout(barmode="overlay", scattermode="group", scattergap=0.5)
    figure.update_yaxes(title="bits about the language", range=[-0.08 * _most(finding), 1.12 * _most(finding)])
    data = "; ".join(_known_number(row) for _, row in finding.tables["data"].iterrows())
    same = "; ".join(f"{role} is {twin}" for role, twin in finding.notes["same"].items()).replace("_", " ")
    caption = (
        "How much of the language the text holds, and how much a linear probe reads off the model, "
        "by role. Bars: exact "
        "mutual information of the language with tokens, over these prompts (tag shown, every fact in every language). "
        f"Points: bits that linear probes read for held-out entities at the last checkpoint, "
        f"{finding.notes['folds']} folds by entity, drawn three times; whiskers: 95 % intervals over entities and "
        f"folds, refitted. n = {_n(finding)}; one run (one seed). "
        + (f"Here {same}, by tokenization. " if same else "")
        + f"In the data, in bits: {data}."
    )
    return Panel("known", "The language: what the text holds, and what is read off the model", caption,
                 themed(figure, height=430, legend_rows=4).update_layout(hovermode="closest"))  # fmt: skip


def _known_number(row: pd.Series) -> str:
    if pd.isna(row["bits"]):
        return f"{row['quantity']}: {row['reason']}"
    null = "" if pd.isna(row["null"]) else f" (languages shuffled {row['null']:.3f})"
    return f"{row['quantity']} {row['bits']:.3f}{null}"


def _points(labels: list[str], rows: pd.DataFrame, name: str, colour: str, symbol: str, column: str) -> go.Scatter:
    low, high = rows[column] - rows[f"{column}_low"], rows[f"{column}_high"] - rows[column]
    return go.Scatter(
        x=labels,
        y=rows[column],
        name=name,
        mode="markers",
        marker={"color": colour, "size": 8, "symbol": symbol, "line": {"color": INK, "width": 0.5}},
        error_y={"type": "data", "array": high, "arrayminus": low, "thickness": 1.2, "width": 3, "color": colour},
    )


def _heat_panel(finding: Finding) -> Panel:
    probes, roles, steps = finding.tables["probes"], finding.notes["roles"], finding.notes["few_steps"]
    labels = [role.replace("_", " ") for role in roles]
    titles = [title for label in labels for title in (label, "shuffled")]
    figure = small_multiples(titles)
    layers = list(range(finding.notes["layers"] + 1))
    for at, role in enumerate(roles):
        for column, of in enumerate(("true", "shuffled")):
            rows = probes[(probes["role"] == role) & (probes["labels"] == of) & probes["step"].isin(steps)]
            rows = rows[rows["layer"] >= 0]
            table = rows.pivot_table(index="layer", columns="step", values="bits").reindex(index=layers, columns=steps)
            heat = go.Heatmap(
                x=[f"{step:,}" for step in steps],
                y=[f"layer {layer}" for layer in layers],
                z=table.to_numpy(),
                zmin=0,
                zmax=_most(finding),
                colorscale=BITS_SCALE,
                showscale=at == 0 and column == 0,
                hovertemplate="step %{x}, %{y}: %{z:.3f} bits<extra></extra>",
                colorbar=SCALE_BAR,
            )
            figure.add_trace(heat, row=at + 1, col=column + 1)
    figure.update_xaxes(type="category", tickangle=-50, tickfont={"size": 10})
    figure.update_yaxes(showticklabels=False, col=2)
    caption = (
        "Bits that a linear probe reads of the language at each layer (0: embeddings) and checkpoint, by role; right: "
        "the null, the same probes with languages shuffled within each fact. A value below 0 (no "
        "colour) means that the "
        f"probe is overconfident. n = {_n(finding)}; {finding.notes['folds']} folds by entity; one "
        "run. Intervals are in the "
        "finding's table `probes` (its column `interval` says what varies in them); they are narrower than ±"
        f"{_widest(probes):.2f} bits. Every cell is shown, and none is a test."
    )
    themed(figure, height=160 + 110 * len(roles)).update_layout(hovermode="closest", margin={"t": 90, "b": 60})
    return Panel("heat", "Bits about the language: layer by checkpoint", caption, figure)


def _widest(probes: pd.DataFrame) -> float:
    half = np.maximum(probes["bits_high"] - probes["bits"], probes["bits"] - probes["bits_low"])
    return float(np.ceil(100 * half.max()) / 100)


def _curves_panel(finding: Finding) -> Panel:
    probes, curves = finding.tables["probes"], finding.tables["curves"]
    figure = side_by_side("Bits read", "Recall, transfer")
    for layer in range(finding.notes["layers"] + 1):
        rows = probes[(probes["layer"] == layer) & (probes["role"] == finding.notes["main_role"])]
        rows = rows[(rows["labels"] == "true") & rows["bits"].notna()].sort_values("step")
        x, colour, name = steps_shown(rows["step"]), layer_colour(layer, finding.notes["layers"]), f"layer {layer}"
        figure.add_trace(band(x, rows["bits_low"], rows["bits_high"], colour), row=1, col=1)
        figure.add_trace(line(x, rows["bits"], name, colour), row=1, col=1)
    for name, colour in (("recall", INK), ("transfer", VERMILION)):
        rows = curves[curves[name].notna()]
        figure.add_trace(line(steps_shown(rows["step"]), rows[name], name, colour, dash="dash"), row=1, col=2)
    level(figure, 0.0, "")
    step_axis(figure, finding.notes["steps"], narrow=True)
    top = max(1.0, _most(finding))
    figure.update_yaxes(range=[-0.1 * top, 1.05 * top])
    caption = (
        "Left: bits about the language at the prompt's last token, after each layer, with 95 % intervals over entities "
        f"(n = {_n(finding)}); dotted: 0, nothing is read. Shuffled labels are in the panel above. Right: recall and "
        "transfer of the same run; the question learning has their intervals. Two curves of one training often rise "
        "together. Whether the model uses the language is tested by the erasure below."
    )
    return Panel("curves", "The language beside recall and transfer", caption, themed(figure, legend_rows=2))


def _values_panel(finding: Finding) -> Panel:
    values, n_layers = finding.tables["values"], finding.notes["layers"]
    layers = list(range(1, n_layers + 1))
    figure = side_by_side(*(f"Layer {layer}" for layer in layers))
    kinds = (("same", "its own language", BLUE), ("other told", "the other, told there", VERMILION))
    kinds += (("other untold", "the other, not told there", ORANGE),)
    chance = values[(values["labels"] == "permuted") & values["accuracy"].notna()]
    for column, layer in enumerate(layers, start=1):
        for kind, name, colour in kinds:
            rows = values[(values["layer"] == layer) & (values["tried"] == kind) & (values["labels"] == "true")]
            rows = rows[rows["accuracy"].notna()]
            x = steps_shown(rows["step"])
            figure.add_trace(band(x, rows["low"], rows["high"], colour), row=1, col=column)
            trace = line(x, rows["accuracy"], name, colour, group=kind, showlegend=column == 1)
            figure.add_trace(trace, row=1, col=column)
        level(figure, float(chance[chance["layer"] == layer]["accuracy"].mean()), "", subplot=column)
    step_axis(figure, finding.notes["few_steps"], narrow=True)
    figure.update_yaxes(range=[-0.02, 1.03])
    figure.update_yaxes(title="accuracy", col=1)
    end = values[(values["step"] == finding.notes["few_steps"][-1]) & (values["labels"] == "true")]
    sizes = ", ".join(f"{name} {int(end[end['tried'] == kind]['n'].max()):,}" for kind, name, _ in kinds)
    caption = (
        "Does one reader serve both languages? A linear reader of the value (least squares, one a relation), trained "
        "at the prompt's last token on facts told in one language, is tried on other entities in that language and in "
        f"another. n: {sizes} prompts. Bands: 95 % intervals over entities; dotted: the same readers trained on values "
        "permuted within a relation; one run. A reader that works in both shows that their values are aligned. If it "
        "works in one only, a constant offset between the languages may be all that separates them."
    )
    return Panel("values", "Readers of the value, trained in one language", caption, themed(figure, legend_rows=2))


def _erasure_panel(finding: Finding) -> Panel:
    table = finding.tables["erasure"]
    end = table[(table["step"] == finding.notes["erasure_steps"][-1])]
    checks = finding.tables["verified"]
    checks = checks[(checks["step"] == finding.notes["erasure_steps"][-1]) & (checks["erased"] == "language")]
    gone = {layer for layer, rows in checks.groupby("from_layer") if _holds(rows)}
    figure = side_by_side("Recall", "Transfer")
    for column, asked in ((1, "recall"), (2, "transfer")):
        for erased, (name, colour) in ERASED.items():
            rows = end[(end["asked"] == asked) & (end["erased"] == erased) & (end["n"] > 0)]
            if not len(rows):
                continue
            labels = [f"{layer}" for layer in rows["from_layer"]]
            trace = _points(labels, rows, name, colour, "circle", "value")
            if erased == "language":
                symbols = ["circle" if layer in gone else "circle-open" for layer in rows["from_layer"]]
                trace.update(marker={"symbol": symbols})
            figure.add_trace(trace.update(legendgroup=erased, showlegend=column == 1), row=1, col=column)
    figure.update_layout(scattermode="group", scattergap=0.4)
    figure.update_xaxes(title={"text": "erased from layer", "standoff": 6}, type="category")
    figure.update_yaxes(range=[-0.03, 1.03])
    figure.update_yaxes(title="value accuracy", col=1)
    told = "; ".join(_still_told(layer, rows) for layer, rows in checks.groupby("from_layer"))
    counts = "; ".join(
        f"{asked}: n = {int(rows['n'].max()):,}" for asked in ("recall", "transfer")
        if len(rows := end[(end["asked"] == asked) & (end["n"] > 0)])
    )  # fmt: skip
    caption = (
        "Recall and transfer after LEACE takes the language within each relation out of the residual stream at every "
        "prompt position, from a layer on, at the last checkpoint. The right value in any language counts as right. "
        "Filled: the language is erased; hollow: it is still told, or too few entities were asked to say, so that no "
        "conclusion is drawn. Controls: a random subspace of the same rank; random directions that carry as much "
        "variance; LEACE on a random split of the values within each relation. Erasers are fitted on "
        f"{finding.notes['fitted_entities']:,} entities, and {finding.notes['asked_entities']:,} others are asked "
        f"({counts} questions); whiskers: 95 % intervals over entities; one run. What still tells the language, at "
        f"most: {told}. It counts as erased if every such interval ends within {finding.notes['bound']:.0%} of the way "
        "from chance to certainty. "
        "Earlier checkpoints are in the finding's table `erasure`."
    )
    return Panel("erasure", "Recall and transfer without the language", caption,
                 themed(figure, legend_rows=3).update_layout(hovermode="closest"))  # fmt: skip


def _holds(checks: pd.DataFrame) -> bool:
    """Whether an erasure holds, without erasing everything."""
    return outcome(checks) == "gone" and not checks["everything"].any()


def _still_told(layer: int, checks: pd.DataFrame) -> str:
    known = checks[checks["value"].notna()]
    parts = []
    for told_by, rows in known.groupby("told_by", sort=False):
        row = rows.iloc[int(rows["high"].to_numpy().argmax())]
        what = "probe within relations" if told_by == "probe" else "share of answers in the asked language"
        parts.append(f"{what} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}], chance {row['chance']:.3f}")
    return f"layer {layer}: {', '.join(parts) or 'not known'}"


def _steering_panel(finding: Finding) -> Panel:
    table = finding.tables["steering"]
    table = table[table["n"] > 0]
    layers = sorted(set(table["layer"]))
    figure = side_by_side(*(f"Layer {layer}" for layer in layers))
    curves = (("target", "answers in the added language", VERMILION), ("source", "in the asked language", BLUE))
    curves += (("target_right", "the fact's value, in the added language", ORANGE),)
    for column, layer in enumerate(layers, start=1):
        for key, name, colour in curves:
            for added, dash in (("language", "solid"), ("random", "dot")):
                rows = table[(table["layer"] == layer) & (table["added"] == added)]
                if added == "language":
                    ends = (rows[f"{key}_low"], rows[f"{key}_high"])
                    figure.add_trace(band(rows["strength"], *ends, colour), row=1, col=column)
                shown = column == 1 and added == "language"
                trace = line(rows["strength"], rows[key], name, colour, dash=dash, group=key, showlegend=shown)
                figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title={"text": "times added", "standoff": 6})
    figure.update_yaxes(range=[-0.02, 1.03])
    figure.update_yaxes(title="share of answers", col=1)
    caption = (
        "In which language does the model answer after a language's direction is added? The "
        "direction is the difference "
        "of the two languages' mean streams at each prompt position, in the prompt's relation. It is added at one "
        "layer, the given number of times, at the last checkpoint. An answer counts for a language if it is a value of "
        "the relation there. Dotted: "
        "random directions of the same lengths. Prompts: tellings of "
        f"{finding.notes['asked_entities']:,} entities that the directions were not fitted on (n = "
        f"{int(table['n'].max()):,} answers); bands: 95 % intervals over entities; one run."
    )
    return Panel("steering", "The language added: which language answers", caption, themed(figure, legend_rows=3))
