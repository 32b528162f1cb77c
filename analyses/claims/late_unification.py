"""What does the rise of transfer after recall need, and what moves before it?

    python -m analyses late_unification

Hypothesis. Transfer goes on rising after every fact is recalled (study `after_recall`). If that is grokking, of
languages, it needs weight decay; the norm of the weights falls meanwhile; and what sees structure (causal unification,
S - X, the effective dimension) moves before transfer does. If the rise is the parallel facts' doing, it stops where
they are told no more.

Grid, fixed before any of these runs; 8 arms, seeds 120 to 131, which no other study uses: 96 runs. The default's
languages in a smaller world: 200 entities, d_model 32, d_mlp 128, batches of 256, 2,000 steps, cosine. Weight decay .1
(default), 0 and .3 from the start. From step 800 on, all before being the default's run: weight decay 0; embeddings,
attention or MLP frozen; mono facts alone. Cut before any run, for want of time: weight decay .01 and .03, 4,000 and
more steps, other schedules and batches. Seen before: this recipe with half the steps (seeds 900 and 901: recall .99 at
steps 660 and 520, transfer .23 and .44 at step 1,000), and none of this study's runs. `after_recall` had shown the rise
at the default's size, with a cosine and with a constant rate.

Measured: transfer and recall at step 800 and at the end, and every 20 steps; of mono facts at layer 1 S - W, S - X
(whole-sample centring) and the effective dimension, causal unification of parallel facts (question `patching`), and the
norm of all weights, at checkpoints 100 steps apart. In the default, each quantity's half-rise: the step at which it
first is half-way from its value at step 800 to its end, between checkpoints linearly. A run whose recall at step 800 is
below .99 is counted, and stays in.

Tests, over twelve seeds, two-sided exact sign tests, Holm over all twelve.
(a) Default: transfer at the end less at step 800.
(b) Transfer at the end: default less each of the five late changes.
(c) Transfer at the end: default less weight decay 0 from the start; weight decay .3 less the default.
(d) Default: norm of the weights at step 800 less at the end; half-rise of transfer less that of causal unification, of
    S - X, of the effective dimension.
The rise needs what (b) finds with p <= .05. It is called grokking if (a), (b) of weight decay and the norm's fall hold,
and one of the three in (d) moves first; refuted as grokking if weight decay makes no difference in (b) and (c).
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from analyses.contrasts import Contrast, Tested, all_tested, as_numbers, as_table
from analyses.ends import RECALLED, mono_sample, mono_vectors, plain, scores_of
from analyses.statistics import Rows, by_variant, points_panel, values, with_interval
from analyses.study import variant
from mechxl.measures.anisotropy import anisotropy
from mechxl.plots import Panel
from mechxl.questions.ask import ask
from mechxl.run import Run
from mechxl.sweep.study import parse_study

LATE = 800
GRID = {
    "seeds": [120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 130, 131],
    "base": {
        "world.n_entities": 200,
        "model.d_model": 32,
        "model.d_mlp": 128,
        "training.batch_size": 256,
        "training.steps": 2000,
        "training.checkpoints": 36,
        "training.evaluate_every": 20,
        "training.threads": 1,
    },
    "runs": [
        {"name": "default"},
        {"name": "decay_0", "training.weight_decay": 0.0},
        {"name": "decay_.3", "training.weight_decay": 0.3},
        {"name": "late_decay_0", "training.late_step": 800, "training.late_weight_decay": 0.0},
        {"name": "late_embeddings", "training.late_step": 800, "training.late_frozen": "embeddings"},
        {"name": "late_attention", "training.late_step": 800, "training.late_frozen": "attention"},
        {"name": "late_mlp", "training.late_step": 800, "training.late_frozen": "mlp"},
        {"name": "late_mono", "training.late_step": 800, "training.late_facts": "mono"},
    ],
}
ARMS = [str(run["name"]) for run in GRID["runs"]]
CURVES = {
    "transfer": "transfer",
    "causal": "causal unification, parallel facts",
    "alignment_1": "S − X",
    "score_1": "score S − W",
    "dimension": "effective dimension",
    "norm": "norm of the weights",
}
TESTS = (
    Contrast(
        "a", "(a) default: transfer at the end less at step 800", "transfer", "default", "default", "transfer_late"
    ),
    Contrast("b.decay", "(b) transfer: default less weight decay 0 late", "transfer", "default", "late_decay_0"),
    Contrast("b.embeddings", "(b) transfer: default less embeddings frozen", "transfer", "default", "late_embeddings"),
    Contrast("b.attention", "(b) transfer: default less attention frozen", "transfer", "default", "late_attention"),
    Contrast("b.mlp", "(b) transfer: default less MLP frozen", "transfer", "default", "late_mlp"),
    Contrast("b.mono", "(b) transfer: default less mono facts alone", "transfer", "default", "late_mono"),
    Contrast("c.none", "(c) transfer: default less weight decay 0", "transfer", "default", "decay_0"),
    Contrast("c.more", "(c) transfer: weight decay .3 less default", "transfer", "decay_.3", "default"),
    Contrast("d.norm", "(d) default: norm at step 800 less at the end", "norm_late", "default", "default", "norm"),
    *(
        Contrast(
            f"d.{key}",
            f"(d) default: half-rise of transfer less of {name}",
            "transfer_half",
            "default",
            "default",
            f"{key}_half",
        )
        for key, name in (("causal", "causal unification"), ("alignment_1", "S − X"), ("dimension", "the dimension"))
    ),
)


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row."""
    metrics, steps = run.metrics.set_index("step"), [step for step in run.steps if step >= LATE]
    complete = metrics.index[metrics["recall_accuracy"] >= RECALLED]
    curves = _geometry(run, steps) | {
        "transfer": metrics["transfer_accuracy"].loc[steps].to_numpy(),
        "causal": _causal(run, steps),
        "norm": np.array([_norm(run, step) for step in steps]),
    }
    row: dict[str, Any] = {
        "run": variant(run),
        "seed": run.config.seed,
        "recall": float(metrics["recall_accuracy"].iloc[-1]),
        "recall_late": float(metrics["recall_accuracy"].loc[LATE]),
        "recalled": int(complete[0]) if len(complete) else None,
    }
    for key, curve in curves.items():
        row |= {f"{key}_late": float(curve[0]), key: float(curve[-1]), f"{key}_half": half_rise(np.array(steps), curve)}
    return [{key: plain(value) for key, value in row.items()}]


def half_rise(steps: Float[np.ndarray, " step"] | np.ndarray, curve: Float[np.ndarray, " step"]) -> float:
    """The step at which a curve first is half-way from its first value to its last; NaN if one is not known."""
    known = np.isfinite(curve)
    if not (known[0] and known[-1]) or curve[0] == curve[-1]:
        return float("nan")
    x, share = steps[known], (curve[known] - curve[0]) / (curve[-1] - curve[0])
    after = int(np.flatnonzero(share >= 0.5)[0])
    return float(np.interp(0.5, share[after - 1 : after + 1], x[after - 1 : after + 1]))


def _geometry(run: Run, steps: list[int]) -> dict[str, Float[np.ndarray, " step"]]:
    """S - W, S - X and the effective dimension of mono facts at layer 1."""
    sample = mono_sample(run)
    found: dict[str, list[float]] = {"score_1": [], "alignment_1": [], "dimension": []}
    for step in steps:
        x = mono_vectors(run, step)
        for name, value in scores_of(x, sample).items():
            found[f"{name}_1"].append(value)
        found["dimension"].append(anisotropy(x, sample)["effective_dimension"].pooled.value)
    return {key: np.array(curve) for key, curve in found.items()}


def _causal(run: Run, steps: list[int]) -> Float[np.ndarray, " step"]:
    curve = ask(run, "patching").tables["curve"]
    part = curve[(curve["direction"] == "both") & (curve["group"] == "parallel")].set_index("step")["unification"]
    return part.reindex(steps).to_numpy(dtype=float)


def _norm(run: Run, step: int) -> float:
    from safetensors.numpy import load

    return float(
        np.sqrt(sum(np.square(value.astype(float)).sum() for value in load(run.read_checkpoint(step)[0]).values()))
    )


def _tests(rows: Rows) -> list[Tested]:
    return all_tested(rows, TESTS)


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """Means by arm, when each quantity of the default moves, and the tests."""
    shown = {"recall_late": "recall, step 800", "recall": "recall", "transfer_late": "transfer, step 800", **CURVES}
    arms = [{"arm": arm} | {name: _mean(rows, arm, key) for key, name in shown.items()} for arm in ARMS]
    times = [
        {
            "default": name,
            "at step 800": _mean(rows, "default", f"{key}_late"),
            "at the end": _mean(rows, "default", key),
            "half-rise, step": _mean(rows, "default", f"{key}_half", 0),
        }
        for key, name in CURVES.items()
    ]
    return {"arms": pd.DataFrame(arms), "times": pd.DataFrame(times), "tests": as_table(_tests(rows), 2)}


def _mean(rows: Rows, arm: str, key: str, digits: int = 2) -> str:
    points = values(rows, arm, key)
    points = points[~np.isnan(points)]
    return with_interval(points, digits) if len(points) > 1 else "undefined"


def numbers(rows: Rows) -> dict[str, str]:
    """Means by arm, when the default's quantities move, and the tests."""
    found = by_variant(rows, ARMS, ["recall", "recall_late", "transfer_late", "norm_late", *CURVES])
    found |= by_variant(rows, ["default"], [f"{key}_half" for key in CURVES], 0)
    found |= as_numbers(_tests(rows), 2) | {"runs": str(len(rows)), "planned": str(len(parse_study(GRID).runs))}
    found["low_recall"] = str(sum(row["recall_late"] < RECALLED for row in rows))
    found["seeds"] = str(min(len(values(rows, arm, "transfer")) for arm in ARMS))
    return found


def figures(rows: Rows) -> list[Panel]:
    """Every run by arm."""
    caption = (
        "Every run at the end of training, with means and 95 % t intervals over seeds. Late changes act from step 800 "
        "on, and before it these runs are the default's. Causal unification: of parallel facts."
    )
    return [points_panel(rows, ARMS, CURVES | {"causal": "causal unification"}, caption)]
