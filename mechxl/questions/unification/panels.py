"""Figures of the question `unification`: curves. Its pictures of single facts are in pictures.py."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechxl.findings import Finding, counted, signed
from mechxl.measures.coverage import covered, nominal
from mechxl.measures.table import HEADLINE, MEASURES, Measure
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
from mechxl.questions.unification.excess_panel import excess_panel
from mechxl.questions.unification.pictures import checkerboard_panel, map_panel
from mechxl.questions.unification.transfer import SHOWN_LAYER, auc_at_end, score_column
from mechxl.questions.unification.words import blind_to, listed

GROUPS = (
    ("mono", "whole", "mono facts", BLUE, "solid"),
    ("parallel", "whole", "parallel facts", VERMILION, "solid"),
    ("unseen", "whole", "unseen entities", GREY, "solid"),
    ("mono", "per_language", "mono facts, centred per language", ORANGE, "dash"),
)
KINDS = ("measure", "control", "context")  # in the order of the figure of measures


def figures(finding: Finding, measures: Sequence[Measure] = MEASURES) -> list[Panel]:
    """The excess over the trained null, the score, its parts, other measures, groups, checkerboard, map, transfer.

    Args:
        finding: of the question.
        measures: the rows of the table of measures.
    """
    excess = excess_panel(finding)
    panels = [*([excess] if excess else []), _score_panel(finding), _parts_panel(finding)]
    panels += [_measures_panel(finding, measures), _groups_panel(finding, measures)]
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
    return [layer for layer in every if len(curve(finding, group, "whole", layer, HEADLINE))] or [every[-1]]


def _add(
    figure: go.Figure, rows: pd.DataFrame, name: str, colour: str, *, cell: tuple[int, int] | None = None,
    legend: bool = True, null: bool = True, dash: str = "solid",
) -> None:  # fmt: skip
    """A measure's curve with its interval and, dotted, its null."""
    x, (row, column) = steps_shown(rows["step"]), cell or (None, None)
    bounded = rows[rows["low"].notna()]
    figure.add_trace(
        band(steps_shown(bounded["step"]), bounded["low"], bounded["high"], colour, group=name), row=row, col=column
    )
    figure.add_trace(
        line(x, rows["value"], name, colour, width=2.2, dash=dash, group=name, showlegend=legend), row=row, col=column
    )
    if null and rows["null"].notna().any():
        dotted = line(x, rows["null"], f"{name}, null", colour, dash="dot", width=1.2, group=name, showlegend=False)
        figure.add_trace(dotted, row=row, col=column)


def _score_panel(finding: Finding) -> Panel:
    figure, n_layers, group = go.Figure(), finding.notes["layers"], finding.notes["headline"]
    for layer in _layers(finding):
        rows = curve(finding, group, "whole", layer, HEADLINE)
        _add(figure, rows, f"layer {layer}", layer_colour(layer, n_layers))
    level(figure, 0.0, "")
    step_axis(figure, finding.notes["steps"])
    figure.update_yaxes(title="S − W")
    left_out = [layer for layer in range(n_layers + 1) if layer not in _layers(finding)]
    caption = (
        f"The unification score S − W of {group} facts at the prompt's last token, after each block (layer 0: "
        f"embeddings), centred on the whole sample. n = {sizes(finding, group)}; every fact is taken in every "
        "language, told or not. 1 − W: the languages coincide. 0: the same fact in the other language is no closer "
        "than another fact in this one. Negative: the language dominates. Bands: 95 % intervals over entities "
        f"({finding.notes['draws']:,} draws). Dotted: the mean score when entities are permuted "
        f"({finding.notes['permutations']:,} permutations). It is X − W and not 0, as the test compares S with X. One "
        "run (one seed)." + (f" Layer {left_out[0]} is left out: {_reason(finding, left_out[0])}." if left_out else "")
    )
    return Panel("score", "The unification score over training", caption, themed(figure, legend_rows=1))


def _reason(finding: Finding, layer: int) -> str:
    table = finding.tables["measures"]
    return str(table[(table["layer"] == layer) & (table["measure"] == HEADLINE)]["reason"].iloc[0])


def _parts_panel(finding: Finding) -> Panel:
    group, layers = finding.notes["headline"], _layers(finding)
    figure = side_by_side(*(f"Layer {layer}" for layer in layers))
    parts = (("S", "S: same fact, two languages", BLUE), ("W", "W: two facts, one language", VERMILION))
    parts += (("X", "X: two facts, two languages", GREY),)
    for column, layer in enumerate(layers, start=1):
        for name, label, colour in parts:
            rows = curve(finding, group, "whole", layer, name)
            _add(figure, rows, label, colour, cell=(1, column), legend=column == 1, null=False)
    step_axis(figure, finding.notes["steps"], narrow=True)
    figure.update_yaxes(range=[-1.05, 1.05])
    figure.update_yaxes(title="mean cosine", col=1)
    caption = (
        f"The parts of the score in every layer where they are defined; {group} facts (n = {sizes(finding, group)}). "
        "S − W is the score. S − X is fact alignment; the permutation test asks whether it is above 0. W − X is "
        f"language separation. Bands: 95 % intervals over entities ({finding.notes['draws']:,} draws); one run. With "
        "shared names S exceeds X even where no fact is shared. The test then shows a shared entity."
    )
    return Panel("parts", "What the score is made of: S, W and X", caption, themed(figure, legend_rows=2))


def _measures_panel(finding: Finding, measures: Sequence[Measure]) -> Panel:
    group, n_layers = finding.notes["headline"], finding.notes["layers"]
    layers = _layers(finding)
    drawn = [measure for kind in KINDS for measure in measures if measure.in_panel and measure.kind == kind]
    defined = [
        measure
        for measure in drawn
        if any(len(curve(finding, group, "whole", layer, measure.name)) for layer in layers)
    ]
    drawn = defined or drawn[:1]  # an empty panel, where nothing is defined
    figure = small_multiples([measure.label for measure in drawn])
    for index, measure in enumerate(drawn):
        cell = (index // 2 + 1, index % 2 + 1)
        for layer in layers:
            rows = curve(finding, group, "whole", layer, measure.name)
            _add(figure, rows, f"layer {layer}", layer_colour(layer, n_layers), cell=cell, legend=index == 0)
    n_rows = (len(drawn) + 1) // 2
    _bottom_step_axes(figure, finding, n_rows)
    for index, measure in enumerate(drawn):
        if measure.axis:
            figure.update_yaxes(range=list(measure.axis), row=index // 2 + 1, col=index % 2 + 1)
    caption = _measures_caption(finding, group, drawn)
    return Panel("measures", "Every measure, side by side", caption, themed(figure, height=200 * n_rows))


def _measures_caption(finding: Finding, group: str, drawn: Sequence[Measure]) -> str:
    notes = finding.notes
    sentences = [
        f"{group.capitalize()} facts, one run. Bands: 95 % intervals over entities. Dotted: the mean under permuted "
        "entities."
    ]
    steps = len(notes["costly_steps"])
    taken = {
        "cheap": f"n = {sizes(finding, group)}, every checkpoint, {notes['permutations']:,} permutations",
        "moderate": f"n = {sizes(finding, group)}, {steps} checkpoints",
        "costly": f"n = {sizes(finding, group, few=True)}, {steps} checkpoints, {notes['few_permutations']} "
        "permutations, jackknife intervals",
    }
    for cost, text in taken.items():
        if labels := [measure.label for measure in drawn if measure.cost == cost]:
            sentences.append(f"{_capital(listed(labels))}: {text}.")
    if chance := notes["references"][group]:
        code = f", by a code of the value alone {signed(chance['value_code'], 3)}" if "value_code" in chance else ""
        sentences.append(f"Retrieval by chance {signed(chance['retrieval_chance'], 3)}{code}.")
    cosines = [measure for measure in drawn if measure.kind == "measure"]
    sentences += [blind_to(cosines)] if cosines else []
    if labels := [measure.label for measure in cosines if measure.small_is_close]:
        sentences.append(f"{_capital(listed(labels))}: small where the languages are close.")
    sentences += [measure.caption for measure in drawn if measure.caption]
    sentences += [_coverage(finding, group, drawn), "docs/measures.md defines each and says what it cannot see."]
    return " ".join(sentences)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _coverage(finding: Finding, group: str, drawn: Sequence[Measure]) -> str:
    """How far intervals can be believed: those that do not cover 95 % of planted samples, by name."""
    entities = {
        measure: finding.notes["few_sizes" if measure.cost == "costly" else "sizes"][group][1] for measure in drawn
    }
    off = [
        f"{measure.label}: {covered(measure.name, n)}"
        for measure, n in entities.items()
        if not nominal(measure.name, n)
    ]
    if not off:
        return "On planted data the intervals cover 95 %, as they should."
    return f"On planted data, where intervals should cover 95 %: {'; '.join(off)}; the others as they should."


def _groups_panel(finding: Finding, measures: Sequence[Measure]) -> Panel:
    layer, drawn = 1, [measure for measure in measures if measure.in_groups]
    figure = small_multiples([measure.label for measure in drawn])
    for index, measure in enumerate(drawn):
        for group, centring, label, colour, dash in GROUPS:
            rows = curve(finding, group, centring, layer, measure.name)
            if len(rows):
                cell = (index // 2 + 1, index % 2 + 1)
                _add(figure, rows, label, colour, cell=cell, legend=index == 0, null=False, dash=dash)
    _bottom_step_axes(figure, finding, (len(drawn) + 1) // 2)
    groups = [f"{label}: n = {sizes(finding, group)}" for group, _, label, _, _ in GROUPS[:3] if _has(finding, group)]
    costly = listed([measure.label for measure in drawn if measure.cost == "costly"])
    few = ", ".join(f"{facts:,} {name}" for name, (facts, _) in finding.notes["few_sizes"].items())
    caption = (
        f"Layer 1. {'; '.join(groups)} (for {costly}, of these: {few}). Each group is centred on itself. "
        "Unseen entities have no facts: with shared names their measures show a shared entity, not a shared fact. "
        "Dashed: each language's own mean is subtracted. This hides a constant offset between the languages, and so "
        "can hide a separation. Bands: 95 % intervals over entities; one run. The permuted means are in the figure "
        "above and, for each group, in the table."
    )
    title = "Who unifies: groups of facts, and what centring hides"
    return Panel("groups", title, caption, themed(figure, height=210 * ((len(drawn) + 1) // 2), legend_rows=2))


def _bottom_step_axes(figure: go.Figure, finding: Finding, rows: int) -> None:
    """Step axes for all panels, named under the last row alone."""
    step_axis(figure, finding.notes["steps"], narrow=True)
    for row in range(1, rows):
        figure.update_xaxes(title=None, row=row)


def _has(finding: Finding, group: str) -> bool:
    return group in finding.notes["sizes"]


def _transfer_panel(finding: Finding) -> Panel:
    ends = auc_at_end(finding.tables["measures"])
    best = int(ends["layer"].iloc[0]) if len(ends) else SHOWN_LAYER
    n_layers, titles = finding.notes["layers"], ("AUC over training", f"layer {best}, at the end")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.14)
    for layer in range(1, n_layers + 1):
        rows = curve(finding, "mono", "whole", layer, "auc_transfer")
        if len(rows):
            _add(figure, rows, f"layer {layer}", layer_colour(layer, n_layers), cell=(1, 1))
    items = finding.tables["items"]
    for right, name, colour in ((1, "transferred", BLUE), (0, "not transferred", VERMILION)):
        scores = items[items["right"] == right][score_column(best)].dropna()
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
    at_end = "; ".join(
        f"layer {row['layer']} {signed(row['value'])} [{signed(row['low'])}, {signed(row['high'])}], permuted "
        f"{signed(row['null'])}, p {row['p_scan']:.3f}"
        for row in ends.sort_values("layer").to_dict("records")
    )
    caption = (
        "Do the facts that are unified transfer? A mono fact's score is the cosine of its two renderings less its mean "
        "cosine to other facts of its relation in the language that it is told in. AUC: how often a fact that is "
        "answered rightly in the other language has a higher score than one that is not; .5 says nothing. Where it "
        "last has an interval: "
        f"{at_end or 'nowhere, as no fact transfers, all do, or too few differ'} (p over all layers and checkpoints, "
        f"by the maximum; right: the layer with the highest AUC). n = {len(items):,} transfer items; "
        f"{counted(len(finding.notes['costly_steps']), 'checkpoint')}, where some items transfer and some do not. "
        "Bands: 95 % intervals over entities. Dotted: entities permuted within relation and pair of languages. One "
        "run. This is an association within a checkpoint. It does not prove that the model uses the unified vector."
    )
    return Panel("transfer-by-score", "Score against transfer, fact by fact", caption, themed(figure, legend_rows=2))
