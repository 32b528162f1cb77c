"""phases: when is each thing learned, in which order, and can the order be told from noise?

Curves over steps, each in two units where it has them: accuracy and log p beyond what knowing no fact gives; and of
S - X and of S - W the excess over the trained null, which is unification, beside the raw numbers. The steps of their
rises with intervals, or why there are none; how far one lies behind another, with the null that both have one onset;
the verdict on unification with its evidence; which marginal of the answers the model knows before it knows any fact;
and what transfer and the score gain after recall is complete.
Language bits, causal unification and the marginals are read from the findings of the other questions, where these are
kept beside the run.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from mechxl.findings import Finding
from mechxl.measures.rises import FEWEST_POINTS
from mechxl.measures.transitions import NO_HALF, NO_STAGE, Onset, change_points, lag, precedes
from mechxl.questions import language_identity, learning, patching
from mechxl.questions.common import null_notes, scores_over_training
from mechxl.questions.kept import kept_finding
from mechxl.questions.phases.after_recall import after_recall
from mechxl.questions.phases.curves import DRAWS, LOG_P, curve, dated, from_metrics, onset_row, series
from mechxl.questions.phases.evidence import separation_of, verdict_of
from mechxl.questions.phases.named import EXCESS, RAW, Named, layer_of
from mechxl.questions.phases.words import words
from mechxl.questions.question import declared
from mechxl.questions.verdict import Verdict
from mechxl.random import generator
from mechxl.run import Run

NOT_ABOVE = "its excess over the trained null is not above 0 at the end"
NEAR = 0.03  # nats: KL(P || model) below which the model has learned a marginal
PENALTIES = (1, 2, 4, 8, 16, 32)
MARGINALS = {"P(A | R)": "given_relation", "P(A | R, S)": "given_readers"}


def compute(run: Run, thorough: bool = False) -> Finding:
    """Onsets of all curves and lags between recall, unification and transfer.

    Args:
        run: a run with checkpoints.
        thorough: all entities for the scores; and findings of the other questions that are thorough.
    """
    scores = scores_over_training(run, thorough)
    others, undefined = _kept(run, thorough)
    parts = [*from_metrics(run), *_scores(scores, RAW), *_excess(run, scores, thorough), *others]
    curves = pd.concat(parts, ignore_index=True)
    headline = _headline_layer(curves)
    found = verdict_of(run, thorough)
    onsets = _onsets(curves, found)
    lags = _lags(curves, headline, found)
    tables = {
        "curves": curves,
        "onsets": onsets,
        "lags": lags,
        "after_recall": after_recall(run, headline, thorough),
        "marginals": _marginals(run, thorough),
        "change_points": _second_opinion(curves, headline),
    }
    notes = {
        "layers": run.config.model.n_layers,
        "steps": run.steps,
        "last": int(run.metrics["step"].iloc[-1]),
        "finished": run.complete,
        "rest": asdict(run.rest),
        "headline": headline,
        "null": null_notes(run),
        "verdict": asdict(found) | {"sentences": found.sentences()} if found else None,
        "separation": asdict(separation) if (separation := separation_of(run, scores, headline, thorough)) else None,
        "draws": DRAWS,
        "near": NEAR,
        "kept": sorted({*curves["from"], *undefined}),
        "undefined": undefined | _undefined(run.metrics),
    }
    return Finding("phases", words(tables, notes), tables, notes)


def _scores(table: pd.DataFrame, named: Named) -> list[pd.DataFrame]:
    """S - X and S - W at each layer from 1 on, every checkpoint."""
    return [
        curve(named.at(int(str(layer))), unit, rows["step"], rows[column], "checkpoints")
        for layer, rows in table.groupby("layer")
        for unit, column in zip(named.units, ("alignment", "score"), strict=True)
    ]


def _excess(run: Run, scores: pd.DataFrame, thorough: bool) -> list[pd.DataFrame]:
    """Unification: both less those of the trained null, at the checkpoints of both; nothing without a null."""
    if run.null is None:
        return []
    both = scores.merge(scores_over_training(run.null, thorough), on=["step", "layer"], suffixes=("", "_null"))
    for column in ("alignment", "score"):
        both[column] -= both[f"{column}_null"]
    return _scores(both, EXCESS)


def _undefined(metrics: pd.DataFrame) -> dict[str, str]:
    """Why transfer is not defined, where it is not."""
    if "transfer_reason" not in metrics or not metrics["transfer_reason"].notna().any():
        return {}
    return {"transfer": str(metrics["transfer_reason"].dropna().iloc[-1])}


def _kept(run: Run, thorough: bool) -> tuple[list[pd.DataFrame], dict[str, str]]:
    """What other questions found, where that is kept: language bits (with their sign changed), causal unification.

    Beside the curves, why a kept finding gives none, by question.
    """
    parts, undefined = [], {}
    if (finding := kept_finding(run, declared("language_identity", language_identity), thorough)) is not None:
        probes = finding.tables["probes"]
        at_prompt_end = probes[
            (probes["role"] == "prompt_last") & (probes["labels"] == "true") & (probes["layer"] >= 1)
        ]
        for layer, rows in at_prompt_end.groupby("layer"):
            parts.append(
                curve(f"language lost, layer {layer}", "bits", rows["step"], -rows["bits"], "language_identity")
            )
        if not at_prompt_end["bits"].notna().any():
            undefined["language_identity"] = _last_reason(probes)
    finding = kept_finding(run, declared("patching", patching), thorough)
    if finding is not None and "curve" not in finding.tables:
        undefined["patching"] = finding.summary[0]
    elif finding is not None:
        both = finding.tables["curve"][finding.tables["curve"]["direction"] == "both"]
        for group, rows in both.groupby("group"):
            values = rows["unification"]
            parts.append(curve(f"causal unification, {group}", "ratio", rows["step"], values, "patching"))
        if not both["unification"].notna().any():
            undefined["patching"] = _last_reason(both)
    return parts, undefined


def _last_reason(table: pd.DataFrame) -> str:
    reasons = table["reason"][table["reason"] != ""]
    return str(reasons.iloc[-1]) if len(reasons) else "it has no numbers"


def _headline_layer(curves: pd.DataFrame) -> int:
    """The layer whose excess of S - X ends highest; without a trained null, whose S - X does."""
    ends = {}
    for unit in (EXCESS.units[0], RAW.units[0]):
        for quantity in curves[curves["unit"] == unit]["quantity"].unique() if not ends else ():
            ends[layer_of(quantity)] = series(curves, quantity, unit)["value"].iloc[-1]
    return max(ends, key=lambda layer: ends[layer]) if ends else 1


def _dated(quantity: str, found: Verdict | None) -> bool:
    """Whether a curve's rise may be dated: of unification, only where the excess is above 0 at the end."""
    return not quantity.startswith(EXCESS.quantity) or (found is not None and layer_of(quantity) in found.layers)


def _onsets(curves: pd.DataFrame, found: Verdict | None) -> pd.DataFrame:
    rows = []
    for quantity, name in curves[["quantity", "unit"]].drop_duplicates().itertuples(index=False):
        part = series(curves, quantity, name)
        told = dated(part)
        if not _dated(quantity, found):
            told = Onset("no rise", NO_STAGE, NO_STAGE, NO_HALF, NOT_ABOVE, told.start, {})
        rows.append(onset_row(part, told))
    return pd.DataFrame(rows)


def _lags(curves: pd.DataFrame, headline: int, found: Verdict | None) -> pd.DataFrame:
    """Lags between recall, unification at the headline layer and transfer, in all units; and the sign they share.

    Those of unification only where it may be dated.
    """
    layer = EXCESS.at(headline)
    units = {"recall": ("accuracy", LOG_P), "transfer": ("accuracy", LOG_P), layer: EXCESS.units}
    # like with like: accuracy beside accuracy, log p beside log p; an excess has neither, and is set beside both
    rows: list[dict[str, Any]] = []
    for first, second in (("recall", layer), ("recall", "transfer"), (layer, "transfer")):
        if layer in (first, second) and not _dated(layer, found):
            continue
        lags_of_pair = []
        for one in units[first]:
            for other in units[second] if layer in (first, second) else (one,):
                both = series(curves, first, one), series(curves, second, other)
                step = np.union1d(*(part["step"] for part in both))
                y = [part.set_index("step")["value"].reindex(step).to_numpy() for part in both]
                rng = generator(0, f"lag {first} {one} {second} {other}")
                noise = tuple(float(part["noise"].max()) if len(part) else 0.0 for part in both)
                measured_lag = lag(step, y[0], y[1], rng, noise=(noise[0], noise[1]), draws=DRAWS)
                lags_of_pair.append(measured_lag)
                rows.append({"first": first, "second": second, "units": f"{one}, {other}"} | asdict(measured_lag))
        for row in rows[-len(lags_of_pair) :]:
            row["sign"] = precedes(lags_of_pair)
    return pd.DataFrame(rows)


def _marginals(run: Run, thorough: bool) -> pd.DataFrame:
    """At which checkpoints the model's answers about unseen entities follow a marginal: KL(P || model) below NEAR."""
    finding = kept_finding(run, declared("learning", learning), thorough)
    if finding is None:
        return pd.DataFrame(columns=["marginal", "step", "kl", "near", "reason"])
    prior = finding.tables["prior"]
    rows = [
        {"marginal": marginal, "step": int(row["step"]), "kl": row[key], "near": bool(row[key] < NEAR),
         "reason": row["reason"]}
        for marginal, key in MARGINALS.items() for row in prior.to_dict("records")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _second_opinion(curves: pd.DataFrame, headline: int) -> pd.DataFrame:
    """Steps at which PELT sees a change of the mean, for each penalty."""
    rows = []
    penalties = np.array(PENALTIES, dtype=float)
    named = (("recall", "accuracy"), (EXCESS.at(headline), EXCESS.units[0]), ("transfer", "accuracy"))
    for quantity, name in named:
        part = series(curves, quantity, name)
        part = part[part["step"] >= 1]
        if len(part) < FEWEST_POINTS:
            continue
        path = change_points(part["value"].to_numpy(), penalties)
        for penalty, changes in zip(PENALTIES, path, strict=True):
            steps = " ".join(str(int(part["step"].iloc[index])) for index in changes)
            rows.append({"quantity": quantity, "penalty": penalty, "changes": len(changes), "steps": steps})
    return pd.DataFrame(rows)
