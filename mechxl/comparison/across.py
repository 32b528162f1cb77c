"""Score against transfer over runs: a description. Over recipes a settled run can score lower and transfer more."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from scipy.stats import norm

from mechxl.findings import Finding, signed
from mechxl.measures.rises import ends as last_tenth
from mechxl.plots import Panel, group_colour, side_by_side, themed
from mechxl.questions.phases.named import EXCESS, RAW

FEWEST = 4  # runs: Fisher's interval needs more than three
UNITS = {RAW.units[1]: RAW.quantity, RAW.units[0]: RAW.quantity, EXCESS.units[0]: EXCESS.quantity}


def run_scores(finding: Finding, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One run's rows, of its question `phases`: S - W, S - X and its excess at the end, by layer, beside transfer."""
    ends = finding.tables["onsets"].set_index(["quantity", "unit"])["last"].to_dict()
    curves = finding.tables["curves"]
    transfers = curves[(curves["quantity"] == "transfer") & (curves["unit"] == "accuracy")].sort_values("step")
    transfer = last_tenth(transfers["value"].to_numpy(dtype=float))[1] if len(transfers) else np.nan
    rows = [
        {**about, "layer": layer, "measure": unit, "end": end, "transfer": transfer}
        for layer in range(1, finding.notes["layers"] + 1)
        for unit, quantity in UNITS.items()
        if np.isfinite(end := ends.get((f"{quantity}, layer {layer}", unit), np.nan))
    ]
    reason = "transfer was not evaluated, or is not defined"
    return [row | {"reason": "" if np.isfinite(transfer) else reason} for row in rows]


def correlations(scores: pd.DataFrame) -> pd.DataFrame:
    """Pearson's r over runs between each measure at the end and transfer, with Fisher's 95 % interval.

    Returns:
        Rows (layer, measure, r, low, high, n, reason).
    """
    columns = ["layer", "measure", "r", "low", "high", "n", "reason"]
    if not len(scores):
        return pd.DataFrame(columns=columns)
    rows = []
    for (layer, measure), part in scores[scores["transfer"].notna()].groupby(["layer", "measure"], sort=False):
        r, low, high = pearson(part["end"].to_numpy(dtype=float), part["transfer"].to_numpy(dtype=float))
        reason = "" if np.isfinite(low) else f"fewer than {FEWEST} runs, or no spread"
        rows.append(dict(zip(columns, (layer, measure, r, low, high, len(part), reason), strict=True)))
    return pd.DataFrame(rows, columns=columns)


def pearson(x: Float[np.ndarray, " run"], y: Float[np.ndarray, " run"]) -> tuple[float, float, float]:
    """(r, low, high) with Fisher's z interval; NaN below FEWEST runs, or where nothing differs."""
    if len(x) < FEWEST or np.ptp(x) < 1e-12 or np.ptp(y) < 1e-12:
        return float("nan"), float("nan"), float("nan")
    r = float(np.corrcoef(x, y)[0, 1])
    z, half = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)), norm.ppf(0.975) / np.sqrt(len(x) - 3)
    return r, float(np.tanh(z - half)), float(np.tanh(z + half))


def across_words(table: pd.DataFrame) -> list[str]:
    """What r is at each layer, and that it is no claim."""
    known = table[table["low"].notna() & (table["measure"] == RAW.units[1])].to_dict("records")
    if not known:
        return []
    shown = ", ".join(
        f"{signed(row['r'])} [{signed(row['low'])}, {signed(row['high'])}] at layer {row['layer']}" for row in known
    )
    return [
        f"Over runs, the score S − W at the end and transfer correlate by r = {shown} (n = {known[0]['n']} runs, "
        "Fisher's interval; seeds of one group are not independent recipes). This is a description and no claim: a "
        "run that settles can score lower and transfer more, so that across runs the score is no measure of transfer."
    ]


def across_panel(finding: Finding) -> Panel | None:
    """S - W at the end against transfer, a dot a run; None where fewer than FEWEST runs have both."""
    scores, groups = finding.tables["scores"], finding.notes["groups"]
    scores = scores[(scores["measure"] == RAW.units[1]) & scores["transfer"].notna()] if len(scores) else scores
    layers: Sequence[int] = sorted(set(scores["layer"])) if len(scores) else []
    if not layers or scores["run"].nunique() < FEWEST:
        return None
    figure = side_by_side(*(f"Layer {layer}" for layer in layers))
    for column, layer in enumerate(layers, start=1):
        for number, group in enumerate(groups):
            part = scores[(scores["layer"] == layer) & (scores["group"] == group)]
            dots = go.Scatter(
                x=part["end"],
                y=part["transfer"],
                mode="markers",
                name=group,
                legendgroup=group,
                showlegend=column == 1,
                marker={"color": group_colour(number), "size": 8, "opacity": 0.7},
                text=list(part["run"]),
                hovertemplate="%{text}: %{x:.3f}, transfer %{y:.3f}<extra></extra>",
            )
            figure.add_trace(dots, row=1, col=column)
    figure.update_xaxes(title={"text": "S − W at the end", "standoff": 6})
    figure.update_yaxes(title="transfer", col=1)
    counts = finding.tables["correlations"]
    counts = counts[(counts["measure"] == RAW.units[1]) & counts["low"].notna()].to_dict("records")
    shown = "; ".join(
        f"layer {row['layer']}: r = {signed(row['r'])} [{signed(row['low'])}, {signed(row['high'])}], n = {row['n']}"
        for row in counts
    )
    caption = (
        "The score S − W at the end against transfer, a dot a run (seeds are dots of one colour). "
        f"{shown or 'r is not defined'} (runs; Fisher's 95 % interval). Null: r = 0. Over recipes a run that settles "
        "can score lower and transfer more: across runs the score is no measure of transfer, and r is a description."
    )
    return Panel("score-and-transfer", "Score against transfer, over runs", caption, themed(figure, legend_rows=2))
