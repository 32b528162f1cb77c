"""How does transfer follow from how much the language says about the facts, and how often its tag is hidden?

    python -m analyses dose_map

Hypothesis (claims 2, 3 and 4 of Blum et al. 2025). With words shared, so that a tag alone tells the languages apart,
and no fact told in both, transfer falls with what the language says about the value and rises with the share of hidden
tags, and the two act together: logit of transfer above guessing = a + b ln(q + q0) - c I^p, with q the share of hidden
tags and I = I(V; L | R) in bits.

Grid, fixed before any of these runs. informativeness 0, .25, .5, .75, 1 x cue_dropout 0, .02, .05, .1, .25, .5; seeds
60 to 71, which no other study uses. Beside it the trained null (shared_facts 0) where most is transferred: cue_dropout
.5, informativeness 0 and 1, the same seeds. 384 runs. The world is smaller than the default's, for want of time: 200
entities, d_model 32, d_mlp 128, batches of 256, 1,000 steps. Seen before (seeds 900 and 901, the four corners, this
recipe): recall 1.000 and at rest in all eight runs; transfer .75, 1.00 (informativeness 0; tag shown, half hidden), .01
and .94 (informativeness 1). And study `language`, of the default's size, had shown both directions. So the directions
are no surprise; their form, the law and its rivals are what is asked.

Measured at the end of each run, on mono facts: transfer (all items, tag shown); score S - W (layer 1, whole-sample
centring); the language probe at the prompt's last token, layer 1, in bits; causal unification of mono facts that
transfer (question `patching`, default precision). A run whose recall is below .99 is counted, and stays in.

Tests, over twelve seeds, two-sided exact sign tests, Holm over all ten. (a) At each of the five informativenesses:
transfer with half of the tags hidden less transfer with all shown. (b) With all tags shown, and with half hidden:
transfer at informativeness 0 less at 1. (c) The law against each of three rivals: for each seed, all are fitted to
that seed's transfer in 15 of the 30 cells, drawn once (`generator(0, "cells of the map")`), by least squares on
transfer; the error is the root of the mean squared error in the other 15; the difference of two errors is tested. All
predict transfer as g + (1 - g) / (1 + exp(-x)), with g the accuracy of the best guess that knows the relation and the
asked language but no fact, and
    law       x = a + b ln(q + q0) - c I^p     q0, p > 0
    additive  x = a + b q - c k                the settings alone, k the informativeness
    product   x = a - c E I                    E = (1 - q) bits of the language that a prompt gives away
    two ways  x = a + b q - c (1 - q) I        two strategies, shared and apart (after arXiv 2506.17859): apart saves I
                                               bits wherever the tag is shown, and pays wherever it is hidden
The law holds if its error is below that of every rival with p <= .05. It is refuted as the best of these if a rival's
error is lower with p <= .05. Described beside: errors of fits to the means over seeds, with the noise floor (the error
that the true means of the cells would make, from the spread over seeds), and of the mean of the fitted cells alone.
"""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from analyses.contrasts import Contrast, Tested, all_tested, as_numbers, as_table
from analyses.ends import mono_causal, mono_scores, mono_vectors, plain
from analyses.laws import FITTED, LAW, MODELS, NOTHING, Cells, fit, held_out_error, predicted, width
from analyses.statistics import Rows, by_variant, with_interval
from analyses.study import variant
from mechxl.data.guesses import no_fact_accuracies
from mechxl.data.information import informativeness
from mechxl.data.transfer import transfer_items
from mechxl.findings import signed
from mechxl.measures.probes import entity_folds, probe
from mechxl.plots import BLUE, GREY, Panel, small_multiples, themed
from mechxl.random import generator
from mechxl.run import Run
from mechxl.sweep.study import parse_study

GRID = {
    "seeds": [60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71],
    "base": {
        "languages.cue": "tag",
        "languages.shared_words": 1.0,
        "mixture.parallel_fraction": 0.0,
        "world.n_entities": 200,
        "model.d_model": 32,
        "model.d_mlp": 128,
        "training.batch_size": 256,
        "training.steps": 1000,
        "training.checkpoints": 2,
        "training.evaluate_every": 20,
        "training.threads": 1,
    },
    "runs": [
        {"name": "k0_q0", "mixture.informativeness": 0.0, "languages.cue_dropout": 0.0},
        {"name": "k0_q0.02", "mixture.informativeness": 0.0, "languages.cue_dropout": 0.02},
        {"name": "k0_q0.05", "mixture.informativeness": 0.0, "languages.cue_dropout": 0.05},
        {"name": "k0_q0.1", "mixture.informativeness": 0.0, "languages.cue_dropout": 0.1},
        {"name": "k0_q0.25", "mixture.informativeness": 0.0, "languages.cue_dropout": 0.25},
        {"name": "k0_q0.5", "mixture.informativeness": 0.0, "languages.cue_dropout": 0.5},
        {"name": "k0.25_q0", "mixture.informativeness": 0.25, "languages.cue_dropout": 0.0},
        {"name": "k0.25_q0.02", "mixture.informativeness": 0.25, "languages.cue_dropout": 0.02},
        {"name": "k0.25_q0.05", "mixture.informativeness": 0.25, "languages.cue_dropout": 0.05},
        {"name": "k0.25_q0.1", "mixture.informativeness": 0.25, "languages.cue_dropout": 0.1},
        {"name": "k0.25_q0.25", "mixture.informativeness": 0.25, "languages.cue_dropout": 0.25},
        {"name": "k0.25_q0.5", "mixture.informativeness": 0.25, "languages.cue_dropout": 0.5},
        {"name": "k0.5_q0", "mixture.informativeness": 0.5, "languages.cue_dropout": 0.0},
        {"name": "k0.5_q0.02", "mixture.informativeness": 0.5, "languages.cue_dropout": 0.02},
        {"name": "k0.5_q0.05", "mixture.informativeness": 0.5, "languages.cue_dropout": 0.05},
        {"name": "k0.5_q0.1", "mixture.informativeness": 0.5, "languages.cue_dropout": 0.1},
        {"name": "k0.5_q0.25", "mixture.informativeness": 0.5, "languages.cue_dropout": 0.25},
        {"name": "k0.5_q0.5", "mixture.informativeness": 0.5, "languages.cue_dropout": 0.5},
        {"name": "k0.75_q0", "mixture.informativeness": 0.75, "languages.cue_dropout": 0.0},
        {"name": "k0.75_q0.02", "mixture.informativeness": 0.75, "languages.cue_dropout": 0.02},
        {"name": "k0.75_q0.05", "mixture.informativeness": 0.75, "languages.cue_dropout": 0.05},
        {"name": "k0.75_q0.1", "mixture.informativeness": 0.75, "languages.cue_dropout": 0.1},
        {"name": "k0.75_q0.25", "mixture.informativeness": 0.75, "languages.cue_dropout": 0.25},
        {"name": "k0.75_q0.5", "mixture.informativeness": 0.75, "languages.cue_dropout": 0.5},
        {"name": "k1_q0", "mixture.informativeness": 1.0, "languages.cue_dropout": 0.0},
        {"name": "k1_q0.02", "mixture.informativeness": 1.0, "languages.cue_dropout": 0.02},
        {"name": "k1_q0.05", "mixture.informativeness": 1.0, "languages.cue_dropout": 0.05},
        {"name": "k1_q0.1", "mixture.informativeness": 1.0, "languages.cue_dropout": 0.1},
        {"name": "k1_q0.25", "mixture.informativeness": 1.0, "languages.cue_dropout": 0.25},
        {"name": "k1_q0.5", "mixture.informativeness": 1.0, "languages.cue_dropout": 0.5},
        {
            "name": "null_k0_q0.5",
            "mixture.informativeness": 0.0,
            "languages.cue_dropout": 0.5,
            "world.shared_facts": 0.0,
        },
        {
            "name": "null_k1_q0.5",
            "mixture.informativeness": 1.0,
            "languages.cue_dropout": 0.5,
            "world.shared_facts": 0.0,
        },
    ],
}
INFORMATIVENESS = (0.0, 0.25, 0.5, 0.75, 1.0)
HIDDEN = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5)
CELLS = [(k, q) for k in INFORMATIVENESS for q in HIDDEN]
NULLS = ("null_k0_q0.5", "null_k1_q0.5")
MEASURED = {
    "transfer": "transfer",
    "score_1": "score S − W",
    "causal_unification": "causal unification",
    "probe_bits": "language probe",
}


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row."""
    corpus, last = run.corpus, run.metrics.iloc[-1]
    facts = np.flatnonzero(corpus.mixture.group == "mono")
    entity = corpus.world.entity[facts]
    x = mono_vectors(run)
    language, rows = np.tile([0, 1], len(facts)), x.reshape(-1, x.shape[-1])
    entities = np.repeat(entity, 2)
    reading = probe(rows, language, entities, entity_folds(entities, 5, generator(0, "folds")), generator(0, "probe"))
    items = transfer_items(corpus)
    row: dict[str, Any] = {
        "run": variant(run),
        "seed": run.config.seed,
        "informativeness": run.config.mixture.informativeness,
        "hidden": run.config.languages.cue_dropout,
        "data_bits": informativeness(corpus, 0, mono_only=True).bits,
        "guess": no_fact_accuracies(corpus, items).by_asked,
        "recall": float(last["recall_accuracy"]),
        "transfer": float(last["transfer_accuracy"]),
        "rests": run.rest.rests,
        "score_1": mono_scores(run)["score_1"],
        "probe_bits": reading.bits,
    } | mono_causal(run)
    return [{key: plain(value) for key, value in row.items()}]


def _of(rows: Rows, k: float, q: float) -> Rows:
    return sorted(
        (row for row in rows if row["run"] == f"k{k:g}_q{q:g}"),
        key=lambda row: row["seed"],
    )


def _values(rows: Rows, k: float, q: float, key: str) -> Float[np.ndarray, " seed"]:
    return np.array([np.nan if row[key] is None else row[key] for row in _of(rows, k, q)], dtype=float)


def _tests(rows: Rows) -> list[Tested]:
    contrasts = [
        Contrast(
            f"a.k{k:g}",
            f"(a) informativeness {k:g}: half of the tags hidden less all shown",
            "transfer",
            f"k{k:g}_q0.5",
            f"k{k:g}_q0",
        )
        for k in INFORMATIVENESS
    ]
    contrasts += [
        Contrast(
            f"b.q{q:g}",
            f"(b) share of hidden tags {q:g}: informativeness 0 less 1",
            "transfer",
            f"k0_q{q:g}",
            f"k1_q{q:g}",
        )
        for q in (0.0, 0.5)
    ]
    errors = _errors_by_seed(rows)
    further = {
        f"c.{_key(name)}": (f"(c) error of {name} less the law's", errors[name] - errors[LAW])
        for name in MODELS
        if name not in (LAW, NOTHING)
    }
    return all_tested(rows, contrasts, further)


def _table_of(rows: Rows) -> pd.DataFrame:
    """A row a run of the map, without the nulls."""
    frame = pd.DataFrame([row for row in rows if row["run"] not in NULLS])
    cells = {f"k{k:g}_q{q:g}": number for number, (k, q) in enumerate(CELLS)}
    return frame.assign(cell=frame["run"].map(cells))


@lru_cache(maxsize=4)
def _errors_of(text: str) -> dict[str, Float[np.ndarray, " seed"]]:
    frame = _table_of(json.loads(text))
    parts = [Cells.of(part) for _, part in frame.groupby("seed") if len(part) == len(CELLS)]
    return {name: np.array([held_out_error(name, part) for part in parts]) for name in MODELS}


def _errors_by_seed(rows: Rows) -> dict[str, Float[np.ndarray, " seed"]]:
    """The error in the held-out cells of fits to each seed's own transfer."""
    return _errors_of(json.dumps(list(rows)))


def _means(rows: Rows) -> Cells:
    """The means over seeds."""
    columns = ["informativeness", "hidden", "data_bits", "guess", "transfer"]
    return Cells.of(_table_of(rows).groupby("cell", as_index=False)[columns].mean())


def _floor(rows: Rows) -> float:
    """The error that the true means of the held-out cells would make: the root of the mean squared standard error."""
    frame = _table_of(rows)
    groups = frame[~frame["cell"].isin(FITTED)].groupby("cell")["transfer"]
    return float(np.sqrt((groups.var(ddof=1) / groups.count()).mean()))


def interval_width(rows: Rows) -> float:
    """The width of the law's interval (`mechxl.data.prediction`), from runs of cells that it was not fitted to."""
    means, table = _means(rows), _table_of(rows)
    held_out = Cells.of(pd.DataFrame(table[~table["cell"].isin(FITTED)]))
    return width(held_out.transfer, predicted(LAW, fit(LAW, means.where(means.fitted)), held_out))


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """The map's transfer, the models' errors, and the tests."""
    cells = [
        {"informativeness": f"{k:g}"}
        | {f"hidden {q:g}": with_interval(_values(rows, k, q, "transfer")) for q in HIDDEN}
        for k in INFORMATIVENESS
    ]
    means, errors = _means(rows), _errors_by_seed(rows)
    models = [
        {
            "model": name,
            "parameters, fitted to means": _parameters(name, means),
            "error in held-out cells, by seed": with_interval(errors[name], 3),
            "of fits to means": signed(held_out_error(name, means), 3),
        }
        for name in MODELS
    ]
    return {"map": pd.DataFrame(cells), "models": pd.DataFrame(models), "tests": as_table(_tests(rows))}


def _key(name: str) -> str:
    """A model's name, as a number's name has it."""
    return name.replace(" ", "_")


def _parameters(name: str, means: Cells) -> str:
    fitted = fit(name, means.where(means.fitted))
    return ", ".join(f"{key} {signed(value)}" for key, value in zip(MODELS[name].names, fitted, strict=True)) or "-"


def numbers(rows: Rows) -> dict[str, str]:
    """Means of all cells, errors of the models, the noise floor, and the tests."""
    found = by_variant(rows, [f"k{k:g}_q{q:g}" for k, q in CELLS] + [*NULLS], (*MEASURED, "recall"))
    means, errors = _means(rows), _errors_by_seed(rows)
    found |= {f"error.{_key(name)}": signed(float(values.mean()), 3) for name, values in errors.items()}
    found |= {f"error.means.{_key(name)}": signed(held_out_error(name, means), 3) for name in MODELS}
    found |= {"floor": signed(_floor(rows), 3), "runs": str(len(rows)), "planned": str(len(parse_study(GRID).runs))}
    found["seeds"] = str(min(len(_of(rows, *cell)) for cell in CELLS))
    found["low_recall"] = str(sum(row["recall"] < 0.99 for row in rows))
    found["rest"] = str(sum(row["rests"] is True for row in rows))
    found["width"] = signed(interval_width(rows))
    found["fitted"], found["held_out"] = str(len(FITTED)), str(len(CELLS) - len(FITTED))
    return found | as_numbers(_tests(rows))


def figures(rows: Rows) -> list[Panel]:
    """The map of four quantities, and what each model predicts of the cells."""
    seeds = numbers(rows)["seeds"]
    maps = (
        f"Means over {seeds} seeds. Across: the share of hidden tags. Up: informativeness. Empty: not defined in any "
        "run. Mono facts at the end of training, tag shown. Score and probe (bits): layer 1. Causal unification: of "
        "facts that transfer."
    )
    predicted = (
        f"Transfer of each cell, means over {seeds} seeds, against the prediction of each model. Filled: cells that "
        "the models were fitted to; open: held out."
    )
    return [
        Panel("map", "The map", maps, _maps(rows)),
        Panel("models", "The law and its rivals", predicted, _predictions(_means(rows))),
    ]


def _maps(rows: Rows) -> go.Figure:
    figure = small_multiples(list(MEASURED.values()))
    x, y = [f"{q:g}" for q in HIDDEN], [f"{k:g}" for k in INFORMATIVENESS]
    for place, key in enumerate(MEASURED):
        z = np.array([[_mean(_values(rows, k, q, key)) for q in HIDDEN] for k in INFORMATIVENESS])
        shown = [["" if np.isnan(value) else signed(value) for value in line] for line in z]
        heat = go.Heatmap(x=x, y=y, z=z, text=shown, texttemplate="%{text}", colorscale="Blues", showscale=False)
        figure.add_trace(heat, row=place // 2 + 1, col=place % 2 + 1)
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category")
    figure.update_yaxes(showticklabels=False, col=2)  # the same as at the left: a phone has no room for both
    return themed(figure, height=640)


def _mean(points: Float[np.ndarray, " seed"]) -> float:
    known = points[~np.isnan(points)]
    return float(known.mean()) if len(known) else float("nan")


def _predictions(means: Cells) -> go.Figure:
    shown = [name for name in MODELS if name != NOTHING]
    figure, fitted = small_multiples(shown), means.fitted
    hover = [f"informativeness {k:g}, hidden {q:g}" for k, q in CELLS]
    for place, name in enumerate(shown):
        guess = predicted(name, fit(name, means.where(fitted)), means)
        marker = {"color": BLUE, "size": 8, "symbol": np.where(fitted, "circle", "circle-open")}
        dots = go.Scatter(x=guess, y=means.transfer, mode="markers", marker=marker, text=hover, showlegend=False)
        diagonal = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "width": 1}, showlegend=False)
        for trace in (diagonal, dots):
            figure.add_trace(trace, row=place // 2 + 1, col=place % 2 + 1)
    figure.update_xaxes(range=[-0.03, 1.03])
    figure.update_xaxes(title_text="predicted", row=2)
    figure.update_yaxes(range=[-0.03, 1.03])
    figure.update_yaxes(title_text="observed", col=1)
    return themed(figure, height=640)
