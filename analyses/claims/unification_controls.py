"""Which measures of unification claim a shared fact where there is none?

    python -m analyses unification_controls

Hypothesis. On the default run every measure at layer 1 rises over training and clears its permutation null. With
`shared_names 0` (an entity's names have nothing in common) and `shared_facts 0` (every language has facts of its own,
the trained null) no measure that claims a shared fact clears it at the end; but with shared names the name itself is
shared, so that measures which see a shared entity (S - X, retrieval, MEXA, CKA, Procrustes, checkerboard correlation)
may, in the trained null as in checkpoint 0.

Grid. Default, `shared_names 0`, `shared_facts 0`; seeds 0, 1 and 2; everything else at its default.

Test. Mono facts, whole-sample centring where cosines are taken, layers 1 and 2, the question `unification` at its
default precision. "Clears": p_scan <= .05 (max-statistic over checkpoints and layers) at the last checkpoint, in every
seed. "Rises": the last checkpoint's interval lies wholly on the unified side of checkpoint 0's, in every seed. The
score S - W claims a shared fact where its interval lies above 0. What differs from the hypothesis is listed as it is;
the excess over the trained null is the default's mean less the trained null's, with a t interval over the seeds'
differences (three seeds: a description, too few for a claim about its size).

Added when the default recipe changed (study `rest`): seeds 3 to 5, and the first three were trained again. What counts
as rising and as clear, and what is listed, stayed.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.statistics import Rows, points_panel, with_interval
from analyses.study import variant
from mechxl.findings import signed
from mechxl.measures.table import HEADLINE, MEASURES
from mechxl.plots import Panel
from mechxl.questions.ask import ask
from mechxl.run import Run

NOTE = Path(__file__).parents[2] / "docs" / "measures.md"
GRID = {
    "seeds": 6,
    "runs": [
        {"name": "default"},
        {"name": "shared_names_0", "languages.shared_names": 0.0},
        {"name": "shared_facts_0", "world.shared_facts": 0.0},
    ],
}
VARIANTS = ("default", "shared_names_0", "shared_facts_0")
LAYERS = (1, 2)
COMPARED = tuple(row for row in MEASURES if row.name == HEADLINE or row.in_words)


def measure(run: Run) -> list[dict[str, Any]]:
    """A row a layer and measure of one run: at the first and the last checkpoint."""
    table = ask(run, "unification").tables["measures"]
    table = table[(table["group"] == "mono") & (table["centring"] == "whole")]
    rows = []
    for layer in LAYERS:
        for name in (row.name for row in COMPARED):
            curve = table[(table["layer"] == layer) & (table["measure"] == name)]
            ends = {"first": curve.iloc[0], "last": curve.iloc[-1]}
            keys = ("value", "low", "high", "null", "p_scan")
            numbers = {f"{key}_{end}": round(float(row[key]), 4) for end, row in ends.items() for key in keys}
            place = {"run": variant(run), "seed": run.config.seed, "layer": layer, "measure": name}
            counts = {"n": int(ends["last"]["n"]), "entities": int(ends["last"]["entities"])}
            rows.append(place | numbers | counts)
    return rows


def clears(row: dict[str, Any]) -> bool:
    """Whether a measure claims a shared fact at the end."""
    return row["low_last"] > 0 if row["measure"] == HEADLINE else row["p_scan_last"] <= 0.05


def rises(row: dict[str, Any]) -> bool:
    """Whether it is clearly more unified at the end than at checkpoint 0."""
    if next(measure for measure in COMPARED if measure.name == row["measure"]).small_is_close:
        return row["high_last"] < row["low_first"]
    return row["low_last"] > row["high_first"]


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """For each layer every seed's value at the end, how many seeds rise and clear, and the excess over the null."""
    return {f"layer {layer}": _table([row for row in rows if row["layer"] == layer]) for layer in LAYERS}


def _table(rows: Rows) -> pd.DataFrame:
    lines = []
    for name in (measure.name for measure in COMPARED):
        cells, ends = {}, {}
        for configuration in VARIANTS:
            runs = [dict(row) for row in rows if (row["run"], row["measure"]) == (configuration, name)]
            ends[configuration] = np.array([row["value_last"] for row in runs])
            start = float(np.mean([row["value_first"] for row in runs]))
            counts = f"{sum(map(rises, runs))} rise, {sum(map(clears, runs))} clear"
            shown = " ".join(signed(row["value_last"]) for row in runs)
            cells[configuration] = f"{shown} ({signed(start)}); {counts}"
        excess = with_interval(ends["default"] - ends["shared_facts_0"])
        lines.append({"measure": name, **cells, "excess over the trained null": excess})
    return pd.DataFrame(lines)


def numbers(rows: Rows) -> dict[str, str]:
    """`MEASURE.LAYER.VARIANT`: the mean at the end; with .first at checkpoint 0, and how many seeds rise and clear.

    `excess.MEASURE.LAYER`: the default's mean less the trained null's.
    `CONFIGURATION.LAYER.all_clear`: measures that clear in every seed.
    """
    found = {"runs": str(len({(row["run"], row["seed"]) for row in rows})), "measures": str(len(COMPARED))}
    found["seeds"] = str(len({row["seed"] for row in rows}))
    for layer, configuration in itertools.product(LAYERS, VARIANTS):
        all_rise = all_clear = no_clear = 0
        for name in (measure.name for measure in COMPARED):
            runs = [dict(row) for row in rows if _place(row) == (configuration, name, layer)]
            place, rise, clear = f"{name}.{layer}.{configuration}", sum(map(rises, runs)), sum(map(clears, runs))
            ends = {key: float(np.mean([row[f"value_{key}"] for row in runs])) for key in ("first", "last")}
            found |= {place: signed(ends["last"]), f"{place}.first": signed(ends["first"])}
            found |= {f"{place}.most": signed(max(row["value_last"] for row in runs))}
            found |= {f"{place}.rise": str(rise), f"{place}.clear": str(clear), f"{place}.seeds": str(len(runs))}
            all_rise, all_clear = all_rise + (rise == len(runs)), all_clear + (clear == len(runs))
            no_clear += clear == 0
            if configuration == "default":
                null = [row["value_last"] for row in rows if _place(row) == ("shared_facts_0", name, layer)]
                found[f"excess.{name}.{layer}"] = signed(
                    float(np.mean([row["value_last"] for row in runs]) - np.mean(null))
                )
        counts = {"all_rise": all_rise, "all_clear": all_clear, "none_clear": no_clear}
        found |= {f"{key}.{layer}.{configuration}": str(count) for key, count in counts.items()}
    return found


def _place(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["run"], row["measure"], row["layer"]


def figures(rows: Rows) -> list[Panel]:
    """Every run's value at the end, by measure, at layer 1."""
    runs: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        if row["layer"] == 1:
            runs.setdefault((row["run"], row["seed"]), {"run": row["run"]})[row["measure"]] = row["value_last"]
    caption = "Layer 1 at the last checkpoint, mono facts, every seed; bars: means with 95 % t intervals over seeds."
    return [points_panel(list(runs.values()), VARIANTS, {row.name: row.label for row in COMPARED}, caption)]
