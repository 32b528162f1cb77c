"""Pictures of single facts in the question `unification`: the checkerboard and the map, over checkpoints."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechxl.findings import Finding
from mechxl.plots import GREY, INK, LANGUAGES, RULE, SEPARATE_TO_UNIFIED, Panel, faint, step_slider, themed

Line = list[float | None]  # coordinates; None ends a stroke


def _renderings(finding: Finding) -> list[str]:
    """Each shown fact in each language, language by language, as a reader names it."""
    names, texts = finding.notes["languages"], finding.notes["shown_facts"]
    return [
        f"{name}: {text}" for name, texts_of_language in zip(names, texts, strict=True) for text in texts_of_language
    ]


def checkerboard_panel(finding: Finding) -> Panel:
    """Cosines of all renderings of some facts."""
    boards, steps = finding.arrays["checkerboard"].astype(np.int8), finding.notes["steps"]
    names, labels = finding.notes["languages"], _renderings(finding)
    per_language, last = len(labels) // len(names), len(steps) - 1
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
        border = edge * per_language - 0.5
        figure.add_shape(x0=border, x1=border, y0=0, y1=1, yref="y domain", **rule)
        figure.add_shape(y0=border, y1=border, x0=0, x1=1, xref="x domain", **rule)
    themed(figure)
    margin = {"l": 30, "r": 10, "t": 70, "b": 90}
    meta = {"facts": per_language}
    figure.update_layout(sliders=[step_slider(steps)], hovermode="closest", margin=margin, height=None, meta=meta)
    centres = [per_language * (index + 0.5) - 0.5 for index in range(len(names))]
    square = {"tickvals": centres, "ticktext": names, "showgrid": False, "constrain": "domain"}
    figure.update_xaxes(**square)
    figure.update_yaxes(autorange="reversed", scaleanchor="x", **square)
    caption = (
        f"Cosines at layer 1 between {per_language} {finding.notes['headline']} facts in every language, centred on "
        "all facts of the group. The slider picks the checkpoint. Rows and columns go language by language; within a "
        "language the same facts stand in order of relation and value. Bright blocks on the diagonal alone: each "
        "language is a place of its own. Bright stripes through the blocks off the diagonal: the same fact has the "
        f"same place in both languages. This is a picture of {per_language} facts (one run); the score has the numbers."
    )
    return Panel("checkerboard", "The checkerboard: facts × languages", caption, figure, square=True)


def map_panel(finding: Finding) -> Panel:
    """The same facts on the plane of the two principal components, over checkpoints."""
    steps, maps = finding.notes["steps"], finding.arrays["map"]
    last, names = len(steps) - 1, finding.notes["languages"]
    texts, relation = finding.notes["shown_facts"], finding.notes["shown_relation"]
    symbols = ["circle", "square", "diamond", "triangle-up"]
    by_relation = {number: symbols[index % 4] for index, number in enumerate(sorted(set(relation)))}
    titles = ("whole sample", "per language")  # what is centred on; short, for phones
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.03)
    for column in (1, 2):
        for index, (x, y) in enumerate(_traces(maps[column - 1, last], len(names))):
            if index == 0:
                joined = {"color": faint(GREY, 0.55), "width": 1}
                trace = go.Scatter(x=x, y=y, mode="lines", line=joined, hoverinfo="skip", showlegend=False)
            else:
                marker = {"color": LANGUAGES[(index - 1) % len(LANGUAGES)], "size": 8, "opacity": 0.85}
                marker["symbol"] = [by_relation[number] for number in relation]
                trace = go.Scatter(
                    x=x,
                    y=y,
                    mode="markers",
                    marker=marker,
                    text=texts[index - 1],
                    hovertemplate="%{text}<extra></extra>",
                    name=f"language {names[index - 1]}",
                    legendgroup=names[index - 1],
                    showlegend=column == 1,
                )
            figure.add_trace(trace, row=1, col=column)
    figure.frames = [_frame(finding, index) for index in range(len(steps))]
    themed(figure, height=470)
    reach = 1.05 * float(np.abs(maps).max(initial=1e-9))
    bare = {"showticklabels": False, "ticks": "", "showgrid": False, "zeroline": True, "zerolinecolor": RULE}
    frame = bare | {"mirror": True, "linecolor": RULE, "range": [-reach, reach], "constrain": "domain"}
    for column, anchor in ((1, "x"), (2, "x2")):
        figure.update_xaxes(**frame, col=column)
        figure.update_yaxes(**frame, scaleanchor=anchor, constraintoward="top", col=column)
    figure.update_layout(
        sliders=[step_slider(steps)],
        hovermode="closest",
        meta={"facts": len(relation)},
        margin={"l": 10, "r": 10, "t": 34, "b": 120},
        legend={"y": 1.1, "yref": "paper", "yanchor": "bottom"},
    )
    whole, own = (100 * share for share in finding.notes["explained"][last])
    caption = (
        f"The facts of the checkerboard at layer 1, on the plane of the first two principal components of all "
        f"{finding.notes['headline']} facts at that checkpoint. At the end this plane holds {whole:.0f} % of the "
        f"variance, on the right {own:.0f} %. Hover to read a fact. A line joins the renderings of one fact. Long "
        "lines that all point one way: an offset between the languages. Short lines: unified facts. On the right each "
        "language's mean is subtracted, which hides the offset. The axes are turned so that each checkpoint lies near "
        "the next. Their unit is the root mean square length of all vectors at that checkpoint. This is a picture of "
        "one run and no measure: what lies outside the plane does not show."
    )
    return Panel("map", "The map: a fact's renderings over training", caption, figure)


def _traces(points: np.ndarray, n_languages: int) -> list[tuple[Line, Line]]:
    """x and y of the joining lines, then of each language's markers; points are fact by fact."""
    facts = points.reshape(-1, n_languages, 2)
    gaps = np.full((len(facts), 1, 2), np.nan)
    ring = [facts, facts[:, :1], gaps] if n_languages > 2 else [facts, gaps]
    joined = np.concatenate(ring, axis=1).reshape(-1, 2)
    x, y = ([None if np.isnan(v) else round(float(v), 3) for v in joined[:, axis]] for axis in (0, 1))
    return [(x, y), *((facts[:, a, 0].round(3).tolist(), facts[:, a, 1].round(3).tolist()) for a in range(n_languages))]


def _frame(finding: Finding, index: int) -> go.Frame:
    n_languages = len(finding.notes["languages"])
    both = [xy for shown in finding.arrays["map"][:, index] for xy in _traces(shown, n_languages)]
    data = [{"type": "scatter", "x": x, "y": y} for x, y in both]
    return go.Frame(data=data, name=str(finding.notes["steps"][index]), traces=list(range(len(data))))
