"""Where runs end: final recall, unification and transfer by group, in a table, in words and as a map of settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mechxl.findings import Finding, signed
from mechxl.measures.statistics import t_interval


@dataclass(frozen=True)
class Cell:
    """A combination of two settings: its runs and, by quantity, their mean final value in words."""

    runs: tuple[str, ...]
    shade: float
    shown: tuple[str, ...]


@dataclass(frozen=True)
class SettingsMap:
    """Two settings that differ: their values across and down, and a cell for each pair; None where no run is."""

    across: str
    down: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[Cell | None, ...], ...]


def finals_by_group(curves: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """The last value of each quantity by group: the mean over runs with a 95 % t interval."""
    rows = []
    for quantity in curves["quantity"].unique():
        known = curves[(curves["quantity"] == quantity) & curves["value"].notna()].sort_values("step")
        last = known.groupby(["group", "run"], as_index=False).last()
        for group in groups:
            values = last.loc[last["group"] == group, "value"].to_numpy(dtype=float)
            low, mean, high = t_interval(values)
            reason = "" if len(values) > 1 else f"{len(values)} of the group's runs have it: no interval"
            numbers = {"value": mean, "low": low, "high": high, "n": len(values), "reason": reason}
            rows.append({"group": group, "quantity": quantity} | numbers)
    return pd.DataFrame(rows, columns=["group", "quantity", "value", "low", "high", "n", "reason"])


def finals_words(table: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """A sentence a group: where its runs end."""
    sentences = []
    for group in groups:
        rows = table[(table["group"] == group) & (table["n"] > 0)].to_dict("records")
        ends = [f"{row['quantity']} {_shown(row['value'], row['low'], row['high'])}" for row in rows]
        n = max((int(row["n"]) for row in rows), default=0)
        if ends:
            sentences.append(f"At the end, {group}: {', '.join(ends)} (n = {n} run{'s' if n != 1 else ''}).")
    return sentences


def _shown(value: float, low: float, high: float) -> str:
    return signed(value) + (f" [{signed(low)}, {signed(high)}]" if np.isfinite(low) else "")


def settings_map(finding: Finding) -> SettingsMap | None:
    """The map of two settings; None where another number of settings differs. The last quantity shades the cells."""
    if len(finding.notes["differ"]) != 2:
        return None
    down, across = finding.notes["differ"]
    settings, runs, finals = (finding.tables[name] for name in ("settings", "runs", "finals_by_group"))
    value = {(row["setting"], row["group"]): str(row["value"]) for row in settings.to_dict("records")}
    groups, shades = finding.notes["groups"], finals[finals["quantity"] == finals["quantity"].iloc[-1]]
    rows, columns = (_ordered({value[name, group] for group in groups}) for name in (down, across))
    cells: dict[tuple[str, str], Cell] = {}
    for group in groups:
        of_group = finals[(finals["group"] == group) & (finals["n"] > 0)].to_dict("records")
        shown = tuple(f"{row['quantity']} {_shown(row['value'], row['low'], row['high'])}" for row in of_group)
        names = tuple(str(name) for name in runs.loc[runs["group"] == group, "run"])
        shade = shades.loc[shades["group"] == group, "value"].fillna(0.0)
        cells[value[down, group], value[across, group]] = Cell(
            names, float(shade.clip(0, 1).iloc[0]) if len(shade) else 0.0, shown
        )
    laid_out = tuple(tuple(cells.get((row, column)) for column in columns) for row in rows)
    return SettingsMap(across, down, columns, rows, laid_out)


def _ordered(values: set[str]) -> tuple[str, ...]:
    """In order of number where all are numbers, else of the alphabet."""
    try:
        return tuple(sorted(values, key=float))
    except ValueError:
        return tuple(sorted(values))
