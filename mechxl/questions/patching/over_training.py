"""Figures of the chosen place over training: interchange accuracy, causal unification, and all outcomes."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechxl.findings import Finding
from mechxl.plots import (
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    Panel,
    band,
    layer_colour,
    level,
    line,
    side_by_side,
    step_axis,
    steps_shown,
    themed,
)
from mechxl.questions.patching.labels import GROUP_COLOURS, direction_labels, pairs_counted
from mechxl.questions.patching.words import place_name

OUTCOME_COLOURS = {
    "donor_receivers": ("donor's value, receiver's language", GREEN),
    "donor_donors": ("donor's value, donor's language", SKY),
    "fact_receivers": ("donor's fact, as the receiver's language has it", PURPLE),
    "receiver_receivers": ("receiver's value, receiver's language", ORANGE),
    "receiver_donors": ("receiver's value, donor's language", "#B8A700"),
    "other": ("other", GREY),
}


def curve_panel(finding: Finding) -> Panel:
    """Interchange accuracy and ceiling by direction, and causal unification beside score and transfer, by step."""
    curve, scores = finding.tables["curve"], finding.tables["beside"]
    titles = ("Interchange accuracy", "Causal unification")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.1)
    for group in finding.notes["groups"]:
        colour = GROUP_COLOURS[group]
        own = curve[(curve["group"] == group) & curve["accuracy"].notna()].sort_values("step")
        for (direction, label), dash in zip(direction_labels(finding), ("solid", "dash"), strict=True):
            rows = own[own["direction"] == direction]
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
        rows = scores[scores[f"score_{layer}"].notna()]
        colour = layer_colour(layer, finding.notes["layers"])
        trace = line(steps_shown(rows["step"]), rows[f"score_{layer}"], f"score, layer {layer}", colour, width=1.3)
        figure.add_trace(trace, row=1, col=2)
    rows = scores[scores["transfer"].notna()]
    figure.add_trace(line(steps_shown(rows["step"]), rows["transfer"], "transfer", INK, dash="dot"), row=1, col=2)
    level(figure, 0.0, "", 2)
    step_axis(figure, finding.notes["steps"], narrow=True)
    tops = curve["unification_high"].dropna()
    top = float(min(max(1.05, tops.quantile(0.9) if len(tops) else 1.05), 2.0))
    low = float(min(0.0, *(scores[f"score_{layer}"].min() for layer in range(1, finding.notes["layers"] + 1))))
    figure.update_yaxes(range=[-0.03, 1.03], col=1)
    figure.update_yaxes(range=[1.05 * low - 0.05, top], col=2)
    figure.update_annotations(font_size=13)
    return Panel(
        "curve", "Whose value comes out, over training", _curve_caption(finding), themed(figure, legend_rows=5)
    )


def _curve_caption(finding: Finding) -> str:
    curve = finding.tables["curve"]
    nulls = curve[(curve["step"] == finding.notes["steps"][-1]) & (curve["direction"] == "both")].set_index("group")
    null = "; ".join(
        f"{group} {row['null']:.3f} [{row['null_low']:.3f}, {row['null_high']:.3f}]"
        for group, row in nulls[nulls["null"].notna()].iterrows()
    )
    return (
        f"Patched: {place_name(finding.notes['place'])}. One half of the pairs chose this place at the last "
        "checkpoint; the other half is shown. Left: how often the answer becomes the donor's value in the receiver's "
        "language, by direction. Dotted: the ceiling, the same donor facts in the receiver's own language. The null, "
        f"donors permuted within a relation, is {null or 'not defined'} at the last checkpoint. Right: causal "
        "unification, which is (accuracy - null) / (ceiling - null), both directions together; it is drawn where the "
        "ceiling is clearly above the null. Mono facts are apart by whether the donor fact transfers at the "
        "checkpoint. Beside it stand the score of the run's mono facts and its transfer. Bands: 95 % intervals over "
        f"pairs; no entity is in two pairs. {pairs_counted(finding)}; fewer at earlier checkpoints; one run. Curves of "
        "one run may rise together for many reasons: patching shows what the model uses, the curves show when."
    )


def outcomes_panel(finding: Finding) -> Panel:
    """The share of each outcome by step, as stacked areas."""
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
        "value comes out, in whose language. Where words coincide, the first of their outcomes in the list counts. "
        "Logit difference between the donor's and the receiver's value in the receiver's language at the last "
        f"checkpoint, unpatched to patched: {change or 'not defined'}. {pairs_counted(finding)}; the table `curve` has "
        "the intervals of all shares; one run."
    )
    return Panel("outcomes", "Whose value, in whose language", caption, themed(figure, legend_rows=5))
