"""Does a model that starts with larger weights unify less?

    python -m analyses initialisation

Hypothesis. Small initial weights must move far and are said to learn shared features (the rich regime); large ones fit
the facts with little movement (the lazy regime; Chizat et al. 2019), each language for itself. So transfer falls as the
initial weights grow, at equal recall.

Grid, fixed before any of these runs. init_std .005, .01, .02 (the default), .04, .08, .16; seeds 84 to 95, which no
other study uses; and the trained null (shared_facts 0) at .02 and .16. 96 runs. Own words in each language, no tag,
names shared, as by default; parallel_fraction .7, where this small world leaves room above and below. The world is
smaller than the default's, for want of time: 200 entities, d_model 32, d_mlp 128, batches of 256, 1,000 steps. (At
d_model 32 TransformerLens's own default would be .14.) Seen before (seed 900, this recipe, one run a level): transfer
.45, .68, .49, .30, .12, .10 at .005, .02, .04, .08, .16, .32; recall .96, 1.00, 1.00, 1.00, 1.00, .94. So (a) and (c)
are no surprise; the fall below .02 may be one of recall.

Measured at the end of each run: transfer (all items), recall, the step at which recall is complete, how far the weight
matrices moved (|W_end - W_0| / |W_0|), score S - W, S - X and causal unification of mono facts.

Tests, over twelve seeds, two-sided exact sign tests, Holm over all. (a) Transfer at .02 less at .16. (b) Transfer at
.02 less at .005. (c) Spearman's rank correlation of init_std and transfer over the levels .02 to .16, of each seed,
against 0. (d) S - X at .02 less at .16, and (e) the same less that of the trained null at each (excess). (f) Transfer
at .16 less the best guess that knows no fact. The hypothesis holds if (a) is above 0 and (c) below 0, at p <= .05, and
recall is complete in all runs of both; if runs of a level fall short of a recall of .99, that level's transfer is said
to be of models that do not recall all, and (b) decides nothing about regimes.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from analyses.contrasts import Contrast, Tested, all_tested, as_numbers, as_table
from analyses.ends import RECALLED, ends, moved
from analyses.statistics import Rows, by_variant, dose_line, spearman, values, with_interval
from mechxl.plots import Panel, group_colour, small_multiples, themed
from mechxl.run import Run
from mechxl.sweep.study import parse_study

GRID = {
    "seeds": [84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95],
    "base": {
        "world.n_entities": 200,
        "mixture.parallel_fraction": 0.7,
        "model.d_model": 32,
        "model.d_mlp": 128,
        "training.batch_size": 256,
        "training.steps": 1000,
        "training.checkpoints": 2,
        "training.evaluate_every": 20,
        "training.threads": 1,
    },
    "runs": [
        {"name": "std0.005", "model.init_std": 0.005},
        {"name": "std0.01", "model.init_std": 0.01},
        {"name": "std0.02", "model.init_std": 0.02},
        {"name": "std0.04", "model.init_std": 0.04},
        {"name": "std0.08", "model.init_std": 0.08},
        {"name": "std0.16", "model.init_std": 0.16},
        {"name": "null_std0.02", "model.init_std": 0.02, "world.shared_facts": 0.0},
        {"name": "null_std0.16", "model.init_std": 0.16, "world.shared_facts": 0.0},
    ],
}
LEVELS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
FALL = LEVELS[2:]
NULLS = {0.02: "null_std0.02", 0.16: "null_std0.16"}
MEASURED = {
    "transfer": "transfer",
    "recalled": "step of complete recall",
    "moved": "weights moved",
    "alignment_1": "fact alignment S − X",
}
CONTRASTS = (
    Contrast("a", "(a) transfer: .02 less .16", "transfer", "std0.02", "std0.16"),
    Contrast("b", "(b) transfer: .02 less .005", "transfer", "std0.02", "std0.005"),
    Contrast("d", "(d) S − X: .02 less .16", "alignment_1", "std0.02", "std0.16"),
    Contrast("e.std0.02", "(e) S − X at .02: run less trained null", "alignment_1", "std0.02", "null_std0.02"),
    Contrast("e.std0.16", "(e) S − X at .16: run less trained null", "alignment_1", "std0.16", "null_std0.16"),
    Contrast("f", "(f) transfer at .16 less the best guess", "transfer", "std0.16", "std0.16", "guess"),
)


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row."""
    return [ends(run) | {"moved": round(moved(run), 4)}]


def correlations(rows: Rows) -> Float[np.ndarray, " seed"]:
    """Spearman's rho of init_std and transfer over the levels .02 to .16, of each seed that has all four."""
    columns = {level: {row["seed"]: row["transfer"] for row in rows if row["run"] == _name(level)} for level in FALL}
    seeds = sorted(set.intersection(*(set(column) for column in columns.values())))
    levels = np.array(FALL)
    return np.array([spearman(levels, np.array([columns[level][seed] for level in FALL])) for seed in seeds])


def _name(level: float) -> str:
    return f"std{level:g}"


def _tests(rows: Rows) -> list[Tested]:
    return all_tested(rows, CONTRASTS, {"c": ("(c) rank correlation of init_std and transfer", correlations(rows))})


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """What was measured by level, and the tests."""
    lines = []
    for name in (*map(_name, LEVELS), *NULLS.values()):
        line = {"init_std": name.replace("std", "").replace("null_", "trained null, ")}
        line["recall"] = with_interval(values(rows, name, "recall"), 3)
        for key, says in MEASURED.items():
            points = values(rows, name, key)
            known = points[~np.isnan(points)]
            digits = 0 if key == "recalled" else 2
            line[says] = with_interval(known, digits) if len(known) > 1 else "-"
            if key == "recalled" and len(known) < len(points):
                line[says] += f" ({len(known)} of {len(points)})"
        lines.append(line)
    return {"levels": pd.DataFrame(lines), "tests": as_table(_tests(rows))}


def numbers(rows: Rows) -> dict[str, str]:
    """Means of all levels, and the tests."""
    variants = [*map(_name, LEVELS), *NULLS.values()]
    keys = ("transfer", "moved", "alignment_1", "score_1", "causal_unification", "guess")
    found = by_variant(rows, variants, keys) | by_variant(rows, variants, ("recall",), 3)
    found |= by_variant(rows, variants, ("recalled",), 0)
    found |= {"runs": str(len(rows)), "planned": str(len(parse_study(GRID).runs))}
    found |= {"seeds": str(len({row["seed"] for row in rows}))}
    for name in variants:
        found[f"low_recall.{name}"] = str(sum(row["recall"] < RECALLED for row in rows if row["run"] == name))
    return found | as_numbers(_tests(rows))


def figures(rows: Rows) -> list[Panel]:
    """Four quantities against the deviation of the initial weights."""
    caption = (
        f"Means over {numbers(rows)['seeds']} seeds with 95 % t intervals, at the end of training. Dashed: trained "
        "null. Complete recall: of the seeds that reach .99. Weights moved: in units of their first size. Fact "
        "alignment: mono facts, layer 1."
    )
    figure = small_multiples(list(MEASURED.values()))
    for place, key in enumerate(MEASURED):
        row, column = place // 2 + 1, place % 2 + 1
        for variants, dash in ({level: _name(level) for level in LEVELS}, "solid"), (NULLS, "dash"):
            figure.add_trace(dose_line(rows, variants, key, "", group_colour(0), dash), row=row, col=column)
    ticks = {"tickmode": "array", "tickvals": list(LEVELS), "ticktext": [f"{level:g}" for level in LEVELS]}
    figure.update_xaxes(type="log", **ticks)
    figure.update_xaxes(title_text="init_std", row=2)
    return [Panel("levels", "Initial weights", caption, themed(figure, height=640))]
