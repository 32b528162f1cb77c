"""The question `phases` in words: the order of events, and what cannot be told."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mechxl.findings import permuted_p, signed
from mechxl.questions.phases.after_recall import COMPLETE

LOW_SCORE = 0.1  # below which a score at the end is no unification


def words(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """Sentences on the phase, the rises, what comes after recall, the order, the marginals, what was not computed."""
    onsets = tables["onsets"]
    layer = f"unification, layer {notes['headline']}"
    sentences = [phase(tables, notes)]
    named = (("recall", "accuracy"), (layer, "score"), ("transfer", "accuracy"))
    parts = [_onset(onsets, quantity, unit, notes["undefined"]) for quantity, unit in named]
    sentences.append(
        f"{'; '.join(parts)}. A rise is dated by its half-rise step; intervals are the wider of the gap between "
        "evaluations and an AR(1) bootstrap; one run."
    )
    sentences += _after_recall(tables["after_recall"], notes["rest"])
    sentences += _order(tables["lags"], notes["draws"])
    sentences += _marginals(tables["marginals"], notes["near"])
    missing = [name for name in ("language_identity", "patching") if name not in notes["kept"]]
    if missing:
        sentences.append(
            f"Not on the time line, since their findings are not kept beside the run: {', '.join(missing)}."
        )
    for name, reason in notes["undefined"].items():
        if name in ("language_identity", "patching"):
            sentences.append(f"Not on the time line, since it is not defined in this run: {name} ({reason}).")
    if not notes["finished"]:
        sentences.append(f"The run is under way (step {notes['last']:,}): what has not risen may still rise.")
    return sentences


def phase(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> str:
    """Separate first and unified later, unified from the start, never unified, or not finished."""
    layer = f"unification, layer {notes['headline']}"
    row = _row(tables["onsets"], layer, "score")
    recall = _row(tables["onsets"], "recall", "accuracy")
    where = (
        f"(layer {notes['headline']}, whose score ends highest, at {signed(row['last'])}; n = {int(row['n'])} "
        "checkpoints)"
    )
    if not row["n"]:
        return f"Phase: not defined {where}: too few facts of a relation for a score."
    if not notes["finished"] or row["outcome"] == "rises, not finished":
        why = row["reason"] if row["outcome"] == "rises, not finished" else "the run is under way"
        return f"Phase: not finished {where}: {why}."
    if row["last"] < LOW_SCORE:
        return f"Phase: never unified {where}."
    curve = tables["curves"]
    score = curve[(curve["quantity"] == layer) & (curve["unit"] == "score")].sort_values("step")
    lowest = score.sort_values("value").iloc[0]
    if row["outcome"] != "no rise" and lowest["value"] < 0:
        return (
            f"Phase: separate first and unified later {where}: the score falls to {signed(lowest['value'])} at step "
            f"{int(lowest['step']):,} and has risen by half at step {_steps(row, 'half_')}."
        )
    before = score[score["step"] <= recall["step"]] if np.isfinite(recall["step"]) else score
    if len(before) and before["value"].iloc[-1] > row["last"] / 2:
        return f"Phase: unified from the start {where}: the score is high before recall rises."
    return f"Phase: unified at the end {where}, without a rise that can be told from noise: {row['reason']}."


def _row(onsets: pd.DataFrame, quantity: str, unit: str) -> dict[str, Any]:
    rows = onsets[(onsets["quantity"] == quantity) & (onsets["unit"] == unit)].to_dict("records")
    if not rows:
        nothing = {"outcome": "no rise", "step": np.nan, "low": np.nan, "high": np.nan, "n": 0, "last": np.nan}
        return nothing | {"reason": "it was not evaluated"}
    return {str(key): value for key, value in rows[0].items()}


def _onset(onsets: pd.DataFrame, quantity: str, unit: str, undefined: Mapping[str, str]) -> str:
    row = _row(onsets, quantity, unit)
    name = f"{quantity[0].upper()}{quantity[1:]}"
    if quantity in undefined:
        return f"{name} is not defined ({undefined[quantity]})"
    n = f"(n = {int(row['n'])} evaluations)"
    if row["outcome"] == "rises":
        return f"{name} rises at step {_steps(row)} {n}"
    if row["outcome"] == "rises twice":
        return f"{name} rises twice, at step {_steps(row)} and at step {_steps(row, 'second_')} {n}"
    if row["outcome"] == "no rise":
        return f"{name}: no rise ({row['reason']})"
    half = (
        f"half of the way at step {_steps(row, 'half_')} whatever its shape; " if np.isfinite(row["half_step"]) else ""
    )
    return f"{name} {row['outcome']} ({half}{row['reason']})"


def _steps(row: Mapping[str, Any], prefix: str = "") -> str:
    step, low, high = (row[f"{prefix}{end}"] for end in ("step", "low", "high"))
    return f"{step:,.0f} [{low:,.0f}, {high:,.0f}]" if np.isfinite(step) else "that can't be told"


def _after_recall(table: pd.DataFrame, rest: Mapping[str, Any]) -> list[str]:
    """What transfer and the score gain after recall is complete, and whether training ends too early to say."""
    rows = {row["quantity"]: row for row in table.to_dict("records")}
    known = [row for row in rows.values() if np.isfinite(row["gain"])]
    if not known:
        return [f"After recall: nothing can be said, since {rows['transfer']['reason']}."]
    head = known[0]
    gains = [
        f"{row['quantity']} from {signed(row['then'])} to {signed(row['end'])}, a gain of {signed(row['gain'])} "
        f"[{signed(row['low'])}, {signed(row['high'])}] (n = {int(row['n']):,} items about {int(row['entities']):,} "
        "entities)"
        for row in known
    ]
    missing = [f"{name} is not defined ({row['reason']})" for name, row in rows.items() if np.isnan(row["gain"])]
    sentence = (
        f"After recall: recall reaches {COMPLETE:.0%} at step {head['complete']:,.0f} (below it at step "
        f"{head['complete_low']:,.0f}). From the checkpoint at step {head['checkpoint']:,.0f} to the last one "
        f"({head['last']:,.0f}) {' and '.join([*gains, *missing])}."
    )
    if rest["rests"] is False and (transfer := rest["transfer"]) and "transfer moves" in rest["reason"]:
        moves = transfer["high"] - transfer["low"]
        sentence += f" Training ends before transfer rests: it still moves over a range of {moves:.3f}."
    return [sentence]


def _units(n: int) -> str:
    return "the one pair of units" if n == 1 else f"all {n} pairs of units"


def _order(lags: pd.DataFrame, draws: int) -> list[str]:
    sentences = []
    for first, second in lags[["first", "second"]].drop_duplicates().itertuples(index=False):
        rows = lags[(lags["first"] == first) & (lags["second"] == second)]
        known = rows[rows["value"].notna()]
        if not len(known):
            sentences.append(f"{first.capitalize()} and {second}: no lag ({rows['reason'].iloc[0]}).")
            continue
        head, sign = known.iloc[0], int(rows["sign"].iloc[0])
        factor = f"{np.exp(head['value']):.2f} [{np.exp(head['low']):.2f}, {np.exp(head['high']):.2f}]"
        verdict = {
            1: f"{first} precedes {second} in {_units(len(rows))}",
            -1: f"{second} precedes {first} in {_units(len(rows))}",
            0: f"{first} and {second} cannot be ordered in {_units(len(rows))}",
        }[sign]
        sentences.append(
            f"{verdict[0].upper()}{verdict[1:]}: {second} rises at {factor} times the step of {first} "
            f"({head['units']}; {permuted_p(head['p'], draws)} if both had one onset; one run)."
        )
    return [*sentences, "A lag is a description; causes need an intervention."]


def _marginals(table: pd.DataFrame, near: float) -> list[str]:
    sentences = []
    for marginal in table["marginal"].unique():
        rows = table[table["marginal"] == marginal]
        steps = rows[rows["near"].astype(bool)]["step"]
        if len(steps):
            sentences.append(
                f"Before facts: the answers about unseen entities follow {marginal} within {signed(near)} nats from "
                f"step {steps.min():,} to step {steps.max():,} ({len(steps)} of {len(rows)} checkpoints)."
            )
        elif rows["kl"].notna().any():
            sentences.append(f"The answers about unseen entities never follow {marginal} within {signed(near)} nats.")
    return sentences
