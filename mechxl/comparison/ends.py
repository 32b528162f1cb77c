"""How runs end: whether they rest, and what they gain after recall, run by run and by group."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechxl.findings import Finding, signed
from mechxl.measures.statistics import t_interval
from mechxl.plots import GREY, Panel, group_colour, themed


def run_ends(finding: Finding, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One run's rows, of its question `phases`: the gain of transfer and of the score after recall, beside its rest."""
    rest = finding.notes["rest"]
    moved = rest["transfer"] or {"low": np.nan, "high": np.nan}
    state = {"rests": rest["rests"], "rest_reason": rest["reason"], "transfer_range": moved["high"] - moved["low"]}
    rows = finding.tables["after_recall"].to_dict("records")
    undefined = "" if rest["transfer"] else "transfer is not defined"
    unknown = rest["reason"] if rest["rests"] is None else ""
    return [
        {
            **about,
            **state,
            **{str(key): value for key, value in row.items()},
            "reason": row["reason"] or undefined or unknown,
        }
        for row in rows
    ]


def ends_by_group(ends: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """Mean gains by group with 95 % t intervals over seeds, mean steps of complete recall, and how many runs rest."""
    rows = []
    for group in groups:
        for quantity in ("transfer", "score"):
            part = ends[(ends["group"] == group) & (ends["quantity"] == quantity)]
            gain = part["gain"].dropna().to_numpy(dtype=float)
            low, mean, high = t_interval(gain)
            numbers = {"gain": mean, "low": low, "high": high}
            for name in ("complete", "then", "end"):
                values = part.loc[part["gain"].notna(), name]
                numbers[name] = float(values.mean()) if len(values) else np.nan
            reason = "" if len(gain) > 1 else f"{len(gain)} of {len(part)} runs recall 99 %: no interval"
            counts = {"n": len(gain), "runs": len(part), "rest": int(part["rests"].eq(True).sum())}  # None too
            rows.append({"group": group, "quantity": quantity} | counts | numbers | {"reason": reason})
    return pd.DataFrame(rows)


def ends_words(by_group: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """What each group gains after recall, and how many of its runs rest."""
    sentences = []
    for group in groups:
        rows = by_group[by_group["group"] == group].set_index("quantity")
        gains = [
            f"{quantity} gains {signed(row['gain'])}"
            + (f" [{signed(row['low'])}, {signed(row['high'])}]" if np.isfinite(row["low"]) else "")
            + f" (n = {row['n']} of {row['runs']} seeds)"
            for quantity, row in rows.iterrows()
            if row["n"]
        ]
        rest = f"{rows['rest'].iloc[0]} of {rows['runs'].iloc[0]} runs rest"
        after = f"after recall is complete, {' and '.join(gains)}; " if gains else "recall reaches 99 % in no run; "
        sentences.append(f"{group}: {after}{rest}.")
    return sentences


def ends_panel(finding: Finding) -> Panel:
    """Gains after recall by group: every seed and the mean."""
    ends, by_group, groups = finding.tables["ends"], finding.tables["ends_by_group"], finding.notes["groups"]
    quantities = [name for name in ("transfer", "score") if by_group.loc[by_group["quantity"] == name, "n"].any()]
    figure = make_subplots(rows=1, cols=max(len(quantities), 1), subplot_titles=quantities, shared_yaxes=True)
    for column, quantity in enumerate(quantities, start=1):
        for number, group in enumerate(groups):
            part = ends[(ends["group"] == group) & (ends["quantity"] == quantity) & ends["gain"].notna()]
            mean = by_group[(by_group["group"] == group) & (by_group["quantity"] == quantity)].iloc[0]
            seeds = go.Scatter(
                x=part["gain"],
                y=[group] * len(part),
                mode="markers",
                marker={"color": group_colour(number), "size": 5, "opacity": 0.5},
                text=[f"seed {seed}" for seed in part["seed"]],
                hovertemplate="%{text}: %{x:.3f}<extra></extra>",
                showlegend=False,
            )
            figure.add_trace(seeds, row=1, col=column)
            if np.isfinite(mean["low"]):
                diamond = go.Scatter(
                    x=[mean["gain"]],
                    y=[group],
                    mode="markers",
                    marker={"color": group_colour(number), "size": 11, "symbol": "diamond"},
                    error_x={"type": "data", "array": [mean["high"] - mean["gain"]]},
                    hovertemplate="mean %{x:.3f}<extra></extra>",
                    showlegend=False,
                )
                figure.add_trace(diamond, row=1, col=column)
        figure.add_vline(x=0, line={"color": GREY, "dash": "dot"}, row=1, col=column)  # pyright: ignore[reportArgumentType]
    figure.update_xaxes(title={"text": "gain", "standoff": 4})
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=groups[::-1], tickfont={"size": 11})
    themed(figure, height=130 + 30 * len(groups)).update_layout(hovermode="closest", margin={"b": 50})
    counts = "; ".join(
        f"{row['group']}: n = {row['n']} of {row['runs']} seeds, {row['rest']} at rest"
        for row in by_group[by_group["quantity"] == (quantities or ["transfer"])[0]].to_dict("records")
    )
    caption = (
        "What transfer (a share) and the score gain between the first checkpoint with 99 % recall and the last one: "
        f"every seed, and means with 95 % t intervals over seeds. {counts}. Null: no gain (dotted). A schedule that "
        "falls is itself a cause of late change."
    )
    return Panel("after-recall", "What comes after recall", caption, figure)
