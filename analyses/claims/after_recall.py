"""Does unification go on after recall is complete?

    python -m analyses after_recall

Hypothesis. Once nearly all facts are recalled, the loss has little left to gain; yet transfer and the score of mono
facts keep rising, as weight decay goes on to favour weights that serve both languages at once. (Generalization long
after the training facts are known is what Power et al. 2022 call grokking; nobody has reported it of languages.)

Grid, fixed before any of these runs. The default with 12,000 steps instead of 3,000, evaluated every 100, with a cosine
schedule and with a constant rate: a schedule that falls is itself a cause of late change, and cosine's rate falls four
times as slowly here; second beta .98. Seeds 36 to 47, which no other study uses.
Added after the first results, when .99 became the default's second beta: both schedules with .99, and the same test of
these two, with a correction of its own.

Test. Of each run: the first evaluation at which recall is .99 or more; transfer there, and at the end (the mean over
the last tenth of training); the score of mono facts (layer 1, same-relation baseline) at the nearest checkpoint, and
at the end. Gain = end less there. For each schedule and for both quantities: a two-sided exact sign test over twelve
seeds, with Holm's correction over the four tests, and the mean gain with a t interval. It is refuted for a quantity
and a schedule if the mean gain is not above 0 or p > .05 after Holm. A gain that shows with cosine alone is called an
effect of the schedule. Runs whose recall never reaches .99 are counted and left out. Described only: whether each run
rests (last tenth), and how transfer moves between steps 3,000 and 12,000.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from statsmodels.stats.multitest import multipletests

from analyses.statistics import Rows, by_variant, least_p, p_value, said, sign_test, t_interval, with_interval
from analyses.study import variant
from mechxl.findings import signed
from mechxl.plots import INK, VERMILION, Panel, band, line, side_by_side, step_axis, steps_shown, themed
from mechxl.run import Run
from mechxl.sweep.study import parse_study

GRID = {
    "seeds": [36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47],
    "base": {"training": {"steps": 12000, "evaluate_every": 100}},
    "runs": [
        {"name": "cosine", "training": {"schedule": "cosine", "betas": [0.9, 0.98]}},
        {"name": "constant", "training": {"schedule": "constant", "betas": [0.9, 0.98]}},
        {"name": "cosine_.99", "training": {"schedule": "cosine", "betas": [0.9, 0.99]}},
        {"name": "constant_.99", "training": {"schedule": "constant", "betas": [0.9, 0.99]}},
    ],
}
FIXED, ADDED = ("cosine", "constant"), ("cosine_.99", "constant_.99")
SCHEDULES = FIXED + ADDED
LAYER = 1
FALLEN = 0.9  # a lower recall in the last tenth is said: a fact that was known is lost again


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row: the gains after recall, rest, and the curves of recall and transfer."""
    from mechxl.questions.phases.after_recall import after_recall  # torch, which kept results do without

    metrics, rest = run.metrics, run.rest
    gains = {row["quantity"]: row for row in after_recall(run, LAYER, thorough=False).to_dict("records")}
    score, moved = gains["score"], rest.transfer
    assert moved is not None
    row: dict[str, Any] = {"run": variant(run), "seed": run.config.seed, "rests": rest.rests, "moves": moved.range}
    complete = metrics[metrics["recall_accuracy"] >= 0.99]
    numbers = dict.fromkeys(("complete", "transfer_then", "transfer_end", "score_then", "score_end"))
    if len(complete) and np.isfinite(score["gain"]):
        numbers |= {
            "complete": float(complete["step"].iloc[0]),
            "transfer_then": float(complete["transfer_accuracy"].iloc[0]),
            "transfer_end": moved.mean,
            "score_then": float(score["then"]),
            "score_end": float(score["end"]),
        }
    third = metrics[(metrics["step"] >= 2700) & (metrics["step"] <= 3000)]["transfer_accuracy"]
    curves = {
        f"{name}_curve": [round(value, 3) for value in metrics[f"{name}_accuracy"].tolist()]
        for name in ("recall", "transfer")
    }
    return [row | numbers | {"transfer_3000": float(third.mean()), "steps": metrics["step"].tolist()} | curves]


@dataclass(frozen=True)
class Gain:
    """A quantity's gain after recall under one schedule, by seed, and its test."""

    schedule: str
    quantity: str
    runs: Rows
    known: Rows  # whose recall reaches .99
    then: Float[np.ndarray, " seed"]
    end: Float[np.ndarray, " seed"]
    p: float  # after Holm

    @property
    def by_seed(self) -> Float[np.ndarray, " seed"]:
        """End less there."""
        return self.end - self.then

    @property
    def holds(self) -> bool:
        """Whether the mean gain is above 0 and p is at most .05."""
        return bool(self.by_seed.mean() > 0 and self.p <= 0.05)


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """Gains by schedule and quantity with their tests, and how transfer moves later."""
    later = [_later(rows, name) for name in SCHEDULES if _of(rows, name)]
    return {"gains": pd.DataFrame(map(_line, _gains(rows))), "later": pd.DataFrame({"later": later})}


def _of(rows: Rows, schedule: str) -> Rows:
    return [row for row in rows if row["run"] == schedule]


def _gains(rows: Rows) -> list[Gain]:
    """The gain of each schedule and quantity; the tests that were fixed and those added are corrected apart."""
    found: list[Gain] = []
    for schedules in (FIXED, ADDED):
        gains = []
        for schedule in schedules:
            runs = _of(rows, schedule)
            known = [row for row in runs if row["complete"] is not None]
            for quantity in ("transfer", "score") if known else ():
                then, end = (np.array([row[f"{quantity}_{when}"] for row in known]) for when in ("then", "end"))
                gains.append(Gain(schedule, quantity, runs, known, then, end, sign_test(end - then)))
        if gains:
            corrected = np.asarray(multipletests([gain.p for gain in gains], method="holm")[1])
            found += [replace(gain, p=float(p)) for gain, p in zip(gains, corrected, strict=True)]
    return found


def _line(gain: Gain) -> dict[str, str]:
    return {
        "schedule": gain.schedule,
        "quantity": gain.quantity,
        "seeds": f"{len(gain.known)} of {len(gain.runs)}",
        "recall .99 at step": with_interval(np.array([row["complete"] for row in gain.known]), 0),
        "there": with_interval(gain.then),
        "at the end": with_interval(gain.end),
        "gain": with_interval(gain.by_seed),
        "seeds that gain": f"{int((gain.by_seed > 0).sum())} of {len(gain.known)}",
        "p after Holm": p_value(gain.p),
    }


def _later(rows: Rows, schedule: str) -> str:
    part, gain = _of(rows, schedule), _late_gain(rows, schedule)
    return (
        f"{schedule}: from step 3,000 (mean of 2,700 to 3,000) to the end transfer gains {with_interval(gain)} "
        f"({len(gain)} seeds); {sum(row['rests'] is True for row in part)} of {len(part)} runs rest, and transfer "
        f"moves over {_moves(part)} in the last tenth on average."
    )


def _late_gain(rows: Rows, schedule: str) -> Float[np.ndarray, " seed"]:
    part = [row for row in _of(rows, schedule) if row["transfer_end"] is not None]
    return np.array([row["transfer_end"] - row["transfer_3000"] for row in part])


def _moves(runs: Rows) -> str:
    return signed(float(np.mean([row["moves"] for row in runs])), 3)


def _lowest_late_recall(row: Mapping[str, Any]) -> float:
    """The lowest recall in the last tenth of training."""
    begin = 0.9 * row["steps"][-1]
    return min(value for step, value in zip(row["steps"], row["recall_curve"], strict=True) if step >= begin)


def numbers(rows: Rows) -> dict[str, str]:
    """How many runs there are of how many, ends, gains and their tests by schedule, and how the last tenth moves."""
    keys = ("transfer_then", "transfer_end", "transfer_3000", "score_then", "score_end")
    found = by_variant(rows, SCHEDULES, keys) | by_variant(rows, SCHEDULES, ("complete",), 0)
    found |= {"runs": str(len(rows)), "planned": str(len(parse_study(GRID).runs))}
    for schedule in SCHEDULES:
        runs = _of(rows, schedule)
        recalls = [_lowest_late_recall(row) for row in runs]
        found |= {
            f"least_p.{schedule}": least_p(int(found[f"transfer_end.{schedule}.seeds"])),
            f"runs.{schedule}": str(len(runs)),
            f"rest.{schedule}": str(sum(row["rests"] is True for row in runs)),
            f"moves.{schedule}": _moves(runs) if runs else "undefined",
            f"late_gain.{schedule}": signed(float(_late_gain(rows, schedule).mean())) if runs else "undefined",
            f"recall_falls.{schedule}": str(sum(recall < FALLEN for recall in recalls)),
            f"lowest_recall.{schedule}": signed(min(recalls)) if runs else "undefined",
        }
    for gain in _gains(rows):
        place = f"{gain.quantity}.{gain.schedule}"
        found |= {
            f"gain.{place}": signed(float(gain.by_seed.mean())),
            f"gain.{place}.interval": with_interval(gain.by_seed),
            f"gain.{place}.seeds": str(int((gain.by_seed > 0).sum())),
            f"p.{place}": p_value(gain.p),
            f"verdict.{place}": said(gain.holds),
        }
    return found


def figures(rows: Rows) -> list[Panel]:
    """Recall and transfer over 12,000 steps with both schedules: means over seeds with 95 % t intervals."""
    panels = []
    for names, beta in ((FIXED, ".98"), (ADDED, ".99")):
        if all(_of(rows, name) for name in names):
            counts = ", ".join(f"{name} {sum(row['run'] == name for row in rows)}" for name in names)
            caption = (
                f"Recall and transfer over 12,000 steps, second beta {beta}: means over seeds (n: {counts}), 95 % t "
                "intervals. Left: cosine; right: constant rate. Transfer goes on rising long after recall is complete."
            )
            panels.append(
                Panel(f"late{beta[1:]}", f"Unification after recall, beta {beta}", caption, late(rows, names))
            )
    return panels


def late(rows: Rows, schedules: Sequence[str]) -> go.Figure:
    """The curves of some schedules, side by side."""
    figure = side_by_side(*(name.partition("_")[0].capitalize() for name in schedules))
    for column, schedule in enumerate(schedules, start=1):
        part = [row for row in rows if row["run"] == schedule]
        x = steps_shown(part[0]["steps"])
        for name, colour in (("recall", INK), ("transfer", VERMILION)):
            curves = np.array([row[f"{name}_curve"] for row in part])
            ends = np.array([t_interval(column_values) for column_values in curves.T])
            figure.add_trace(band(x, ends[:, 1], ends[:, 2], colour), row=1, col=column)
            figure.add_trace(line(x, ends[:, 0], name, colour, group=name, showlegend=column == 1), row=1, col=column)
    step_axis(figure, [12_000], narrow=True)
    figure.update_yaxes(range=[-0.02, 1.03])
    return themed(figure)
