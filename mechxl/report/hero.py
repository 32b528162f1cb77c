"""The curves of the figure that plays: recall and transfer over training, with what guessing would reach."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from mechxl.findings import Finding
from mechxl.plots import GREY, INK, VERMILION, Panel, band, level, line, step_axis, steps_shown, themed

COLOURS = {"recall": INK, "transfer": VERMILION}


def hero_curves(learning: Finding) -> Panel:
    """Recall and transfer at the checkpoints, with intervals over entities."""
    table, figure = learning.tables["checkpoints"], go.Figure()
    for kind, colour in COLOURS.items():
        rows = table[table[kind].notna()]
        if len(rows):
            x = steps_shown(rows["step"])
            figure.add_trace(band(x, rows[f"{kind}_low"], rows[f"{kind}_high"], colour))
            figure.add_trace(line(x, rows[kind], kind, colour, width=2.5))
    floors = learning.tables["no_fact"]
    floor = floors[floors["reason"] == ""]["accuracy"].max()
    if np.isfinite(floor):
        level(figure, float(floor), "")
    step_axis(figure, table["step"])
    figure.update_yaxes(range=[-0.02, 1.03], title="share right")
    rates = learning.tables["rates"]
    last = rates[(rates["step"] == rates["step"].max()) & (rates["group"] == "all") & rates["kind"].isin(list(COLOURS))]
    counts = "; ".join(f"{row['kind']} n = {row['n']:,}" for row in last.to_dict("records"))
    caption = (
        f"Recall and transfer with 95 % intervals over entities; dotted: the best guess without facts; {counts}; one "
        "run (one seed)."
    )
    themed(figure, height=240).update_layout(margin={"t": 8, "b": 66}, font={"size": 12}, colorway=[GREY])
    return Panel("course", "Recall and transfer", caption, figure)


def hero_rates(learning: Finding) -> dict[str, Any]:
    """Recall and transfer by checkpoint, in percent, for what a screen reader says; None where undefined."""
    table = learning.tables["checkpoints"]
    rates = {
        kind: [None if np.isnan(value) else round(100 * float(value)) for value in table[kind]] for kind in COLOURS
    }
    return {"steps": [int(step) for step in table["step"]], **rates}
