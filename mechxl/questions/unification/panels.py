"""Figures of the question `unification`: curves. Its pictures of single facts are in unification_pictures.py."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechxl.findings import Finding, signed
from mechxl.measures.coverage import covered
from mechxl.plots import (
    BLUE,
    GREY,
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
from mechxl.questions.unification.pictures import checkerboard_panel, map_panel

GROUPS = (
    ("mono", "whole", "mono facts", BLUE, "solid"),
    ("parallel", "whole", "parallel facts", VERMILION, "solid"),
    ("unseen", "whole", "unseen entities", GREY, "solid"),
    ("mono", "per_language", "mono facts, centred per language", ORANGE, "dash"),
)
MEASURES = {
    "alignment": "S − X",
    "normalised": "(S − W) / (1 − W)",
    "retrieval": "retrieval",
    "mexa": "MEXA",
    "cka": "CKA",
    "procrustes": "Procrustes residual",
    "checkerboard": "checkerboard ρ",
    "beyond_value": "beyond the value",
    "effective_dimension": "effective dimension",
    "mean_cosine": "mean cosine",
}


def figures(finding: Finding) -> list[Panel]:
    """The score, its parts, the other measures, groups apart, the checkerboard, the map, transfer by score."""
    panels = [_score_panel(finding), _parts_panel(finding), _measures_panel(finding), _groups_panel(finding)]
    panels += [checkerboard_panel(finding), map_panel(finding)]
    return panels + ([_transfer_panel(finding)] if "auc_transfer" in set(finding.tables["measures"]["measure"]) else [])


def curve(finding: Finding, group: str, centring: str, layer: int, measure: str) -> pd.DataFrame:
    """The rows of one curve that have a value, in order of steps."""
    table = finding.tables["measures"]
    picked = (table["group"] == group) & (table["centring"] == centring) & (table["layer"] == layer)
    return table[picked & (table["measure"] == measure) & table["value"].notna()]


def sizes(finding: Finding, group: str, *, few: bool = False) -> str:
    """n of a group as words."""
    facts, entities = finding.notes["few_sizes" if few else "sizes"][group]
    sample = ", a sample" if few and finding.notes["few_sizes"] != finding.notes["sizes"] else ""
    sample = sample or (", a sample" if group in finding.notes["sampled"] else "")
    return f"{facts:,} facts of {entities:,} entities{sample}"


def _layers(finding: Finding) -> list[int]:
    """Layers where the score of the headline group is defined."""
    group = finding.notes["headline"]
    every = range(finding.notes["layers"] + 1)
    return [layer for layer in every if len(curve(finding, group, "whole", layer, "score"))] or [every[-1]]


def _add(
    figure: go.Figure, rows: pd.DataFrame, name: str, colour: str, *, at: dict[str, Any] | None = None,
    legend: bool = True, null: bool = True, dash: str = "solid",
) -> None:  # fmt: skip
    """A measure's curve with its interval and, dotted, its null."""
    x, place = steps_shown(rows["step"]), at or {}
    drawn = rows[rows["low"].notna()]
    figure.add_trace(band(steps_shown(drawn["step"]), drawn["low"], drawn["high"], colour, group=name), **place)
    figure.add_trace(line(x, rows["value"], name, colour, width=2.2, dash=dash, group=name, showlegend=legend), **place)
    if null and rows["null"].notna().any():
        dotted = line(x, rows["null"], f"{name}, null", colour, dash="dot", width=1.2, group=name, showlegend=False)
        figure.add_trace(dotted, **place)


def _score_panel(finding: Finding) -> Panel:
    figure, n_layers, group = go.Figure(), finding.notes["layers"], finding.notes["headline"]
    for layer in _layers(finding):
        rows = curve(finding, group, "whole", layer, "score")
        _add(figure, rows, f"layer {layer}", layer_colour(layer, n_layers))
    level(figure, 0.0, "")
    step_axis(figure, finding.notes["steps"])
    figure.update_yaxes(title="S − W")
    left_out = [layer for layer in range(n_layers + 1) if layer not in _layers(finding)]
    caption = (
        f"Unification score S − W of {group} facts at the prompt's last token, after each block (layer 0: embeddings), "
        f"centred on the whole sample; n = {sizes(finding, group)}, every fact in every language, told or not. About "
        "1: the languages coincide; 0: the same fact in the other language is no closer than another fact in this "
        f"one; negative: the language dominates. Bands: 95 % intervals over entities ({finding.notes['draws']:,} "
        f"draws). Dotted: the mean score when entities are permuted ({finding.notes['permutations']:,} permutations), "
        "which is X − W and not 0: what the test compares is S with X. One run (one seed)."
        + (f" Layer {left_out[0]} is left out: {_reason(finding, left_out[0])}." if left_out else "")
    )
    return Panel("score", "The unification score over training", caption, themed(figure, legend_rows=1))


def _reason(finding: Finding, layer: int) -> str:
    table = finding.tables["measures"]
    return str(table[(table["layer"] == layer) & (table["measure"] == "score")]["reason"].iloc[0])


def _parts_panel(finding: Finding) -> Panel:
    group, layers = finding.notes["headline"], _layers(finding)
    figure = side_by_side(*(f"Layer {layer}" for layer in layers))
    parts = (("S", "S: same fact, two languages", BLUE), ("W", "W: two facts, one language", VERMILION))
    parts += (("X", "X: two facts, two languages", GREY),)
    for column, layer in enumerate(layers, start=1):
        for name, label, colour in parts:
            rows = curve(finding, group, "whole", layer, name)
            _add(figure, rows, label, colour, at={"row": 1, "col": column}, legend=column == 1, null=False)
    step_axis(figure, finding.notes["steps"], narrow=True)
    figure.update_yaxes(range=[-1.05, 1.05])
    figure.update_yaxes(title="mean cosine", col=1)
    caption = (
        f"The score's parts, {group} facts (n = {sizes(finding, group)}), in every layer where they are defined. S − "
        "W is the score; S − X is fact alignment, which the permutation test is of; W − X is language separation. "
        f"Bands: 95 % intervals over entities ({finding.notes['draws']:,} draws); one run. With shared names S exceeds "
        "X even where no fact is shared, since the name is: the test then shows a shared entity."
    )
    return Panel("parts", "What the score is made of: S, W and X", caption, themed(figure, legend_rows=2))


def _measures_panel(finding: Finding) -> Panel:
    group, n_layers = finding.notes["headline"], finding.notes["layers"]
    layers = _layers(finding)
    there = [name for name in MEASURES if any(len(curve(finding, group, "whole", at, name)) for at in layers)]
    there = there or ["alignment"]  # an empty panel, where nothing is defined
    figure = small_multiples([MEASURES[name] for name in there])
    for place, name in enumerate(there):
        at = {"row": place // 2 + 1, "col": place % 2 + 1}
        for layer in layers:
            rows = curve(finding, group, "whole", layer, name)
            _add(figure, rows, f"layer {layer}", layer_colour(layer, n_layers), at=at, legend=place == 0)
    rows = (len(there) + 1) // 2
    _bottom_step_axes(figure, finding, rows)
    if "normalised" in there:  # its divisor 1 - W is near 0 while a language's facts are alike
        place = there.index("normalised")
        figure.update_yaxes(range=[-2.05, 1.05], row=place // 2 + 1, col=place % 2 + 1)
    few, steps = sizes(finding, group, few=True), len(finding.notes["costly_steps"])
    chance = finding.notes["references"][group]
    by_chance = f"; retrieval by chance {signed(chance['retrieval_chance'], 3)}" if chance else ""
    code = f" (a code of the value alone: {signed(chance['value_code'], 3)})" if "value_code" in chance else ""
    caption = (
        f"{group.capitalize()} facts, one run, with 95 % intervals over entities and, dotted, the mean under permuted "
        f"entities. S − X, the normalised score, retrieval and MEXA: n = {sizes(finding, group)}, every checkpoint, "
        f"{finding.notes['permutations']:,} permutations{by_chance}"
        f"{code}. CKA, Procrustes residual and checkerboard correlation: n = {few}, {steps} checkpoints, "
        f"{finding.notes['few_permutations']} permutations, jackknife intervals. CKA and the checkerboard correlation "
        "(ρ) do not see a turn or an offset between the languages; the Procrustes residual, small where they are "
        "close, allows a turn. Beyond the value: S less the cosine to another fact of the same value. Effective "
        "dimension and mean cosine (not centred) say how far cosines are spread at all; they have no null. The "
        f"normalised score is cut off below −2. {_coverage(finding, group)} docs/measures.md has each definition and "
        "what it cannot see."
    )
    return Panel("measures", "Every measure, side by side", caption, themed(figure, height=200 * rows))


def _coverage(finding: Finding, group: str) -> str:
    """How far the intervals of those measures whose coverage misses 95 % can be believed."""
    many, few = finding.notes["sizes"][group][1], finding.notes["few_sizes"][group][1]
    missing = {"retrieval": many, "mexa": many, "cka": few, "procrustes": few}
    said = [f"{MEASURES[name]}: {covered(name, entities)}" for name, entities in missing.items()]
    return f"On planted data, where intervals should cover 95 %: {'; '.join(said)}; the others as they should."


def _groups_panel(finding: Finding) -> Panel:
    layer, names = 1, ("score", "alignment", "retrieval", "cka")
    labels = {"score": "S − W"} | MEASURES
    figure = small_multiples([labels[name] for name in names])
    for place, name in enumerate(names):
        for group, centring, label, colour, dash in GROUPS:
            rows = curve(finding, group, centring, layer, name)
            if len(rows):
                at = {"row": place // 2 + 1, "col": place % 2 + 1}
                _add(figure, rows, label, colour, at=at, legend=place == 0, null=False, dash=dash)
    _bottom_step_axes(figure, finding, 2)
    counted = [f"{label}: n = {sizes(finding, group)}" for group, _, label, _, _ in GROUPS[:3] if _has(finding, group)]
    caption = (
        f"Layer 1. {'; '.join(counted)} (CKA: of these {', '.join(_few(finding))}). Each group is centred on itself. "
        "Unseen entities have no facts: with shared names their measures show a shared entity, not a shared fact. "
        "Dashed: subtracting each language's own mean hides a constant offset between the languages, and so can hide a "
        "separation. Bands: 95 % intervals over entities; one run. Nulls: the permuted means stand in the figure above "
        "and, for each group, in the table."
    )
    title = "Who unifies: groups of facts, and what centring hides"
    return Panel("groups", title, caption, themed(figure, height=420, legend_rows=2))


def _bottom_step_axes(figure: go.Figure, finding: Finding, rows: int) -> None:
    """Step axes for all panels, named under the last row alone."""
    step_axis(figure, finding.notes["steps"], narrow=True)
    for row in range(1, rows):
        figure.update_xaxes(title=None, row=row)


def _has(finding: Finding, group: str) -> bool:
    return group in finding.notes["sizes"]


def _few(finding: Finding) -> Sequence[str]:
    return [f"{facts:,} {name}" for name, (facts, _) in finding.notes["few_sizes"].items()]


def _transfer_panel(finding: Finding) -> Panel:
    n_layers, titles = finding.notes["layers"], ("AUC over training", "layer 1, at the end")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.14)
    for layer in range(1, n_layers + 1):
        rows = curve(finding, "mono", "whole", layer, "auc_transfer")
        if len(rows):
            _add(figure, rows, f"layer {layer}", layer_colour(layer, n_layers), at={"row": 1, "col": 1})
    items = finding.tables["items"]
    for right, name, colour in ((1, "transferred", BLUE), (0, "not transferred", VERMILION)):
        scores = items[(items["right"] == right) & items["score"].notna()]["score"]
        bars = go.Histogram(
            x=scores, name=name, histnorm="percent", marker={"color": colour}, opacity=0.55, xbins={"size": 0.1}
        )
        figure.add_trace(bars, row=1, col=2)
    level(figure, 0.5, "")
    step_axis(figure, finding.notes["steps"], narrow=True, row=1, col=1)
    figure.update_xaxes(title={"text": "score of the fact", "standoff": 6}, hoverformat=".2f", col=2)
    figure.update_layout(barmode="overlay")
    figure.update_yaxes(title="AUC", col=1)
    figure.update_yaxes(title="% of facts", col=2)
    end = curve(finding, "mono", "whole", 1, "auc_transfer")
    told = (
        f"at the end {signed(end['value'].iloc[-1])} [{signed(end['low'].iloc[-1])}, {signed(end['high'].iloc[-1])}], "
        f"permuted {signed(end['null'].iloc[-1])}, p over the scan {signed(end['p_scan'].iloc[-1], 3)}"
        if len(end)
        else "not defined at layer 1, as no fact transfers or all do"
    )
    caption = (
        "Do the facts that are unified transfer? The score of each mono fact, cos of its own two renderings less its "
        "mean cos to others of its relation in the language it is told in, against whether it is answered rightly in "
        f"the other language. AUC: how often a transferred fact has the higher score; layer 1: {told}; n = "
        f"{len(items):,} transfer items; {len(finding.notes['costly_steps'])} checkpoints where some transfer and some "
        "do not; 95 % intervals over entities; dotted: entities permuted within relation and pair of languages. One "
        "run. An association within a checkpoint, no proof that the model uses the unified vector."
    )
    return Panel("transfer-by-score", "Score against transfer, fact by fact", caption, themed(figure, legend_rows=2))
