"""Is the representation that looks unified the one that the model uses? Causal unification against score and transfer.

    python -m mechxl.sweep analyses/studies/patching.toml
    python -m analyses.patching [--runs runs/patching]

Hypothesis (claim 2 of Blum et al. 2025, put causally). Where facts are shared and many are told in both languages, the
activation that carries a fact into the answer serves either language; where few are told in both it does so less; where
no fact is shared it does not. So causal unification (question `patching`) is higher in the default run than with
parallel_fraction .2 and than with shared_facts 0, and over all runs it rises with transfer and with the score.

Grid, fixed before any of these runs was looked at. The default, parallel_fraction .2, shared_facts 0; seeds 6 to 11
(patching was tried on seed 0 of the default and of shared_facts 0); everything else at its default.

Test. Last checkpoint, question `patching` at its default precision: the place that one half of the pairs chose, causal
unification of parallel facts on the other half, both directions (of mono facts the ceiling includes whether the model
knows the fact in the receiver's language at all, so that it may be undefined; described beside). One number a run.
(a) Differences of the same seed, default less parallel_fraction .2 and default less shared_facts 0: two-sided exact
sign test over six seeds (p = .031 if all agree) and a t interval; refuted if they do not all agree. (b) Over the 18
runs, Spearman's rho of causal unification with transfer and with the score of mono facts at layer 1, p by permuting
runs (10,000 draws, two-sided); refuted if rho <= 0 or p > .05. Runs of shared_facts 0 have no transfer items: there
transfer's rho is over 12 runs. A run whose causal unification is undefined is left out, and counted. (c) Over time,
described only: the first checkpoint at which causal unification is defined, and from which on it stays above .5, beside
the first at which transfer and score stay above half of their last value; means over seeds with t intervals.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analyses.language import spearman
from mechxl.findings import signed
from mechxl.questions.ask import ask
from mechxl.random import generator
from mechxl.run import Run

RESULTS = Path(__file__).parent / "results" / "patching.json"
VARIANTS = ("default", "parallel_fraction_0.2", "shared_facts_0")
SEEDS = range(6, 12)
COLUMNS = {
    "parallel_unification": "causal unification, parallel facts",
    "parallel_accuracy": "interchange accuracy, parallel",
    "parallel_ceiling": "ceiling, parallel",
    "mono_unification": "causal unification, mono facts",
    "mono_accuracy": "interchange accuracy, mono",
    "mono_ceiling": "ceiling, mono",
    "fact": "parallel: the fact's value in the receiver's language, another than the donor's",
    "transfer": "transfer",
    "score": "score, layer 1",
}
TIMES = {
    "defined": "causal unification (parallel) is defined",
    "unified": "it stays above .5",
    "transferred": "transfer stays above half of its end",
    "scored": "score at layer 1 stays above half of its end",
}


def main() -> None:
    """Measures every run, writes the numbers, prints the tables and the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/patching"), help="where the runs are")
    options = parser.parse_args()
    rows = [measured(options.runs, name, seed) for name in VARIANTS for seed in SEEDS]
    RESULTS.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{table(rows, COLUMNS)}\n\n{table(rows, TIMES)}\n\n{tests(rows)}")


def measured(runs: Path, name: str, seed: int) -> dict[str, Any]:
    """One run's row; null where something is not defined."""
    run = Run(runs / f"{name},seed={seed}")
    found = ask(run, "patching")
    curve, beside = found.tables["curve"], found.tables["beside"].set_index("step")
    both = curve[curve["direction"] == "both"]
    row: dict[str, Any] = {"run": name, "seed": seed, "place": " ".join(map(str, found.notes["place"].values()))}
    last = {row["group"]: row for row in both[both["step"] == run.steps[-1]].to_dict("records")}
    for group in ("parallel", "mono"):
        for key in ("unification", "unification_low", "unification_high", "accuracy", "ceiling", "null", "n"):
            row[f"{group}_{key}"] = float(last[group][key])
    row["fact"] = float(last["parallel"]["fact_receivers"])
    row["transfer"], row["score"] = (float(beside[key].iloc[-1]) for key in ("transfer", "score_1"))
    over_time = both[both["group"] == "parallel"].set_index("step")["unification"]
    defined = over_time.index[over_time.notna()]
    row["defined"] = float(defined[0]) if len(defined) else float("nan")
    row["unified"] = stays_above(over_time, 0.5)
    row["transferred"], row["scored"] = (
        stays_above(beside[key], beside[key].iloc[-1] / 2) for key in ("transfer", "score_1")
    )
    row["curve"] = {
        "step": [int(step) for step in over_time.index],
        "unification": [rounded(value) for value in over_time],
        "transfer": [rounded(value) for value in beside["transfer"]],
        "score": [rounded(value) for value in beside["score_1"]],
    }
    return {key: rounded(value) if isinstance(value, float) else value for key, value in row.items()}


def rounded(value: float) -> float | None:
    """Four digits; None for NaN."""
    return None if np.isnan(value) else round(float(value), 4)


def stays_above(curve: pd.Series, bar: float) -> float:
    """The first step from which on a curve lies above a bar; NaN if its end does not, or the bar is not above 0."""
    if not bar > 0 or not curve.iloc[-1] > bar:
        return float("nan")
    below = curve.index[~(curve > bar)]
    return float(curve.index[curve.index > (below[-1] if len(below) else -1)][0])


def values(rows: list[dict[str, Any]], name: str, key: str) -> np.ndarray:
    """A variant's numbers by seed, NaN where undefined."""
    return np.array([np.nan if row[key] is None else row[key] for row in rows if row["run"] == name], dtype=float)


def table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """A row a configuration: the mean with its t interval over the seeds that have a number, and all points."""
    lines = ["| configuration | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in VARIANTS:
        cells = []
        for key in columns:
            points = np.sort(values(rows, name, key)[~np.isnan(values(rows, name, key))])
            digits = 0 if points.size and points.max() > 10 else 2
            shown = " ".join(signed(float(value), digits) for value in points)
            if len(points) < 2:
                cells.append(f"undefined in {6 - len(points)} of 6 ({shown})")
                continue
            mean, half = points.mean(), stats.t.ppf(0.975, len(points) - 1) * stats.sem(points)
            few = "" if len(points) == len(SEEDS) else f", {len(points)} seeds"
            ends = f"[{signed(mean - half, digits)}, {signed(mean + half, digits)}]"
            cells.append(f"{signed(float(mean), digits)} {ends} ({shown}{few})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tests(rows: list[dict[str, Any]]) -> str:
    """The tests that the docstring fixes, in words."""
    said = []
    for other in VARIANTS[1:]:
        gained = values(rows, "default", "parallel_unification") - values(rows, other, "parallel_unification")
        gained = gained[~np.isnan(gained)]
        if len(gained) < 2:
            said.append(f"(a) default less {other}: {len(gained)} seeds have both numbers: no test.")
            continue
        p = stats.binomtest(int((gained > 0).sum()), len(gained)).pvalue
        low, high = stats.t.interval(0.95, len(gained) - 1, gained.mean(), stats.sem(gained))
        change = f"{signed(float(gained.mean()))} [{signed(low)}, {signed(high)}]"
        said.append(f"(a) default less {other}, {len(gained)} seeds: {change}, sign test p = {p:.3f}.")
    draws = generator(0, "runs permuted")
    for key in ("transfer", "score"):
        pairs = np.array([[values(rows, name, of) for of in ("parallel_unification", key)] for name in VARIANTS])
        x, y = pairs.transpose(1, 0, 2).reshape(2, -1)
        both = ~np.isnan(x) & ~np.isnan(y)
        rho = spearman(x[both], y[both])
        null = np.array([abs(spearman(x[both], draws.permutation(y[both]))) for _ in range(10_000)])
        p = (1 + int((null >= abs(rho) - 1e-12).sum())) / 10_001
        said.append(f"(b) causal unification with {key}, {int(both.sum())} runs: Spearman {signed(rho)}, p = {p:.4f}.")
    return "\n".join(said)


if __name__ == "__main__":
    main()
