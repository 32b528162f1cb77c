"""A comparison of runs in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mechxl.comparison.across import across_words
from mechxl.comparison.ends import ends_words
from mechxl.comparison.finals import finals_words

ENOUGH = 6  # seeds for a claim: with 5, a two-sided sign test can't go below .0625


def words(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """Ends, differences between groups, when things happen, what can be told apart, and what stands in the way."""
    ends = finals_words(tables["finals_by_group"], notes["groups"])
    sentences = [*ends, _what(tables["runs"], notes), *_obstacles(notes)]
    by_group = tables["by_group"]
    for group in notes["groups"]:
        rows = by_group[(by_group["group"] == group) & (by_group["clock"] == "step")].to_dict("records")
        sentences.append(f"{group}: {'; '.join(_onset(row) for row in rows)}.")
    sentences += _verdicts(tables["verdicts"], notes)
    sentences += ends_words(tables["ends_by_group"], notes["groups"])
    return [*sentences, *_differences(tables["differences"], notes), *across_words(tables["correlations"])]


def _verdicts(table: pd.DataFrame, notes: Mapping[str, Any]) -> list[str]:
    """How many runs of each group unify; without all nulls, that it is not said."""
    if notes["no_null"]:
        return [
            "Nothing is said of unification, which is the excess over a run's trained null: "
            f"{', '.join(notes['no_null'])} {'have' if len(notes['no_null']) > 1 else 'has'} none. Raw S − X is "
            "compared instead, which may rise where nothing can unify."
        ]
    sentences = []
    for group in notes["groups"]:
        verdicts = table[table["group"] == group]["verdict"]
        counts = ", ".join(f"{verdict} in {number}" for verdict, number in verdicts.value_counts(sort=False).items())
        sentences.append(f"{group}: {counts} of {len(verdicts)} runs, each judged against its trained null.")
    return sentences


def _what(runs: pd.DataFrame, notes: Mapping[str, Any]) -> str:
    if not notes["differ"]:
        return f"{len(runs)} runs of equal settings, {runs['seed'].nunique()} seeds: one group of replicates."
    return (
        f"{len(runs)} runs in {len(notes['groups'])} groups that differ in {', '.join(notes['differ'])}; all other "
        f"{len(notes['equal'])} settings are equal, but for seeds ({runs['seed'].nunique()} of them)."
    )


def _obstacles(notes: Mapping[str, Any]) -> list[str]:
    sentences = []
    if notes["worlds"]:
        sentences.append(
            f"The runs are told different facts ({', '.join(notes['worlds'])} differ), so a step is another share of "
            "them: read the clock of exposures too. Single facts are not compared."
        )
    if notes["under_way"]:
        sentences.append(f"Still training, and compared up to their last step: {', '.join(notes['under_way'])}.")
    if notes["missing"]:
        sentences.append(f"No run has a curve of {' or '.join(notes['missing'])}: nothing is compared there.")
    if notes["apart"]:
        sentences.append(
            f"By {', '.join(notes['apart'])} some runs have no range in common: their curves do not overlap, and only "
            "onsets can be compared."
        )
    return sentences


def _onset(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        none = row["runs"] - row["not_finished"]
        counts = ((none, "has no onset"), (row["not_finished"], "is not finished"))
        outcomes = [f"{what} in {number} of {row['runs']} runs" for number, what in counts if number]
        return f"{row['quantity']} {' and '.join(outcomes)}"
    interval = f" [{row['low']:,.0f}, {row['high']:,.0f}]" if np.isfinite(row["low"]) else ""
    return f"{row['quantity']} half-risen at step {row['onset']:,.0f}{interval} (n = {row['n']} of {row['runs']} seeds)"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _differences(table: pd.DataFrame, notes: Mapping[str, Any]) -> list[str]:
    known = table[table["p_holm"].notna()]
    if len(notes["groups"]) < 2:
        return []
    if not len(known):
        return ["No difference can be tested: no two groups share two seeds with an onset in both."]
    clear = known[(known["p_holm"] <= 0.05) & (known["clock"] == "step")]
    sentences = [
        f"By step, {row['quantity']} rises {row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}] times as late with "
        f"{row['second']} as with {row['first']} (n = {row['n']} seeds, p {_p(row['p_holm'])} after Holm)."
        for row in clear.to_dict("records")
    ]
    if not sentences:
        smallest = _p(known["p_holm"].min())
        sentences = [f"By step no difference can be told from 0: the smallest p after Holm {smallest}."]
    fewest = int(known["n"].min())
    if fewest < ENOUGH:
        sentences.append(f"Some pairs of groups share only {fewest} seeds; a claim needs at least {ENOUGH}.")
    return sentences
