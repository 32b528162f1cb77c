"""Does this implementation show what the paper describes? Eight settings, each with bounds that could fail.

    .venv/bin/python -m analyses.replication [--runs runs/replication] [--workers 2]

Hypothesis. A small Transformer first learns the marginals of the answers, then the facts; while it learns them, the
languages' representations unify, and facts told in one language only are answered in the other. How far that goes
depends on parallel facts, on shared names, and on how informative and how hidden the language is.

Grid. The settings below, seeds 0, 1 and 2 (one seed for the large world), everything else at its default.

Test. Each bound must hold in every seed. `recall`, `transfer`: final accuracies over all items; `worst_recall`: of the
worst language. `score`: S - W of mono facts at layer 1 (same-relation baseline, whole-sample centring) at the end;
`early_score`: its largest value before step 300. `over_guess`: how far transfer lies outside the exact no-fact
accuracies. `plateau_evaluations`: evaluations in a row, before recall begins, with the loss within 3 % of H(A | R) or
H(A | R, S); `nearer_readers`: KL(P(A | R) || model) - KL(P(A | R, S) || model) on unseen entities there, at the nearest
checkpoint. It is refuted by any run outside its bounds or without the number; what came out is printed and written to
analyses/results/replication.json either way.

What was known, and what was changed. The bounds on recall, transfer and score were set before any run, as what the
implementation had to reach; but most of the runs had been looked at once, on these same seeds, before this file was
written, so that it is a check and no prediction. After its first results, which were inside all bounds:
- the large world's 3,000 steps ended with recall .114 against .067 by guessing, so a run of 6,000 steps was added
  beside it to see the plateau end;
- its bound, that the loss comes within 3 % of a no-knowledge loss, could not fail as it was computed; it became that
  the loss stays there for at least 3 evaluations in a row and that unseen entities say which marginal it is;
- the trained null's recall became that of the worst language, and early_score takes in step 0.

Three seeds say that it can be reproduced; they are too few for a claim about how large an effect is.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mechxl.files import read_rows
from mechxl.findings import Finding
from mechxl.questions.ask import ask
from mechxl.run import Run

RESULTS = Path(__file__).parent / "results" / "replication.json"
WORDS = ["--languages.shared-words", "1", "--languages.cue", "tag", "--mixture.parallel-fraction", "0"]
WORDS += ["--mixture.informativeness", "1", "--training.steps", "2500"]
LARGE = ["--world.n-entities", "8000", "--languages.name-syllables", "24", "--languages.name-length", "3"]
PLATEAU = {"plateau_evaluations": (3.0, float("inf")), "nearer_readers": (0.0, float("inf"))}

# name: (options, seeds, bounds)
GRID: dict[str, tuple[list[str], int, dict[str, tuple[float, float]]]] = {
    "default": ([], 3, {"recall": (0.95, 1), "transfer": (0.5, 1), "score": (0.35, 2), "early_score": (-2, 0)}),
    "parallel_fraction 0.2": (["--mixture.parallel-fraction", "0.2"], 3, {"recall": (0.95, 1), "transfer": (0, 0.3)}),
    "shared_names 0": (["--languages.shared-names", "0"], 3, {"over_guess": (-0.05, 0.05)}),
    "shared_facts 0 (trained null)": (
        ["--world.shared-facts", "0"],
        3,
        {"worst_recall": (0.95, 1), "score": (-2, 0.2)},
    ),
    "words shared, tag, parallel 0, informativeness 1": (WORDS, 3, {"transfer": (0, 0.1)}),
    "the same, cue_dropout 0.5": ([*WORDS, "--languages.cue-dropout", "0.5"], 3, {"transfer": (0.6, 1)}),
    "8,000 entities, longer names": (LARGE, 1, PLATEAU),
    "8,000 entities, longer names, 6,000 steps": ([*LARGE, "--training.steps", "6000"], 1, PLATEAU),
}


def main() -> int:
    """Trains what is missing, measures all, prints the table; 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/replication"), help="where the runs go")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="runs at a time, one thread each")
    options = parser.parse_args()
    jobs = [(name, seed) for name, (_, seeds, _) in GRID.items() for seed in range(seeds)]
    with ThreadPoolExecutor(options.workers) as pool:
        rows = list(pool.map(lambda job: _row(options.runs, *job), jobs))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(rows))
    return int(any(row["outside"] for row in rows))


def _row(runs: Path, name: str, seed: int) -> dict[str, Any]:
    """Trains and measures one run, in processes of its own."""
    arguments, _, bounds = GRID[name]
    path = runs / f"{''.join(c if c.isalnum() else '-' for c in name)}-seed-{seed}"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    train = [sys.executable, "-m", "mechxl.train", "--quiet", "--out", str(path), "--seed", str(seed), *arguments]
    subprocess.run([*train, *(["--resume"] if path.exists() else [])], env=environment, check=True)
    page = ["-m", "mechxl.report", str(path), "--out", str(path.with_suffix(".html")), "--plotly", "beside", "--quiet"]
    subprocess.run([sys.executable, *page], env=environment, check=True, stdout=subprocess.DEVNULL)
    run = Run(path)
    found = measured(run, ask(run, "learning"), ask(run, "unification"))
    outside = {
        key: found[key] for key, (low, high) in bounds.items() if found[key] is None or not low <= found[key] <= high
    }
    print(f"{name}, seed {seed}: {'outside: ' + str(outside) if outside else 'inside its bounds'}", file=sys.stderr)
    return {"name": name, "seed": seed, **found, "outside": outside}


def measured(run: Run, learning: Finding, unification: Finding) -> dict[str, Any]:
    """The numbers of one run that bounds are about, and those that the table shows."""
    last = read_rows(run.file("metrics.jsonl"))[-1]
    score = unification.tables["measures"].query("measure == 'score'")
    curve = score[(score["group"] == "mono") & (score["centring"] == "whole") & (score["layer"] == 1)]
    early = curve[curve["step"] < 300]["value"]
    guesses = learning.tables["no_fact"]["accuracy"]
    transfer = last["transfer_accuracy"]  # None where there are no items
    within = None if transfer is None else min(max(transfer, guesses.min()), guesses.max())
    plateaus = learning.tables["plateaus"]
    longest = plateaus[plateaus["given"] != "nothing"].sort_values("evaluations").iloc[-1]
    prior = learning.tables["prior"]
    there = prior[(prior["step"] >= longest["first"]) & (prior["step"] <= longest["last"])]
    gaps = (there["given_relation"] - there["given_readers"]).to_numpy()
    nearest = there[["given_relation", "given_readers"]].min(axis=1).to_numpy()
    return {
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


def table(rows: list[dict[str, Any]]) -> str:
    """The runs by setting as Markdown: every seed's value."""
    lines = [
        "| what differs from the default | seeds | recall | transfer | score at layer 1 |",
        "|---|---|---|---|---|",
    ]
    for name in GRID:
        of = [row for row in rows if row["name"] == name]
        cells = [" ".join(_short(row[key]) for row in of) for key in ("recall", "transfer", "score")]
        lines.append(f"| {name} | {len(of)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1).replace("-", "−")


if __name__ == "__main__":
    sys.exit(main())
