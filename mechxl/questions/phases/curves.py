"""Curves over steps, as tables with quantity, unit, step, value, noise and floor; and the steps at which they rise."""

from typing import Any

import numpy as np
import pandas as pd

from mechxl.data.guesses import floors
from mechxl.data.information import no_knowledge_losses, told_distribution
from mechxl.data.transfer import transfer_items
from mechxl.measures.rises import ends
from mechxl.measures.transitions import Onset, onset
from mechxl.random import generator
from mechxl.run import Run

LOG_P = "log p beyond H(A | R, S)"
DRAWS = 200


def curve(
    quantity: str, unit: str, step: Any, value: Any, source: str, noise: float = 0.0, floor: float = 0.0
) -> pd.DataFrame:
    """Rows of one curve. noise: sampling error of one evaluation, where it is known; floor: above which it rises."""
    values = np.asarray(value, dtype=float)
    table = pd.DataFrame({"quantity": quantity, "unit": unit, "step": step, "value": values, "from": source})
    return table.assign(noise=noise, floor=floor)[table["value"].notna()]


def from_metrics(run: Run) -> list[pd.DataFrame]:
    """Recall and transfer at every evaluation; of log p what lies above the exact -H(A | R, S): what facts add."""
    metrics, parts, guessed = run.metrics, [], floors(run.corpus, transfer_items(run.corpus))
    entities = len(np.unique(run.corpus.world.entity[run.corpus.world.seen]))
    floor = -no_knowledge_losses(told_distribution(run.corpus)).given_readers  # log p of a model that knows no fact
    for kind in ("recall", "transfer"):
        if (column := f"{kind}_accuracy") in metrics:
            noise = sampling_error(metrics[column], metrics[f"{kind}_n"], entities)
            values = metrics["step"], metrics[column]
            parts.append(curve(kind, "accuracy", *values, "metrics", noise, guessed[kind]))
        if (column := f"{kind}_log_prob") in metrics:
            values = (metrics[column].astype(float) - floor).clip(lower=0)
            parts.append(curve(kind, LOG_P, metrics["step"], values, "metrics"))
    return [part for part in parts if len(part)]


def sampling_error(accuracy: pd.Series, questions: pd.Series, entities: int) -> float:
    """Standard error of one evaluation's accuracy, the largest over training.

    Of p and n questions about m entities it is sqrt(p (1 - p) / min(n, m)): the facts of an entity share its name, so
    entities count. With one right and one wrong answer added (Agresti and Coull 1998), so that it is never 0.
    """
    n = np.minimum(questions.astype(float), entities)
    p = (accuracy.astype(float) * n + 1) / (n + 2)
    return float(np.sqrt(p * (1 - p) / (n + 2)).max()) if p.notna().any() else 0.0


def series(curves: pd.DataFrame, quantity: str, unit_name: str) -> pd.DataFrame:
    """One curve by step; of a curve with a floor, what lies above it."""
    rows = curves[(curves["quantity"] == quantity) & (curves["unit"] == unit_name)].sort_values("step")
    above = (rows["value"] - rows["floor"]).clip(lower=0)
    return rows.assign(value=above.where(rows["floor"] > 0, rows["value"]))


def dated(part: pd.DataFrame) -> Onset:
    """The onset of one curve, as `series` gives it."""
    rng = generator(0, f"onset {part['quantity'].iloc[0]} {part['unit'].iloc[0]}")
    return onset(
        part["step"].to_numpy(), part["value"].to_numpy(), rng, noise=float(part["noise"].iloc[0]), draws=DRAWS
    )


def onset_row(part: pd.DataFrame, told: Onset) -> dict[str, Any]:
    """An onset beside the curve that it is of, as a row of the table of onsets."""
    row: dict[str, Any] = {"quantity": part["quantity"].iloc[0], "unit": part["unit"].iloc[0], "outcome": told.outcome}
    for prefix, when in (("", told.first), ("second_", told.second), ("half_", told.half)):
        row |= {f"{prefix}{end}": getattr(when, end) for end in ("step", "low", "high")}
    first, last = ends(part["value"].to_numpy())
    row |= {"n": len(part), "first": first, "last": last, "noise": float(part["noise"].iloc[0])}
    row |= {"from_step": told.start, "floor": float(part["floor"].iloc[0])}
    row |= {key: told.fit.get(key, np.nan) for key in ("c", "A", "m", "w", "A2", "m2", "w2", "rho", "sd")}
    return row | {"reason": told.reason or {"rises": "one rise"}.get(told.outcome, "")}


def metric_onsets(run: Run) -> pd.DataFrame:
    """When recall and transfer (accuracy) rise, from the run's metrics alone: rows as in the table of onsets."""
    parts = [part for part in from_metrics(run) if part["unit"].iloc[0] == "accuracy"]
    curves = [series(part, part["quantity"].iloc[0], "accuracy") for part in parts]
    return pd.DataFrame([onset_row(part, dated(part)) for part in curves])
