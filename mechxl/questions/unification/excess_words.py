"""The excess over the trained null in words, layer by layer."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mechxl.findings import signed
from mechxl.questions.common import without_null
from mechxl.questions.unification.excess import COMPARED, LABELS


def excess_words(table: pd.DataFrame, notes: Mapping[str, Any]) -> list[str]:
    """A sentence a layer on the excess at the last checkpoint, S - X first; without a null, how to get one.

    Args:
        table: rows of `excess_table`.
        notes: of the finding.
    """
    if not notes["null"]["name"]:
        return [f"{without_null(notes['null'])}."]
    group = notes["headline"]
    rows = table[(table["group"] == group) & table["low"].notna()]
    rows = rows[rows["step"] == table["step"].max()]
    sentences = []
    for layer, at_layer in rows.groupby("layer"):
        by_measure: dict[Any, dict[Any, Any]] = {row["measure"]: row for row in at_layer.to_dict("records")}
        parts = [_part(LABELS[name], by_measure[name]) for name in COMPARED if name in by_measure]
        row = next(iter(by_measure.values()))
        sentences.append(
            f"Layer {layer}, excess over the trained null at step {row['step']:,}: {'; '.join(parts)} "
            f"({group} facts, n = {row['n']:,}, in the null {row['n_null']:,})."
        )
    return sentences or ["The excess over the trained null is not defined at the end: " + _reason(table, group) + "."]


def _part(label: str, row: Mapping[Any, Any]) -> str:
    side = "above" if row["low"] > 0 else "below" if row["high"] < 0 else "not to be told from"
    return (
        f"{label} {signed(row['value'])} [{signed(row['low'])}, {signed(row['high'])}], {side} 0 "
        f"({signed(row['run'])} here, {signed(row['null'])} there)"
    )


def _reason(table: pd.DataFrame, group: str) -> str:
    reasons = [reason for reason in table[table["group"] == group]["reason"] if reason]
    return reasons[-1] if reasons else "run and null have no checkpoint in common"
