"""Is the representation that looks unified the one that the model uses? Causal unification against score and transfer.

    python -m analyses patching

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

Corrected on 27 November 2026, after the results were known: causal unification was accuracy / ceiling, and is
(accuracy - null) / (ceiling - null) now, with permuted donors as valid as drawn ones; it is undefined unless the
ceiling is clearly above the null. Mono facts are those that transfer; all mono facts were taken before, with failures
of transfer in the ceiling. Hypothesis, grid and tests are as they were.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from analyses.statistics import (
    Rows,
    by_variant,
    p_value,
    points_panel,
    said,
    sign_test,
    spearman,
    spearman_p,
    t_interval,
    values,
    with_interval,
)
from analyses.study import variant
from mechxl.findings import signed
from mechxl.plots import Panel
from mechxl.questions.ask import ask
from mechxl.random import generator
from mechxl.run import Run

GRID = {
    "seeds": [6, 7, 8, 9, 10, 11],
    "runs": [
        {"name": "default"},
        {"name": "parallel_fraction_0.2", "mixture.parallel_fraction": 0.2},
        {"name": "shared_facts_0", "world.shared_facts": 0.0},
    ],
}
VARIANTS = ("default", "parallel_fraction_0.2", "shared_facts_0")
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


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row; null where something is not defined."""
    finding = ask(run, "patching")
    curve, others = finding.tables["curve"], finding.tables["beside"].set_index("step")
    both = curve[curve["direction"] == "both"]
    place = " ".join(map(str, finding.notes["place"].values()))
    row: dict[str, Any] = {"run": variant(run), "seed": run.config.seed, "place": place}
    last = {group_row["group"]: group_row for group_row in both[both["step"] == run.steps[-1]].to_dict("records")}
    for group, name in (("parallel", "parallel"), ("mono", "mono, transferred")):
        for key in ("unification", "unification_low", "unification_high", "accuracy", "ceiling", "null", "n"):
            row[f"{group}_{key}"] = float(last[name][key])
    row["fact"] = float(last["parallel"]["fact_receivers"])
    row["transfer"], row["score"] = (float(others[key].iloc[-1]) for key in ("transfer", "score_1"))
    over_time = both[both["group"] == "parallel"].set_index("step")["unification"]
    defined = over_time.index[over_time.notna()]
    row["defined"] = float(defined[0]) if len(defined) else float("nan")
    row["unified"] = stays_above(over_time, 0.5)
    row["transferred"], row["scored"] = (
        stays_above(others[key], others[key].iloc[-1] / 2) for key in ("transfer", "score_1")
    )
    row["curve"] = {
        "step": [int(step) for step in over_time.index],
        "unification": [rounded(value) for value in over_time],
        "transfer": [rounded(value) for value in others["transfer"]],
        "score": [rounded(value) for value in others["score_1"]],
    }
    return [{key: rounded(value) if isinstance(value, float) else value for key, value in row.items()}]


def rounded(value: float) -> float | None:
    """Four digits; None for NaN."""
    return None if np.isnan(value) else round(float(value), 4)


def stays_above(curve: pd.Series, bar: float) -> float:
    """The first step from which on a curve lies above a bar; NaN if its end does not, or the bar is not above 0."""
    if not bar > 0 or not curve.iloc[-1] > bar:
        return float("nan")
    below = curve.index[~(curve > bar)]
    return float(curve.index[curve.index > (below[-1] if len(below) else -1)][0])


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """A row a configuration, the times of events, and the tests that the docstring fixes."""
    tests = [*_against_default(rows), *_with_transfer_and_score(rows)]
    return {
        "configurations": _configurations(rows, COLUMNS),
        "times": _configurations(rows, TIMES),
        "tests": pd.DataFrame({"test": tests}),
    }


def _configurations(rows: Rows, columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"configuration": name, **{label: _points(values(rows, name, key)) for key, label in columns.items()}}
            for name in VARIANTS
        ]
    )


def _points(by_seed: Float[np.ndarray, " seed"]) -> str:
    """The mean with its t interval over the seeds that have a number, and all of these."""
    points = np.sort(by_seed[~np.isnan(by_seed)])
    digits = 0 if points.size and points.max() > 10 else 2
    shown = " ".join(signed(float(value), digits) for value in points)
    if len(points) < 2:
        return f"undefined in {len(by_seed) - len(points)} of {len(by_seed)} ({shown})"
    few = "" if len(points) == len(by_seed) else f", {len(points)} seeds"
    mean, low, high = t_interval(points)
    return f"{signed(mean, digits)} [{signed(low, digits)}, {signed(high, digits)}] ({shown}{few})"


def numbers(rows: Rows) -> dict[str, str]:
    """Means by configuration, times, the tests, and whether (a) and (b) hold."""
    keys = (*COLUMNS, "parallel_null")
    found = by_variant(rows, VARIANTS, keys) | by_variant(rows, VARIANTS, tuple(TIMES), 0)
    found |= {"runs": str(len(rows)), "seeds": str(min(len(values(rows, name, "seed")) for name in VARIANTS))}
    places = [str(row["place"]).split() for row in rows]
    attention = [place for place in places if place[0] == "attn_out" and place[2] == "prompt_last"]
    found |= {
        "places.attention": str(len(attention)),
        "places.layer_1": str(sum(place[1] == "1" for place in attention)),
    }
    for name in VARIANTS:
        of_variant = [str(row["place"]).split() for row in rows if row["run"] == name]
        found[f"places.layer_1.{name}"] = str(sum(layer == "1" for _, layer, *_ in of_variant))
    for other, gain in _gains(rows).items():
        found[f"a.{other}"] = signed(float(gain.mean())) if len(gain) else "undefined"
        found[f"a.{other}.p"] = p_value(sign_test(gain))
    found["a"] = said(all(len(gain) > 1 and bool((gain > 0).all()) for gain in _gains(rows).values()))
    related = _relations(rows)
    for key, (n, rho, p) in related.items():
        found |= {f"b.{key}": signed(rho), f"b.{key}.p": p_value(p), f"b.{key}.runs": str(n)}
    return found | {"b": said(all(rho > 0 and p <= 0.05 for _, rho, p in related.values()))}


def _gains(rows: Rows) -> dict[str, Float[np.ndarray, " seed"]]:
    """Causal unification of parallel facts, default less each other configuration, of the same seed."""
    key = "parallel_unification"
    gains = {other: values(rows, "default", key) - values(rows, other, key) for other in VARIANTS[1:]}
    return {other: gain[~np.isnan(gain)] for other, gain in gains.items()}


def _against_default(rows: Rows) -> list[str]:
    return [
        f"(a) default less {other}, {len(gain)} seeds: {with_interval(gain)}, sign test p = {p_value(sign_test(gain))}."
        if len(gain) > 1
        else f"(a) default less {other}: {len(gain)} seeds have both numbers: no test."
        for other, gain in _gains(rows).items()
    ]


def _relations(rows: Rows) -> dict[str, tuple[int, float, float]]:
    """(runs, Spearman's rho, p) of causal unification with transfer and with the score."""
    found, rng = {}, generator(0, "runs permuted")
    for key in ("transfer", "score"):
        x, y = (np.concatenate([values(rows, name, k) for name in VARIANTS]) for k in ("parallel_unification", key))
        known = ~np.isnan(x) & ~np.isnan(y)
        x, y = x[known], y[known]
        found[key] = (len(x), spearman(x, y), spearman_p(x, y, rng))
    return found


def _with_transfer_and_score(rows: Rows) -> list[str]:
    return [
        f"(b) causal unification with {key}, {n} runs: Spearman {signed(rho)}, p = {p_value(p)}."
        for key, (n, rho, p) in _relations(rows).items()
    ]


def figures(rows: Rows) -> list[Panel]:
    """Every run's numbers by configuration."""
    caption = (
        "Every seed of a configuration; bars: means with 95 % t intervals over the seeds that have a number. Last "
        "checkpoint, at the place that the other half of the pairs chose."
    )
    return [points_panel(rows, VARIANTS, COLUMNS, caption)]
