"""Which recipe lets a run come to rest, so that its last step is a result and not the optimizer's noise?

    python -m analyses rest

Why. With a constant rate of 2e-3 the loss jumps to the end of training and transfer with it: the number at the last
step is partly noise, and differs between one thread and two.

Grid, fixed before any of these runs. Recipes: constant at 2e-3 (the default so far), 1e-3 and 5e-4; cosine with a
second beta of .98, .99 and .999; wsd, whose last .2 of the steps decay, with the same three betas; wsd with a share of
.1. Seeds 24 to 35, which no other study uses, with one thread. Constant, cosine and wsd at beta .98 with two threads
as well. Everything else at its default (3,000 steps, an evaluation every 50).
Added after the first results: cosine with a second beta of .99 and two threads, since the rule chose it with one thread
and (c) needs both.

Choice, fixed before any of these runs. A recipe can be the default if
(a) in each seed the loss ends below .005 and recall at .999 or more;
(b) in each seed transfer moves by at most .02 over the last tenth of training (largest less smallest evaluation);
(c) the mean difference of transfer between one and two threads of a seed is at most the mean difference between two
    seeds; and
(d) phases stay apart in time: recall's half-rise step (isotonic) lies at most at .8 of transfer's in the mean (ln) and
    is the earlier one in each seed.
Among those that meet all, the one whose transfer moves least over the last tenth (mean over seeds); between two that
differ by less than .002, the one with the higher rate late in training, since there is more time to learn.
If none meets all, the one that meets (a) and (b) in most seeds, and the note says which bound fails.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analyses.statistics import Rows, by_variant, points_panel, with_interval
from analyses.study import variant
from mechxl.findings import signed
from mechxl.measures.half_rise import half_rise
from mechxl.plots import Panel
from mechxl.run import Run
from mechxl.sweep.study import parse_study

GRID = {
    "seeds": [24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35],
    "base": {"training": {"threads": 1, "betas": [0.9, 0.98]}},
    "runs": [
        {"name": "constant", "training.schedule": "constant"},
        {"name": "cosine", "training.schedule": "cosine"},
        {"name": "wsd", "training.schedule": "wsd"},
        {"name": "cosine_beta_.99", "training": {"schedule": "cosine", "betas": [0.9, 0.99]}},
        {"name": "wsd_beta_.99", "training": {"schedule": "wsd", "betas": [0.9, 0.99]}},
        {"name": "cosine_beta_.999", "training": {"schedule": "cosine", "betas": [0.9, 0.999]}},
        {"name": "wsd_beta_.999", "training": {"schedule": "wsd", "betas": [0.9, 0.999]}},
        {"name": "wsd_share_.1", "training": {"schedule": "wsd", "decay_share": 0.1}},
        {"name": "constant_1e-3", "training": {"schedule": "constant", "learning_rate": 1e-3}},
        {"name": "constant_5e-4", "training": {"schedule": "constant", "learning_rate": 5e-4}},
        {"name": "constant_2_threads", "training": {"schedule": "constant", "threads": 2}},
        {"name": "cosine_2_threads", "training": {"schedule": "cosine", "threads": 2}},
        {"name": "wsd_2_threads", "training": {"schedule": "wsd", "threads": 2}},
        {"name": "cosine_beta_.99_2_threads", "training": {"schedule": "cosine", "betas": [0.9, 0.99], "threads": 2}},
    ],
}
RECIPES = tuple(str(run["name"]) for run in GRID["runs"])
LEAST_LOSS, LEAST_RECALL, MOVES, APART = 0.005, 0.999, 0.02, 0.8


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row: its end, its movement over the last tenth, and when recall and transfer have risen by half."""
    metrics, rest = run.metrics, run.rest
    step = metrics["step"].to_numpy()
    row: dict[str, Any] = {"run": variant(run), "seed": run.config.seed, "rests": rest.rests}
    for name, movement in (("loss", rest.loss), ("recall", rest.recall), ("transfer", rest.transfer)):
        assert movement is not None
        row |= {name: movement.last, f"{name}_moves": movement.range, f"{name}_high": movement.high}
    for name in ("recall", "transfer"):
        curve = metrics[f"{name}_accuracy"].to_numpy(dtype=float)
        row[f"{name}_half"] = half_rise(step[1:], curve[1:], np.zeros((0, len(step) - 1))).step
        row[f"{name}_curve"] = [round(value, 3) for value in curve.tolist()]
    return [row | {"steps": step.tolist()}]


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """The end and the movement of each recipe, which bounds it meets, what threads change, and the choice."""
    lines = {name: _recipe([row for row in rows if row["run"] == name]) for name in RECIPES}
    table = pd.DataFrame([{"recipe": name} | line for name, line in lines.items() if line])
    return {
        "recipes": table,
        "threads": pd.DataFrame([_threads(rows, name) for name in RECIPES if f"{name}_2_threads" in RECIPES]),
        "choice": pd.DataFrame({"choice": _choice(rows)}),
    }


def _recipe(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {}
    ratio = np.log([row["recall_half"] / row["transfer_half"] for row in rows])
    transfer = np.array([row["transfer"] for row in rows])
    met = _met(rows)
    return {
        "seeds": len(rows),
        "highest loss": f"{max(row['loss'] for row in rows):.4f}",
        "lowest recall": f"{min(row['recall'] for row in rows):.4f}",
        "transfer": with_interval(transfer, 3),
        "sd over seeds": signed(float(transfer.std(ddof=1)), 3),
        "transfer moves, mean": signed(float(np.mean([row["transfer_moves"] for row in rows])), 4),
        "most": signed(max(row["transfer_moves"] for row in rows), 3),
        "rest": f"{sum(row['rests'] is True for row in rows)} of {len(rows)}",
        "recall's half-rise over transfer's": signed(float(np.exp(ratio.mean()))),
        "meets": ", ".join(name for name, holds in met.items() if holds) or "none",
    }


def _met(rows: list[Mapping[str, Any]]) -> dict[str, bool]:
    ratio = np.array([row["recall_half"] / row["transfer_half"] for row in rows])
    return {
        "(a)": all(row["loss"] < LEAST_LOSS and row["recall"] >= LEAST_RECALL for row in rows),
        "(b)": all(row["transfer_moves"] <= MOVES for row in rows),
        "(d)": bool(np.exp(np.log(ratio).mean()) <= APART and (ratio < 1).all()),
    }


def _threads(rows: Rows, name: str) -> dict[str, Any]:
    """How much two threads change transfer, beside how much another seed does."""
    one, two = (
        {row["seed"]: row["transfer"] for row in rows if row["run"] == run} for run in (name, f"{name}_2_threads")
    )
    both = sorted(set(one) & set(two))
    changed = [abs(one[seed] - two[seed]) for seed in both]
    seeds = [abs(a - b) for a, b in itertools.combinations(one.values(), 2)]
    means = [signed(float(np.mean(part)), 3) if part else "-" for part in (changed, seeds)]
    within = "-" if not changed else "yes" if np.mean(changed) <= np.mean(seeds) else "no"
    return {"recipe": name, "seeds with both": len(both), "two threads change transfer by": means[0],
            "another seed by": means[1], "(c)": within}  # fmt: skip


def _choice(rows: Rows) -> list[str]:
    """The recipe that the rule chooses, among those with one thread."""
    recipes = [name for name in RECIPES if not name.endswith("threads")]
    by_recipe = {name: [row for row in rows if row["run"] == name] for name in recipes}
    met = {name: all(_met(part).values()) for name, part in by_recipe.items() if part}
    moves = {name: float(np.mean([row["transfer_moves"] for row in by_recipe[name]])) for name in met if met[name]}
    if not moves:
        return ["No recipe meets (a), (b) and (d)."]
    least = min(moves.values())
    near = [name for name, value in moves.items() if value - least < 0.002]
    told = ", ".join(f"{name} {signed(moves[name], 4)}" for name in sorted(moves, key=lambda name: moves[name]))
    return [f"Recipes that meet (a), (b) and (d), with the mean movement of transfer: {told}.",
            f"Within .002 of the least movement: {', '.join(near)}."]  # fmt: skip


def numbers(rows: Rows) -> dict[str, str]:
    """How many runs there are of how many, means by recipe, and what threads change."""
    found = by_variant(rows, RECIPES, ("transfer", "transfer_moves", "loss", "recall"), 3)
    found |= {f"moves.{name}": text for name, text in _moves(rows).items()}
    for name in RECIPES:
        part = [row for row in rows if row["run"] == name]
        found[f"rest.{name}"] = f"{sum(row['rests'] is True for row in part)}"
        found[f"seeds.{name}"] = str(len(part))
        if f"{name}_2_threads" in RECIPES:
            threads = _threads(rows, name)
            for key, column in (("threads", "two threads change transfer by"), ("other_seed", "another seed by")):
                found[f"{key}.{name}"] = threads[column].replace("-", "undefined")
    return found | {"runs": str(len(rows)), "planned": str(len(parse_study(GRID).runs))}


def _moves(rows: Rows) -> dict[str, str]:
    """The mean movement of transfer by recipe, with the digits that the rule of choice needs."""
    by_recipe = {name: [row["transfer_moves"] for row in rows if row["run"] == name] for name in RECIPES}
    return {name: signed(float(np.mean(values)), 4) for name, values in by_recipe.items() if values}


def figures(rows: Rows) -> list[Panel]:
    """Every run's transfer, movement and loss; and the curves of transfer."""
    columns = {"transfer": "transfer at the end", "transfer_moves": "movement of transfer", "loss": "loss at the end"}
    caption = (
        "Every seed of a recipe; bars: means with 95 % t intervals over seeds. Movement: largest less "
        "smallest evaluation over the last tenth of training."
    )
    return [points_panel(rows, RECIPES, columns, caption)]
