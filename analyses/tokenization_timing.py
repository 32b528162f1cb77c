"""Does the tokenization move the phases of learning, on which clock, and what does it do to transfer?

    python -m analyses.tokenization_timing [--runs runs/tokenization_timing] [--trained]

trains what is missing (python -m mechxl.sweep; complete runs are skipped), measures every run, prints the tables and
the tests, and writes results/tokenization_timing.json and reports/studies/tokenization_timing.html. --trained: trains
nothing, and takes the runs that are there; those that are missing are named.

Hypothesis (claim 6 of Blum et al. 2025: changing the tokenization changes transfer; and claim 1, that unification is a
phase). With equal facts, model, batch and steps: (a) the more tokens a word has, the later recall is half-risen, by
step, as an answer takes more steps to assemble; (b) the same holds by tokens seen, as more tokens tell the same fact;
(c) transfer at the end falls with the number of tokens of a word.

Grid, fixed before any of these runs. Word, BPE with 800, 400 and 200 tokens, syllable, character, byte; seeds 0 to 5;
words and names of two syllables, each language in a script of its own, 400 entities, batch 256, 3,000 steps, evaluated
every 25; everything else at its default. The sizes were chosen on seed 100 (2,400 steps): all kinds recalled .96 or
more, and word transferred 1.00, BPE-800 .68, syllable .52, BPE-400 .21, BPE-200 .12, character .09, byte .06; (c) is
what that one seed showed, and is tested on others.

Test. Tokens of a word: the mean number of tokens of a name and a value's word, a number a kind. Onsets: question
`phases`, accuracy. A seed counts for a pair of kinds where both runs have a transition. (a), (b) Within each seed,
Spearman's rho over kinds between tokens of a word and ln of recall's half-rise, by step and by tokens seen; six rhos,
two-sided exact sign test over seeds; refuted if they do not all have the sign that is expected (p = .031). (c) The same
with transfer at the end. Three tests, Holm; unification at the layer whose score ends highest, and transfer's onset,
are described, with kinds whose runs have no transition named as such. A recall below .95 at the end is said.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analyses.language import spearman
from mechxl.comparison.compute import clocks
from mechxl.findings import signed
from mechxl.questions.ask import ask
from mechxl.report.comparison import write_comparison
from mechxl.run import Run
from mechxl.sweep import read_study, sweep

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "tokenization_timing.json"
PAGE = HERE.parent / "reports" / "studies" / "tokenization_timing.html"
KINDS = ("word", "bpe_800", "bpe_400", "syllable", "bpe_200", "character", "byte")
SEEDS = range(6)


def main() -> None:
    """Trains what is missing, measures, prints, writes the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/tokenization_timing"), help="where the runs are")
    parser.add_argument("--trained", action="store_true", help="take the runs that are there")
    options = parser.parse_args()
    if not options.trained:
        sweep(read_study(HERE / "studies" / "tokenization_timing.toml"), options.runs)
    places = [options.runs / f"{kind},seed={seed}" for kind in KINDS for seed in SEEDS]
    runs = [Run(place) for place in places if (place / "COMPLETE").is_file()]
    if missing := [place.name for place in places if not (place / "COMPLETE").is_file()]:
        print(f"Not trained, and left out: {', '.join(missing)}\n")
    rows = [measured(run) for run in runs]
    RESULTS.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{table(rows)}\n\n{tests(rows)}")
    write_comparison(runs, PAGE, plotly="beside")


def measured(run: Run) -> dict[str, Any]:
    """One run's row; null where something has no onset."""
    corpus, found, last = run.corpus, ask(run, "phases"), run.metrics.iloc[-1]
    lexicon = corpus.lexicon
    length = (corpus.word_tokens >= 0).sum(axis=1)
    seen = corpus.world.entity[corpus.world.seen]
    words = (lexicon.names[np.unique(seen)], lexicon.value_words)
    row: dict[str, Any] = {"run": run.name.split(",")[0], "seed": run.config.seed}
    row["tokens_of_a_word"] = float(np.mean([length[of[of >= 0]].mean() for of in words]))
    row["tokens_a_step"] = clocks(run)["tokens_a_step"]
    row["recall"], row["transfer"] = float(last["recall_accuracy"]), float(last["transfer_accuracy"])
    layer = found.notes["headline"]
    named = {"recall": ("recall", "accuracy"), "score": (f"unification, layer {layer}", "score"),
             "transfer": ("transfer", "accuracy")}  # fmt: skip
    for key, (quantity, unit) in named.items():
        onsets = found.tables["onsets"]
        one = onsets[(onsets["quantity"] == quantity) & (onsets["unit"] == unit)].to_dict("records")[0]
        row[f"{key}_outcome"] = one["outcome"]
        row[f"{key}_onset"] = float(one["step"]) if one["outcome"] == "transition" else None
        if key == "score":
            row["score_end"] = float(one["last"])
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def values(rows: list[dict[str, Any]], kind: str, key: str) -> np.ndarray:
    """A kind's numbers by seed, NaN where there is none."""
    return np.array([np.nan if row[key] is None else row[key] for row in rows if row["run"] == kind], dtype=float)


def table(rows: list[dict[str, Any]]) -> str:
    """A row a kind: means with t intervals over seeds, onsets as geometric means."""
    columns = {"recall": "recall", "transfer": "transfer", "score_end": "score at the end"}
    onsets = {"recall_onset": "recall, step", "score_onset": "unification, step", "transfer_onset": "transfer, step"}
    head = ["kind", "tokens of a word", *columns.values(), *onsets.values(), "recall, tokens seen"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for kind in (kind for kind in KINDS if any(row["run"] == kind for row in rows)):
        cells = [kind, f"{values(rows, kind, 'tokens_of_a_word').mean():.2f}"]
        for key in columns:
            one = values(rows, kind, key)
            half = stats.t.ppf(0.975, len(one) - 1) * stats.sem(one)
            ends = f"[{signed(one.mean() - half)}, {signed(one.mean() + half)}]"
            cells.append(f"{signed(float(one.mean()))} {ends} ({' '.join(signed(float(v)) for v in np.sort(one))})")
        scales = [np.ones(len(values(rows, kind, "seed")))] * 3 + [values(rows, kind, "tokens_a_step")]
        for key, scale in zip((*onsets, "recall_onset"), scales, strict=True):
            cells.append(_onset(values(rows, kind, key) * scale))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _onset(found: np.ndarray) -> str:
    known = np.sort(found[~np.isnan(found)])
    if len(known) < 2:
        return f"{len(known)} of {len(found)} runs"
    ln = np.log(known)
    half = stats.t.ppf(0.975, len(ln) - 1) * stats.sem(ln)
    low, mean, high = (f"{np.exp(v):,.0f}" for v in (ln.mean() - half, ln.mean(), ln.mean() + half))
    return f"{mean} [{low}, {high}] ({len(known)} of {len(found)})"


def tests(rows: list[dict[str, Any]]) -> str:
    """The tests that the docstring fixes, in words."""
    said, ps = [], []
    for name, key, scale, sign in (
        ("(a) recall's half-rise by step", "recall_onset", None, 1),
        ("(b) recall's half-rise by tokens seen", "recall_onset", "tokens_a_step", 1),
        ("(c) transfer at the end", "transfer", None, -1),
    ):
        rhos = []
        for seed in SEEDS:
            of = [row for row in rows if row["seed"] == seed and row[key] is not None]
            y = [row[key] * (row[scale] if scale else 1) for row in of]
            rhos.append(spearman(np.array([row["tokens_of_a_word"] for row in of]), np.array(y)))
        agree = sum(np.sign(rho) == sign for rho in rhos)
        ps.append(float(stats.binomtest(agree, len(rhos)).pvalue))
        shown = " ".join(signed(rho) for rho in rhos)
        said.append(f"{name} with tokens of a word: Spearman over kinds, by seed: {shown}; {agree} of 6 as expected")
    corrected = np.asarray(multipletests(ps, method="holm")[1])
    return "\n".join(
        f"{text}, sign test p = {p:.3f}, after Holm {q:.3f}." for text, p, q in zip(said, ps, corrected, strict=True)
    )


if __name__ == "__main__":
    main()
