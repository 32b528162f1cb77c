"""The figure of the excess over the trained null."""

from mechxl.findings import Finding
from mechxl.plots import Panel, band, layer_colour, level, line, side_by_side, step_axis, steps_shown, themed
from mechxl.questions.unification.excess import COMPARED, LABELS


def excess_panel(finding: Finding) -> Panel | None:
    """The excess of S - X, S - W and retrieval over training, by layer; None without a trained null."""
    group, table = finding.notes["headline"], finding.tables["excess"]
    table = table[(table["group"] == group) & table["low"].notna()] if len(table) else table
    if not len(table):
        return None
    n_layers, names = finding.notes["layers"], [name for name in COMPARED if (table["measure"] == name).any()]
    figure = side_by_side(*(f"{LABELS[name]}, excess" for name in names))
    for column, name in enumerate(names, start=1):
        for layer, rows in table[table["measure"] == name].groupby("layer"):
            colour, x, label = layer_colour(int(str(layer)), n_layers), steps_shown(rows["step"]), f"layer {layer}"
            figure.add_trace(band(x, rows["low"], rows["high"], colour, group=label), row=1, col=column)
            trace = line(x, rows["value"], label, colour, width=2.2, group=label, showlegend=column == 1)
            figure.add_trace(trace, row=1, col=column)
        level(figure, 0.0, "", column)
    step_axis(figure, finding.notes["steps"], narrow=True)
    last = table[table["step"] == table["step"].max()].iloc[0]
    caption = (
        f"The excess of this run over its trained null ({finding.notes['null']['name']}: the same settings and seeds, "
        "but no fact is shared), layer by layer and checkpoint by checkpoint. This is unification. What the run and "
        "its null have in common, such as a shared name or the decay of the languages' first offset, is taken off. "
        f"{group.capitalize()} facts, n = {last['n']:,} here and {last['n_null']:,} in the null. Bands: 95 % intervals "
        "over entities of both runs. They describe this pair of runs; several seeds show how far pairs differ. "
        "Null: 0 (dotted). The figures below show the run's own numbers."
    )
    return Panel("excess", "Unification: the excess over the trained null", caption, themed(figure, legend_rows=1))
