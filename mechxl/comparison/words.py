"""A comparison of runs in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

ENOUGH = 6  # seeds for a claim: with 5, a two-sided sign test can't go below .0625


def words(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """What differs, when things happen in each group, what can be told apart, and what stands in the way."""
    said = [_what(tables["runs"], notes), *_obstacles(notes)]
    by_group = tables["by_group"]
    for group in notes["groups"]:
        rows = by_group[(by_group["group"] == group) & (by_group["clock"] == "step")].to_dict("records")
        said.append(f"{group}: {'; '.join(_onset(row) for row in rows)}.")
    return [*said, *_differences(tables["differences"], notes)]


def _what(runs: pd.DataFrame, notes: Mapping[str, Any]) -> str:
    if not notes["differ"]:
        return f"{len(runs)} runs of equal settings, {runs['seed'].nunique()} seeds: one group of replicates."
    return (
        f"{len(runs)} runs in {len(notes['groups'])} groups that differ in {', '.join(notes['differ'])}; all other "
        f"{len(notes['equal'])} settings are equal, but for seeds ({runs['seed'].nunique()} of them)."
    )


def _obstacles(notes: Mapping[str, Any]) -> list[str]:
    said = []
    if notes["worlds"]:
        said.append(
            f"The runs are told different things ({', '.join(notes['worlds'])} differ): a step is another share of the "
            "facts, so read the clock of exposures too; single facts are not compared."
        )
    if notes["under_way"]:
        said.append(f"Under way, and compared as far as they are: {', '.join(notes['under_way'])}.")
    if notes["missing"]:
        said.append(f"No run has a curve of {' or '.join(notes['missing'])}: nothing is compared there.")
    if notes["apart"]:
        said.append(
            f"Some runs have no range in common by {', '.join(notes['apart'])}: their curves do not overlap there, and "
            "only onsets can be compared."
        )
    return said


def _onset(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        none = row["runs"] - row["not_finished"]
        counts = ((none, "has no transition"), (row["not_finished"], "is not finished"))
        said = [f"{what} in {number} of {row['runs']} runs" for number, what in counts if number]
        return f"{row['quantity']} {' and '.join(said)}"
    interval = f" [{row['low']:,.0f}, {row['high']:,.0f}]" if np.isfinite(row["low"]) else ""
    return f"{row['quantity']} half-risen at step {row['onset']:,.0f}{interval} (n = {row['n']} of {row['runs']} seeds)"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _differences(table: pd.DataFrame, notes: Mapping[str, Any]) -> list[str]:
    known = table[table["p_holm"].notna()]
    if len(notes["groups"]) < 2:
        return []
    if not len(known):
        return ["No difference can be tested: no two groups share two seeds with a transition in both."]
    told = known[(known["p_holm"] <= 0.05) & (known["clock"] == "step")]
    said = [
        f"By step, {row['quantity']} rises {row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}] times as late with "
        f"{row['second']} as with {row['first']} (n = {row['n']} seeds, p {_p(row['p_holm'])} after Holm)."
        for row in told.to_dict("records")
    ]
    if not said:
        said = [f"By step no difference can be told from 0: the smallest p after Holm {_p(known['p_holm'].min())}."]
    fewest = int(known["n"].min())
    if fewest < ENOUGH:
        said.append(f"Some pairs share {fewest} seeds only; a claim needs {ENOUGH} at least.")
    return said
