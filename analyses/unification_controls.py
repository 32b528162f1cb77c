"""Which measures of unification claim a shared fact where there is none?

    python -m mechxl.sweep analyses/studies/unification_controls.toml
    python -m analyses.unification_controls [--runs runs/unification_controls]

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
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from mechxl.findings import signed
from mechxl.measures import table
from mechxl.questions.ask import ask
from mechxl.run import Run

RESULTS = Path(__file__).parent / "results" / "unification_controls.json"
VARIANTS = ("default", "shared_names_0", "shared_facts_0")
SEEDS = (0, 1, 2)
LAYERS = (1, 2)
MEASURES = [row for row in table.MEASURES if row.name == table.HEADLINE or row.in_words]


def main() -> None:
    """Asks every run, writes the numbers, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/unification_controls"), help="where the runs are")
    options = parser.parse_args()
    rows = [row for name in VARIANTS for seed in SEEDS for row in measured(options.runs, name, seed)]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for layer in LAYERS:
        print(f"{markdown(rows, layer)}\n")


def measured(runs: Path, name: str, seed: int) -> list[dict[str, Any]]:
    """A row a layer and measure of one run."""
    found = ask(Run(runs / f"{name},seed={seed}"), "unification").tables["measures"]
    found = found[(found["group"] == "mono") & (found["centring"] == "whole")]
    rows = []
    for layer in LAYERS:
        for measure in MEASURES:
            curve = found[(found["layer"] == layer) & (found["measure"] == measure.name)]
            first, last = curve.iloc[0], curve.iloc[-1]
            numbers = {f"{key}_{at}": round(float(row[key]), 4) for at, row in (("first", first), ("last", last))
                       for key in ("value", "low", "high", "null", "p_scan")}  # fmt: skip
            place = {"run": name, "seed": seed, "layer": layer, "measure": measure.name}
            rows.append(place | numbers | {"n": int(last["n"]), "entities": int(last["entities"])})
    return rows


def clears(row: dict[str, Any]) -> bool:
    """Whether a measure claims a shared fact at the end."""
    return row["low_last"] > 0 if row["measure"] == table.HEADLINE else row["p_scan_last"] <= 0.05


def rises(row: dict[str, Any]) -> bool:
    """Whether it is clearly more unified at the end than at checkpoint 0."""
    if row["measure"] in [measure.name for measure in MEASURES if measure.small_is_close]:
        return row["high_last"] < row["low_first"]
    return row["low_last"] > row["high_first"]


def markdown(rows: list[dict[str, Any]], layer: int) -> str:
    """Every seed's value at the end, checkpoint 0 in brackets, how many seeds rise and clear, and the excess."""
    lines = [
        f"Layer {layer}: at the end, seeds 0 1 2 (their mean at checkpoint 0); seeds that rise, seeds that clear.",
        "",
        "| measure | " + " | ".join(VARIANTS) + " | excess over the trained null |",
        "|---" * (len(VARIANTS) + 2) + "|",
    ]
    for measure in MEASURES:
        cells, ends = [], {}
        for name in VARIANTS:
            of = [r for r in rows if (r["run"], r["layer"], r["measure"]) == (name, layer, measure.name)]
            ends[name] = np.array([row["value_last"] for row in of])
            start = float(np.mean([row["value_first"] for row in of]))
            counts = f"{sum(map(rises, of))} rise, {sum(map(clears, of))} clear"
            cells.append(f"{' '.join(signed(row['value_last']) for row in of)} ({signed(start)}); {counts}")
        excess = ends["default"] - ends["shared_facts_0"]
        low, high = stats.t.interval(0.95, len(excess) - 1, excess.mean(), stats.sem(excess))
        lines.append(
            f"| {measure.name} | {' | '.join(cells)} | {signed(float(excess.mean()))} [{signed(low)}, {signed(high)}] |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
