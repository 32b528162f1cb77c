"""The question `phases` in words: the order of events, and what cannot be told."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mechxl.findings import counted, permuted_p, signed
from mechxl.questions.common import without_null
from mechxl.questions.phases.after_recall import COMPLETE
from mechxl.questions.phases.named import EXCESS, RAW


def words(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """Sentences on the verdict, the rises, what comes after recall, the order, the marginals, what was not computed."""
    onsets = tables["onsets"]
    sentences = unification(tables, notes)
    named = [("recall", "accuracy"), ("transfer", "accuracy")]
    if notes["verdict"]:
        named.insert(1, (EXCESS.at(notes["headline"]), EXCESS.units[0]))
    parts = [_onset(onsets, quantity, unit, notes["undefined"]) for quantity, unit in named]
    sentences.append(
        f"{'; '.join(parts)}. A rise is dated by its half-rise step; intervals are the wider of the gap between "
        "evaluations and an AR(1) bootstrap; one run."
    )
    sentences += _separation(notes)
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


def unification(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """The verdict with its evidence; without a trained null, why there is none and how far S - X goes by itself."""
    if notes["verdict"]:
        under_way = "" if notes["finished"] else "So far: "
        first, *why = notes["verdict"]["sentences"]
        where = f"The headline is layer {notes['headline']}, whose excess of S − X over the null ends highest."
        return [f"{under_way}{first}", *why, *([where] if notes["verdict"]["layers"] else [])]
    row = _row(tables["onsets"], RAW.at(notes["headline"]), RAW.units[0])
    if not row["n"]:
        return [f"{without_null(notes['null'])}."]
    raw = (
        f"By itself S − X at layer {notes['headline']} goes from {signed(row['first'])} to {signed(row['last'])} "
        f"(n = {counted(int(row['n']), 'checkpoint')}), but it may rise where nothing can unify."
    )
    return [f"{without_null(notes['null'])}.", raw]


def _separation(notes: Mapping[str, Any]) -> list[str]:
    """Whether the languages are further apart at first than those of the null."""
    if not (found := notes["separation"]):
        return []
    interval = f"{signed(found['excess'])} [{signed(found['low'])}, {signed(found['high'])}]"
    side = "" if found["high"] < 0 else ", so that this separation is not about facts"
    return [
        f"S − W at layer {notes['headline']} is lowest at step {found['step']:,}: {signed(found['lowest'])}, and "
        f"{signed(found['null'])} in the null. What separates the languages beyond the null is the excess, "
        f"{interval}{side}."
    ]


def _row(onsets: pd.DataFrame, quantity: str, unit: str) -> dict[str, Any]:
    rows = onsets[(onsets["quantity"] == quantity) & (onsets["unit"] == unit)].to_dict("records")
    if not rows:
        nothing = {
            "outcome": "no rise",
            "step": np.nan,
            "low": np.nan,
            "high": np.nan,
            "n": 0,
            "first": np.nan,
            "last": np.nan,
        }
        return nothing | {"reason": "it was not evaluated"}
    return {str(key): value for key, value in rows[0].items()}


def _onset(onsets: pd.DataFrame, quantity: str, unit: str, undefined: Mapping[str, str]) -> str:
    row = _row(onsets, quantity, unit)
    name = f"{quantity[0].upper()}{quantity[1:]}"
    if quantity in undefined:
        return f"{name} is not defined ({undefined[quantity]})"
    n = f"(n = {counted(int(row['n']), 'evaluation')})"
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
        f"{row['quantity']} from {signed(row['then'])} to {signed(row['end'])}, "
        f"a {'gain' if row['gain'] >= 0 else 'change'} of {signed(row['gain'])} "
        f"[{signed(row['low'])}, {signed(row['high'])}] (n = {counted(int(row['n']), 'item')} about "
        f"{counted(int(row['entities']), 'entity')})"
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
