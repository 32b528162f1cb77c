"""Do informativeness and extractability of the language decide how far a model unifies, and what it transfers?

    python -m analyses language

Hypothesis (claims 3 and 4 of Blum et al. 2025). With words shared, so that a tag alone tells the languages apart, and
every fact told in one language: (a) the more the language says about the value, the less is transferred, the lower the
score and the more the model keeps of the language; (b) hiding the tag in half of the tellings, so that it can't be
relied on, raises transfer and score at the same informativeness.

Grid, fixed before any run. cue tag, shared_words 1, parallel_fraction 0; informativeness 0, .5 and 1 with the tag
always shown, 0 and 1 with cue_dropout .5; seeds 0 to 5; everything else at its default.

Test. Measured at the last checkpoint, all seen facts are mono facts, tag shown; one number a run. Bits in the data:
I(value; language | relation) of mono facts. Bits in the model: the language probe at the prompt's last token, layers 1
and 2 (question `language_identity`, default precision). Score S - W: mono facts, whole-sample centring, layers 1 and 2.
Transfer: exact match, all items. (a): Spearman's rho between informativeness and transfer over the
18 runs with the tag always shown, p by all-runs permutation (10,000 draws, two-sided); refuted if rho >= 0 or
p > .05. (b): the differences with and without dropout of the same seed, at each informativeness, six seeds: two-sided
exact sign test (p = .031 if all agree) and a t interval; refuted if they do not all agree. Twice two tests and the rest
described.

Changed after the first results: what is described under "erased" was LEACE with relations pooled; it is LEACE within
each relation now. A change is given only for runs whose erasure is verified. Hypothesis, grid and tests are the same.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from analyses.ends import mono_scores
from analyses.statistics import (
    Rows,
    all_points,
    by_variant,
    least_p,
    p_value,
    points_panel,
    said,
    sign_test,
    spearman,
    spearman_p,
    values,
    with_interval,
)
from analyses.study import variant
from mechxl.data.information import informativeness
from mechxl.findings import signed
from mechxl.plots import Panel
from mechxl.questions.ask import ask
from mechxl.random import generator
from mechxl.run import Run

GRID = {
    "seeds": 6,
    "base": {"languages.cue": "tag", "languages.shared_words": 1.0, "mixture.parallel_fraction": 0.0},
    "runs": [
        {"name": "informative_0", "mixture.informativeness": 0.0},
        {"name": "informative_half", "mixture.informativeness": 0.5},
        {"name": "informative_1", "mixture.informativeness": 1.0},
        {"name": "informative_0_dropout", "mixture.informativeness": 0.0, "languages.cue_dropout": 0.5},
        {"name": "informative_1_dropout", "mixture.informativeness": 1.0, "languages.cue_dropout": 0.5},
    ],
}
VARIANTS = ("informative_0", "informative_half", "informative_1", "informative_0_dropout", "informative_1_dropout")
TAG_SHOWN = {"informative_0": 0.0, "informative_half": 0.5, "informative_1": 1.0}
TESTED = ("transfer", "score_1", "score_2", "model_bits_1", "model_bits_2")
COLUMNS = {
    "data_bits": "I(V; L \\| R), bits",
    "model_bits_1": "probe, layer 1",
    "model_bits_2": "probe, layer 2",
    "score_1": "score, layer 1",
    "score_2": "score, layer 2",
    "recall": "recall",
    "transfer": "transfer",
    "erased_recall": "change of recall, erased",
    "erased_transfer": "change of transfer, erased",
}


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row."""
    from mechxl.questions.language_identity.verified import outcome  # torch, which kept results do without

    corpus, last = run.corpus, run.metrics.iloc[-1]
    tables = ask(run, "language_identity").tables
    probes, erasure, checks = tables["probes"], tables["erasure"], tables["verified"]
    at_end = (probes["step"] == run.steps[-1]) & (probes["role"] == "prompt_last") & (probes["labels"] == "true")
    erased = (erasure["step"] == run.steps[-1]) & (erasure["from_layer"] == 1) & (erasure["erased"] == "language")
    facts = np.flatnonzero(corpus.mixture.group == "mono")
    row: dict[str, Any] = {"run": variant(run), "seed": run.config.seed, "n_facts": len(facts)}
    row["data_bits"] = informativeness(corpus, 0, mono_only=True).bits
    for layer in (1, 2):
        row[f"model_bits_{layer}"] = float(probes[at_end & (probes["layer"] == layer)]["bits"].iloc[0])
        row[f"score_{layer}"] = mono_scores(run, layer)[f"score_{layer}"]
    row["recall"], row["transfer"] = float(last["recall_accuracy"]), float(last["transfer_accuracy"])
    checks = checks[(checks["step"] == run.steps[-1]) & (checks["from_layer"] == 1) & (checks["erased"] == "language")]
    holds = outcome(checks) == "gone" and not checks["everything"].any()
    row["erasure_holds"] = float(holds)
    for asked in ("recall", "transfer"):
        change = float(erasure[erased & (erasure["asked"] == asked)]["change"].iloc[0])
        row[f"erased_{asked}"] = change if holds else None
    return [{key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}]


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """A row a configuration, and the tests that the docstring fixes."""
    configurations = [
        {
            "configuration": name,
            **{label: _cell(rows, name, key) for key, label in COLUMNS.items()},
            "erasure verified": f"{_verified(rows, name)} of {len(values(rows, name, 'erasure_holds'))}",
        }
        for name in VARIANTS
    ]
    tests = [*_with_informativeness(rows), *_with_dropout(rows)]
    return {"configurations": pd.DataFrame(configurations), "tests": pd.DataFrame({"test": tests})}


def _cell(rows: Rows, name: str, key: str) -> str:
    points = values(rows, name, key)
    points = points[~np.isnan(points)]
    return all_points(points) if len(points) > 1 else "undefined"


def _verified(rows: Rows, name: str) -> int:
    return int(values(rows, name, "erasure_holds").sum())


def numbers(rows: Rows) -> dict[str, str]:
    """Means by configuration, the tests, and whether (a) and (b) hold."""
    found = by_variant(rows, VARIANTS, tuple(COLUMNS))
    found["verified"] = str(sum(_verified(rows, name) for name in VARIANTS))
    found["verified.shown"] = str(sum(_verified(rows, name) for name in TAG_SHOWN))
    found |= {"runs": str(len(rows)), "seeds": str(min(_seeds(rows))), "least_p": least_p(min(_seeds(rows)))}
    for key, (n, rho, p) in _informativeness_tests(rows).items():
        found |= {f"a.{key}": signed(rho), f"a.{key}.p": p_value(p), "a.runs": str(n)}
        if key == "transfer":
            found["a"] = said(rho < 0 and p <= 0.05)
    agree = []
    for (name, key), gain in _dropout_gains(rows).items():
        place = f"b.{key}.{name}"
        found |= {place: signed(float(gain.mean())), f"{place}.interval": with_interval(gain)}
        found |= {f"{place}.p": p_value(sign_test(gain)), f"{place}.rise": str(int((gain > 0).sum()))}
        found |= {f"{place}.fall": str(int((gain < 0).sum()))}
        if key in ("transfer", "score_1", "score_2"):
            agree.append(bool((gain > 0).all()))
    return found | {"b": said(all(agree))}


def _seeds(rows: Rows) -> list[int]:
    return [len(values(rows, name, "seed")) for name in VARIANTS]


def _informativeness_tests(rows: Rows) -> dict[str, tuple[int, float, float]]:
    """(runs, Spearman's rho, p) of each quantity with informativeness."""
    rng = generator(0, "runs permuted")
    shown = [row for row in rows if row["run"] in TAG_SHOWN]
    level = np.array([TAG_SHOWN[row["run"]] for row in shown])
    columns = {key: np.array([row[key] for row in shown]) for key in TESTED}
    return {key: (len(y), spearman(level, y), spearman_p(level, y, rng)) for key, y in columns.items()}


def _dropout_gains(rows: Rows) -> dict[tuple[str, str], Float[np.ndarray, " seed"]]:
    """Differences with and without dropout of the same seed, by configuration and quantity."""
    return {
        (name, key): values(rows, f"{name}_dropout", key) - values(rows, name, key)
        for name in ("informative_0", "informative_1")
        for key in TESTED
    }


def _with_informativeness(rows: Rows) -> list[str]:
    return [
        f"(a) {key} with informativeness, {n} runs: Spearman {signed(rho)}, p = {p_value(p)}."
        for key, (n, rho, p) in _informativeness_tests(rows).items()
    ]


def _with_dropout(rows: Rows) -> list[str]:
    return [
        f"(b) {name}, {key} with dropout less without, {len(gain)} seeds: {with_interval(gain)}, "
        f"sign test p = {p_value(sign_test(gain))}."
        for (name, key), gain in _dropout_gains(rows).items()
    ]


def figures(rows: Rows) -> list[Panel]:
    """Every run's numbers by configuration."""
    caption = (
        "Every seed of a configuration; bars: means with 95 % t intervals over seeds. Mono facts at the last "
        "checkpoint, tag shown. Erased: the change of value accuracy when the language is erased within relations from "
        "layer 1 on, of runs where that is verified."
    )
    return [points_panel(rows, VARIANTS, COLUMNS | {"data_bits": "I(V; L | R), bits"}, caption)]
