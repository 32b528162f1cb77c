"""Figures of a comparison of runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy import stats

from mechxl.comparison.across import across_panel
from mechxl.comparison.ends import ends_panel
from mechxl.findings import Finding
from mechxl.measures.rises import RESOLVED
from mechxl.plots import BLUE, GREY, Panel, band, group_colour, line, small_multiples, themed
from mechxl.questions.phases.panels import colour_of


def figures(finding: Finding) -> list[Panel]:
    """Curves by group; onsets by group; what comes after recall; score against transfer; differences."""
    panels = [_curves(finding), *([_onsets(finding)] if _any_onset(finding) else [])]
    panels += [ends_panel(finding)] if finding.tables["ends_by_group"]["n"].any() else []
    across = across_panel(finding)
    panels += [across] if across else []
    return panels + ([_differences(finding)] if finding.tables["differences"]["p"].notna().any() else [])


def _any_onset(finding: Finding) -> bool:
    return bool(finding.tables["onsets"]["outcome"].isin(RESOLVED).any())


def overview(finding: Finding) -> Panel:
    """When each group learns what, by step, small: for the first screen."""
    by_group, quantities, groups = (
        finding.tables["by_group"], finding.notes["quantities"], finding.notes["groups"]
    )  # fmt: skip
    by_step, figure, rows = by_group[by_group["clock"] == "step"], go.Figure(), np.arange(len(groups))
    for number, quantity in enumerate(quantities):
        onsets = by_step[by_step["quantity"] == quantity].set_index("group").loc[groups]
        shown = (
            f"{row['n']} of {row['runs']} seeds: {row['onset']:,.0f}"
            + (f" [{row['low']:,.0f}, {row['high']:,.0f}]" if np.isfinite(row["low"]) else "")
            for row in onsets.to_dict("records")
        )
        marks = go.Scatter(
            x=onsets["onset"],
            y=rows + 0.2 * (number - (len(quantities) - 1) / 2),
            mode="markers",
            name=quantity,
            marker={"color": colour_of(quantity, finding.notes["layers"]), "size": 9, "symbol": "diamond"},
            error_x={"type": "data", "symmetric": False, "array": onsets["high"] - onsets["onset"],
                     "arrayminus": onsets["onset"] - onsets["low"], "thickness": 2, "width": 0},
            text=[f"{group}, {quantity}, {row}" for group, row in zip(groups, shown, strict=True)],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(marks)
    ends = [by_step["onset"].min() / 1.5, finding.tables["curves"]["step"].max()]
    if not np.isfinite(ends[0]):
        figure.add_annotation(text="no onset in any group", showarrow=False, font={"color": GREY, "size": 12})
        ends[0] = 1.0
    figure.update_xaxes(
        type="log", range=np.log10(ends).tolist(), nticks=5, tickangle=0, title={"text": "step", "standoff": 4}
    )
    figure.update_yaxes(tickvals=rows, ticktext=groups, range=[len(groups) - 0.5, -0.5], tickfont={"size": 11})
    themed(figure, height=110 + 34 * len(groups))
    figure.update_layout(hovermode="closest", margin={"t": 4, "b": 84})
    caption = (
        "Half-rise step by group: geometric mean and 95 % t interval over the seeds that have an onset (n on hover; "
        "intervals of few seeds may leave the figure). Where there is no mark, no seed has a resolved onset."
    )
    return Panel("overview", "When each group learns what", caption, figure)


def _clock_menu(
    clocks: dict[str, str], xs: Sequence[dict[str, Any]], titles: Sequence[str], update: dict[str, Any]
) -> dict[str, Any]:
    """A menu that puts all traces on another clock."""
    buttons = []
    for clock, title in clocks.items():
        arrays = {key: [x[clock][index] for x in xs] for index, key in enumerate(titles)}
        layout = {f"{axis}.title.text": title for axis in update["axes"]}
        buttons.append({"label": title, "method": "update", "args": [arrays, layout]})
    return {"type": "dropdown", "direction": "down", "buttons": buttons, "x": 0, "xanchor": "left", "y": 1.0,
            "yanchor": "bottom", "pad": {"b": 26}, "font": {"size": 11}}  # fmt: skip


def _rate(rows: pd.DataFrame, clock: str) -> float:
    """What a step is on a clock; of the seeds of a group, whose words differ, the mean."""
    return 1.0 if clock == "step" else float(rows[f"{clock}_a_step"].mean())


def _curves(finding: Finding) -> Panel:
    curves, quantities, clocks = finding.tables["curves"], finding.notes["quantities"], finding.notes["clocks"]
    figure, xs = small_multiples(quantities, columns=1), []
    for row, quantity in enumerate(quantities, start=1):
        means = [0.0, 1.0]
        for number, group in enumerate(finding.notes["groups"]):
            part = curves[(curves["quantity"] == quantity) & (curves["group"] == group) & (curves["step"] >= 1)]
            if not len(part):
                continue
            wide = part.pivot_table(index="step", columns="run", values="value").dropna()
            mean, n, colour = wide.mean(axis=1), wide.shape[1], group_colour(number)
            means += [mean.min(), mean.max()]
            clock_values = {clock: np.array(wide.index) * _rate(part, clock) for clock in clocks}
            if n > 1:
                half = stats.t.ppf(0.975, n - 1) * wide.std(axis=1) / np.sqrt(n)
                figure.add_trace(band(clock_values["step"], mean - half, mean + half, colour, group), row=row, col=1)
                xs.append({clock: ([*x, *x[::-1]],) for clock, x in clock_values.items()})
            trace = line(clock_values["step"], mean, f"{group} (n = {n})", colour, group=group, showlegend=row == 1)
            figure.add_trace(trace, row=row, col=1)
            xs.append({clock: (list(x),) for clock, x in clock_values.items()})
        figure.update_yaxes(range=[min(means) - 0.05, max(means) + 0.05], row=row, col=1)
    figure.update_xaxes(type="log", showticklabels=True, exponentformat="power", nticks=8)
    axes = ["xaxis", "xaxis2", "xaxis3"][: len(quantities)]
    figure.update_xaxes(title={"text": clocks["step"], "standoff": 4})
    themed(figure, height=150 + 230 * len(quantities), legend_rows=1 + len(finding.notes["groups"]) // 3)
    menu = _clock_menu(clocks, xs, ["x"], {"axes": axes})
    figure.update_layout(updatemenus=[menu], margin={"t": 90}, hovermode="closest")
    caption = (
        f"Recall, {finding.notes['quantity']} and transfer by group: means with 95 % t intervals over seeds, where "
        "there are two or more (intervals of few seeds may leave the figure); the legend has n, the seeds. The menu "
        "changes the clock: tokens seen, expected exposures of a mono fact, or compute (6 x parameters of the blocks x "
        "tokens). Each is proportional to the step within a run, but differs between tokenizations. No null is drawn: "
        "each run's report has it."
    )
    return Panel("curves", "The same curves, side by side", caption, figure)


OnClocks = dict[str, tuple[list[float], dict[str, Any]]]  # by clock: x, and error_x


def _seeds(risen: pd.DataFrame, group: str, colour: str, clocks: Mapping[str, str]) -> tuple[go.Scatter, OnClocks]:
    """A dot a seed, and where it lies on each clock."""
    on_clocks: OnClocks = {}
    for clock in clocks:
        rate = 1.0 if clock == "step" else risen[f"{clock}_a_step"]
        on_clocks[clock] = (list(risen["step"] * rate), {})
    dots = go.Scatter(
        x=on_clocks["step"][0],
        y=[group] * len(risen),
        mode="markers",
        marker={"color": colour, "size": 7, "opacity": 0.5},
        text=list(risen["run"]),
        hovertemplate="%{text}: %{x:,.0f}<extra></extra>",
        showlegend=False,
    )
    return dots, on_clocks


def _mean(means: pd.DataFrame, group: str, colour: str, clocks: Mapping[str, str]) -> tuple[go.Scatter, OnClocks]:
    """A diamond at the mean over seeds with its interval, and where it lies on each clock; means has a row a clock."""
    by_clock, on_clocks = means.to_dict("index"), OnClocks()
    for clock in clocks:
        onset, low, high = (float(by_clock[clock][name]) for name in ("onset", "low", "high"))
        bar = {"type": "data", "symmetric": False, "array": [high - onset], "arrayminus": [onset - low]}
        on_clocks[clock] = ([onset], bar | {"thickness": 2, "color": colour})
    x, bar = on_clocks["step"]
    diamond = go.Scatter(
        x=x,
        y=[group],
        mode="markers",
        marker={"color": colour, "size": 11, "symbol": "diamond"},
        error_x=bar,
        hovertemplate="mean %{x:,.0f}<extra></extra>",
        showlegend=False,
    )
    return diamond, on_clocks


def _onsets(finding: Finding) -> Panel:
    onsets, by_group = finding.tables["onsets"], finding.tables["by_group"]
    quantities, clocks, groups = finding.notes["quantities"], finding.notes["clocks"], finding.notes["groups"]
    figure = make_subplots(
        rows=len(quantities), cols=1, subplot_titles=quantities, vertical_spacing=0.4 / len(quantities)
    )
    xs: list[OnClocks] = []
    for row, quantity in enumerate(quantities, start=1):
        for number, group in enumerate(groups):
            part = onsets[(onsets["quantity"] == quantity) & (onsets["group"] == group)]
            means = by_group[(by_group["quantity"] == quantity) & (by_group["group"] == group)].set_index("clock")
            traces = [_seeds(part[part["outcome"].isin(RESOLVED)], group, group_colour(number), clocks)]
            if np.isfinite(means.loc["step", "low"]):
                traces.append(_mean(means, group, group_colour(number), clocks))
            for trace, on_clocks in traces:
                figure.add_trace(trace, row=row, col=1)
                xs.append(on_clocks)
    figure.update_xaxes(type="log", exponentformat="power", nticks=4, tickangle=0)
    figure.update_xaxes(title={"text": clocks["step"], "standoff": 2}, title_font_size=11)
    for row, quantity in enumerate(quantities, start=1):
        if not onsets.loc[onsets["quantity"] == quantity, "outcome"].isin(RESOLVED).any():
            last = float(np.log10(max(finding.tables["curves"]["step"].max(), 10)))
            figure.update_xaxes(range=[0, last], row=row, col=1)  # an empty axis would reach to 10^6
            place = {"x": last / 2, "y": (len(groups) - 1) / 2, "showarrow": False}
            figure.add_annotation(text="no onset in any run", row=row, col=1, font={"color": GREY}, **place)
    every: Any = {"categoryarray": groups[::-1], "range": [-0.5, len(groups) - 0.5]}  # those without an onset too
    figure.update_yaxes(type="category", categoryorder="array", tickfont={"size": 11}, **every)
    themed(figure, height=150 + len(quantities) * (90 + 26 * len(groups)))
    axes = ["xaxis", "xaxis2", "xaxis3"][: len(quantities)]
    menu = _clock_menu(clocks, xs, ["x", "error_x"], {"axes": axes})
    figure.update_layout(updatemenus=[menu], margin={"t": 90, "b": 50}, hovermode="closest")
    counts = by_group[by_group["clock"] == "step"].to_dict("records")
    none = "; ".join(
        f"{row['group']}: {row['quantity']} {row['n']} of {row['runs']}" for row in counts if row["n"] < row["runs"]
    )
    caption = (
        "Half-rise steps: every seed (dots), and their geometric mean with a 95 % t interval in ln over seeds "
        "(diamond; two seeds or more). Runs without a resolved onset are left out"
        f"{f' (seeds with one: {none})' if none else ' (there are none)'}. Null: a constant or a line with AR(1) "
        "noise, run by run (docs/phases.md)."
    )
    return Panel("onsets", "When things happen, by group", caption, figure)


def _differences(finding: Finding) -> Panel:
    table = finding.tables["differences"]
    table = table[table["p"].notna() & (table["clock"] == "step")]
    labels = [f"{row['second']}<br>over {row['first']}" for row in table.to_dict("records")]
    quantities = [quantity for quantity in finding.notes["quantities"] if (table["quantity"] == quantity).any()]
    figure = make_subplots(
        rows=len(quantities), cols=1, subplot_titles=quantities, vertical_spacing=0.36 / len(quantities)
    )
    for place, quantity in enumerate(quantities, start=1):
        of_quantity = (table["quantity"] == quantity).to_numpy()
        rows = table[of_quantity]
        marks = go.Scatter(
            x=rows["ratio"],
            y=[label for label, shown in zip(labels, of_quantity, strict=True) if shown],
            mode="markers",
            marker={"size": 9, "color": [BLUE if p <= 0.05 else GREY for p in rows["p_holm"]]},
            error_x={"type": "data", "symmetric": False, "array": rows["high"] - rows["ratio"],
                     "arrayminus": rows["ratio"] - rows["low"], "color": GREY},
            text=[_test(row) for row in rows.to_dict("records")],
            hovertemplate="%{x:.2f} times, %{text}<extra></extra>",
            showlegend=False,
        )  # fmt: skip
        figure.add_trace(marks, row=place, col=1)
        figure.add_vline(x=1, line={"color": GREY, "dash": "dot"}, row=place, col=1)  # pyright: ignore[reportArgumentType]
    figure.update_xaxes(type="log", nticks=4, tickangle=0)
    figure.update_xaxes(title={"text": "times as late", "standoff": 4}, row=len(quantities))
    figure.update_yaxes(tickfont={"size": 10}, autorange="reversed")
    themed(figure, height=110 + len(quantities) * (84 + 34 * len(set(labels)))).update_layout(
        hovermode="closest", margin={"t": 40, "b": 50}
    )
    figure.update_annotations(font_size=11)
    tests = int(finding.tables["differences"]["p"].notna().sum())
    caption = (
        "Half-rise steps over those of the first group, paired by seed: geometric means, 95 % t intervals; blue: p <= "
        f".05 by a paired t test in ln after Holm over all {tests} tests "
        "(groups, quantities, clocks). Null: a ratio of 1. n, seeds, on hover; a claim needs six. Other "
        "clocks are in the table `differences`."
    )
    return Panel("differences", "Which differences can be told from none", caption, figure)


def _test(row: Mapping[Any, Any]) -> str:
    return f"n = {row['n']}, p = {row['p']:.3f}, after Holm {row['p_holm']:.3f}"
