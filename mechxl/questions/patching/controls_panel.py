"""The figure of the controls of the question `patching`."""

import numpy as np
import plotly.graph_objects as go

from mechxl.findings import Finding
from mechxl.plots import Panel, themed
from mechxl.questions.patching.labels import GROUP_COLOURS
from mechxl.questions.patching.words import SET_ASIDE, group_name, place_name


def controls_panel(finding: Finding) -> Panel:
    """Interchange accuracy at the chosen place beside what controls give, with intervals."""
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
    for group in [name for name in finding.notes["groups"] if name != SET_ASIDE]:
        own = table[(table["group"] == group.partition(",")[0]) & table["low"].notna()].set_index("control")
        points = []
        for key, label in labels.items():
            if key in ("accuracy", "ceiling", "null"):
                value, low, high = end.loc[group, [key, f"{key}_low", f"{key}_high"]]
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
                name=group_name(group),
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
        "value in the receiver's language, and what the controls give. A donor of another relation (same entity, next "
        "relation) is scored twice: by its entity's value in the receiver's relation, and by its own relation's value. "
        f"n, pairs: {', '.join(f'{name} {n}' for name, n in sizes.items())}. Whiskers: 95 % intervals over pairs; "
        "one run. Controls of mono facts are of all, those that transfer and those that do not. Not drawn: a run "
        "patched into itself changes a log p by at most "
        f"{own.max() if len(own) else float('nan'):.0e}. The final stream at the last position gives the donor's own "
        f"first token in {final.min() if len(final) else float('nan'):.0%} of pairs, as it must."
    )
    figure = themed(figure, height=300)
    return Panel("controls", "Controls", caption, figure.update_layout(hovermode="closest", margin={"l": 8}))
