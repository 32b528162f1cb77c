"""Does this implementation show what the paper describes? Eight settings, each with bounds that could fail.

    python -m analyses replication

Hypothesis. A small Transformer first learns the marginals of the answers, then the facts; while it learns them, the
languages' representations unify, and facts told in one language only are answered in the other. How far that goes
depends on parallel facts, on shared names, and on how informative and how hidden the language is.

Grid. The settings below, seeds 0 to 11 for the default and 0 to 5 for the others, everything else at its default.

Test. Each bound must hold in every seed. `recall`, `transfer`: final accuracies over all items; `worst_recall`: of the
worst language. `score`: S - W of mono facts at layer 1 (same-relation baseline, whole-sample centring) at the end;
`early_score`: its largest value before step 300. `over_guess`: how far transfer lies outside the exact no-fact
accuracies. `plateau_evaluations`: evaluations in a row, before recall begins, with the loss within 3 % of H(A | R) or
H(A | R, S); `nearer_readers`: KL(P(A | R) || model) - KL(P(A | R, S) || model) on unseen entities there, at the nearest
checkpoint. It is refuted by any run outside its bounds or without the number; what came out is published either way.

What was known, and what was changed. The bounds on recall, transfer and score were set before any run, as what the
implementation had to reach; but most of the runs had been looked at once, on these same seeds, before this file was
written, so that it is a check and no prediction. After its first results, which were inside all bounds:
- the large world's 3,000 steps ended with recall .114 against .067 by guessing, so a run of 6,000 steps was added
  beside it to see the plateau end;
- its bound, that the loss comes within 3 % of a no-knowledge loss, could not fail as it was computed; it became that
  the loss stays there for at least 3 evaluations in a row and that unseen entities say which marginal it is;
- the trained null's recall became that of the worst language, and early_score takes in step 0.
Later the default recipe became cosine with a second beta of .99 (study `rest`), and seeds were added: there were three
of each setting, and one of the large worlds. Bounds and tests stayed.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from analyses.statistics import Rows, by_variant, points_panel
from analyses.study import variant
from mechxl.files import read_rows
from mechxl.plots import Panel
from mechxl.questions.ask import ask
from mechxl.run import Run

NOTE = Path(__file__).parents[1] / "README.md"
GRID = {
    "seeds": 6,
    "runs": [
        {"name": "default", "seeds": 12},
        {"name": "parallel_fraction_0.2", "mixture.parallel_fraction": 0.2},
        {"name": "shared_names_0", "languages.shared_names": 0.0},
        {"name": "shared_facts_0", "world.shared_facts": 0.0},
        {
            "name": "shared_words",
            "languages": {"shared_words": 1.0, "cue": "tag"},
            "mixture": {"parallel_fraction": 0.0, "informativeness": 1.0},
            "training.steps": 2500,
        },
        {
            "name": "shared_words_dropout",
            "languages": {"shared_words": 1.0, "cue": "tag", "cue_dropout": 0.5},
            "mixture": {"parallel_fraction": 0.0, "informativeness": 1.0},
            "training.steps": 2500,
        },
        {
            "name": "large",
            "world.n_entities": 8000,
            "languages": {"name_syllables": 24, "name_length": 3},
        },
        {
            "name": "large_6000",
            "world.n_entities": 8000,
            "languages": {"name_syllables": 24, "name_length": 3},
            "training.steps": 6000,
        },
    ],
}
LABELS = {
    "default": "nothing",
    "parallel_fraction_0.2": "parallel_fraction 0.2",
    "shared_names_0": "shared_names 0",
    "shared_facts_0": "shared_facts 0 (trained null)",
    "shared_words": "words shared, tag, parallel 0, informativeness 1, 2,500 steps",
    "shared_words_dropout": "the same, cue_dropout 0.5",
    "large": "8,000 entities, longer names",
    "large_6000": "the same, 6,000 steps",
}
PLATEAU = {"plateau_evaluations": (3.0, float("inf")), "nearer_readers": (0.0, float("inf"))}
BOUNDS: dict[str, dict[str, tuple[float, float]]] = {
    "default": {"recall": (0.95, 1), "transfer": (0.5, 1), "score": (0.35, 2), "early_score": (-2, 0)},
    "parallel_fraction_0.2": {"recall": (0.95, 1), "transfer": (0, 0.3)},
    "shared_names_0": {"over_guess": (-0.05, 0.05)},
    "shared_facts_0": {"worst_recall": (0.95, 1), "score": (-2, 0.2)},
    "shared_words": {"transfer": (0, 0.1)},
    "shared_words_dropout": {"transfer": (0.6, 1)},
    "large": PLATEAU,
    "large_6000": PLATEAU,
}


def measure(run: Run) -> list[dict[str, Any]]:
    """The numbers of one run that bounds are about, and those that the table shows."""
    learning, unification = ask(run, "learning"), ask(run, "unification")
    last = read_rows(run.file("metrics.jsonl"))[-1]
    score = unification.tables["measures"].query("measure == 'score'")
    curve = score[(score["group"] == "mono") & (score["centring"] == "whole") & (score["layer"] == 1)]
    early = curve[curve["step"] < 300]["value"]
    no_fact = learning.tables["no_fact"]
    guesses = no_fact.loc[no_fact["kind"] == "transfer", "accuracy"]
    transfer = last["transfer_accuracy"]  # None where there are no items
    within = None if transfer is None else min(max(transfer, guesses.min()), guesses.max())
    plateaus = learning.tables["plateaus"]
    longest = plateaus[plateaus["given"] != "nothing"].sort_values("evaluations").iloc[-1]
    prior = learning.tables["prior"]
    plateau = prior[(prior["step"] >= longest["first"]) & (prior["step"] <= longest["last"])]
    gaps = (plateau["given_relation"] - plateau["given_readers"]).to_numpy()
    nearest = plateau[["given_relation", "given_readers"]].min(axis=1).to_numpy()
    return [
        {
            "run": variant(run),
            "seed": run.config.seed,
            "recall": last["recall_accuracy"],
            "worst_recall": min(last["recall_by_language"].values()),
            "transfer": transfer,
            "transfer_items": last["transfer_n"],
            "guesses": None if transfer is None else [float(guesses.min()), float(guesses.max())],
            "over_guess": None if within is None else transfer - within,
            "score": float(curve["value"].iloc[-1]),
            "early_score": float(early.max()),
            "lowest_score": float(curve["value"].min()),
            "plateau_evaluations": int(longest["evaluations"]),
            "nearer_readers": float(gaps[nearest.argmin()]) if len(gaps) else None,
            "words": learning.summary[1],
        }
    ]


def outside(row: dict[str, Any]) -> dict[str, float | None]:
    """The numbers of a run that lie outside their bounds, or are missing."""
    bounds = BOUNDS[row["run"]]
    return {key: row[key] for key, (low, high) in bounds.items() if row[key] is None or not low <= row[key] <= high}


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """Every seed's value by setting, and the bounds that do not hold."""
    lines, misses = [], []
    for name, label in LABELS.items():
        runs = [dict(row) for row in rows if row["run"] == name]
        cells = {key: " ".join(_short(row[key]) for row in runs) for key in ("recall", "transfer", "score")}
        lines.append({"what differs from the default": label, "seeds": len(runs), **cells})
        misses += [f"{label}, seed {row['seed']}: outside its bounds: {outside(row)}" for row in runs if outside(row)]
    table = pd.DataFrame(lines).rename(columns={"score": "score at layer 1"})
    return {"settings": table, "bounds": pd.DataFrame({"bound": misses or ["All bounds hold in every run."]})}


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1).replace("-", "−")


def numbers(rows: Rows) -> dict[str, str]:
    """Means by setting, and the lowest score that any run of the default passes."""
    found = by_variant(rows, tuple(LABELS), ("recall", "worst_recall", "transfer", "score", "lowest_score"))
    return found | {"runs": str(len(rows))}


def figures(rows: Rows) -> list[Panel]:
    """Every run's recall, transfer and score."""
    columns = {"recall": "recall", "transfer": "transfer", "score": "score at layer 1"}
    caption = "Every seed of a setting, last checkpoint; bars: means with 95 % t intervals."
    return [points_panel(rows, list(LABELS), columns, caption)]
