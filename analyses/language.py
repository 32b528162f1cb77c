"""Do informativeness and extractability of the language decide how far a model unifies, and what it transfers?

    python -m mechxl.sweep analyses/studies/language.toml
    python -m analyses.language [--runs runs/language]

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
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from mechxl.data.information import informativeness
from mechxl.findings import signed
from mechxl.instruments.activations.store import activations
from mechxl.measures.sample import draw_sample
from mechxl.measures.score import score
from mechxl.measures.vectors import centre, unit
from mechxl.questions.ask import ask
from mechxl.random import generator
from mechxl.run import Run

RESULTS = Path(__file__).parent / "results" / "language.json"
VARIANTS = ("informative_0", "informative_half", "informative_1", "informative_0_dropout", "informative_1_dropout")
SEEDS = range(6)
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


def main() -> None:
    """Measures every run, writes the numbers, prints the table and the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/language"), help="where the runs are")
    options = parser.parse_args()
    rows = [measured(options.runs, name, seed) for name in VARIANTS for seed in SEEDS]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"{table(rows)}\n\n{tests(rows)}")


def measured(runs: Path, name: str, seed: int) -> dict[str, Any]:
    """One run's row."""
    run = Run(runs / f"{name},seed={seed}")
    corpus, last = run.corpus, run.metrics.iloc[-1]
    found = ask(run, "language_identity").tables
    probes = found["probes"]
    here = (probes["step"] == run.steps[-1]) & (probes["role"] == "prompt_last") & (probes["labels"] == "true")
    erased = found["erasure"]
    gone = erased[(erased["step"] == run.steps[-1]) & (erased["from_layer"] == 1) & (erased["erased"] == "language")]
    facts = np.flatnonzero(corpus.mixture.group == "mono")
    h = activations(run, "resid_post", facts=facts, steps=run.steps[-1], layers=[1, 2]).squeeze()
    row: dict[str, Any] = {"run": name, "seed": seed, "n_facts": len(facts)}
    row["data_bits"] = informativeness(corpus, 0, mono_only=True).bits
    for layer in (1, 2):
        row[f"model_bits_{layer}"] = float(probes[here & (probes["layer"] == layer)]["bits"].iloc[0])
        x = h.sel(layer=layer).transpose("fact", "language", "d_model").values.astype(float)
        relation, entity = corpus.world.relation[facts], corpus.world.entity[facts]
        sample = draw_sample(relation, entity, 2, generator(0, "score"), draws=0, permutations=0)
        row[f"score_{layer}"] = score(unit(centre(x, "whole")), sample)["score"].pooled.value
    row["recall"], row["transfer"] = float(last["recall_accuracy"]), float(last["transfer_accuracy"])
    for asked in ("recall", "transfer"):
        row[f"erased_{asked}"] = float(gone[gone["asked"] == asked]["change"].iloc[0])
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """A row a configuration: the mean with its t interval over six seeds, and all points."""
    lines = ["| configuration | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in VARIANTS:
        cells = []
        for key in COLUMNS:
            values = np.array([row[key] for row in rows if row["run"] == name])
            half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
            low, high = values.mean() - half, values.mean() + half
            points = " ".join(signed(float(value)) for value in sorted(values))
            cells.append(f"{signed(float(values.mean()))} [{signed(low)}, {signed(high)}] ({points})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank."""
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])


def tests(rows: list[dict[str, Any]]) -> str:
    """The tests that the docstring fixes, in words."""
    said = []
    level = {"informative_0": 0.0, "informative_half": 0.5, "informative_1": 1.0}
    shown = [row for row in rows if row["run"] in level]
    k, draws = np.array([level[row["run"]] for row in shown]), generator(0, "runs permuted")
    for key in ("transfer", "score_1", "score_2", "model_bits_1", "model_bits_2"):
        values = np.array([row[key] for row in shown])
        rho = spearman(k, values)
        null = [abs(spearman(k, draws.permutation(values))) for _ in range(10_000)]
        p = (1 + int(np.sum(np.array(null) >= abs(rho) - 1e-12))) / 10_001
        said.append(f"(a) {key} with informativeness, 18 runs: Spearman {signed(rho)}, p = {p:.4f}.")
    for at in ("informative_0", "informative_1"):
        for key in ("transfer", "score_1", "score_2", "model_bits_1", "model_bits_2"):
            pair = [
                np.array([row[key] for row in rows if row["run"] == name and row["seed"] in SEEDS])
                for name in (f"{at}_dropout", at)
            ]
            gained = pair[0] - pair[1]
            p = stats.binomtest(int((gained > 0).sum()), int((gained != 0).sum())).pvalue if gained.any() else 1.0
            low, high = stats.t.interval(0.95, len(gained) - 1, gained.mean(), stats.sem(gained))
            change = f"{signed(float(gained.mean()))} [{signed(low)}, {signed(high)}]"
            said.append(
                f"(b) {at}, {key} with dropout less without, {len(gained)} seeds: {change}, sign test p = {p:.3f}."
            )
    return "\n".join(said)


if __name__ == "__main__":
    main()
