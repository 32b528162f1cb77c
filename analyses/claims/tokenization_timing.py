"""Does the tokenization move the phases of learning, on which clock, and what does it do to transfer?

    python -m analyses tokenization_timing

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

Added after the first result: seeds 6 to 15, since with six seeds no sign test of three could clear .05 after Holm (the
first result had every sign as expected in all six). The tests are given for all sixteen seeds, and for the ten new ones
alone. The default recipe had changed meanwhile (study `rest`), so that the first six were trained again as well.
So had the question `phases`: it tells two rises from one, and the onset of a curve that rises twice is that of its
first rise. The tests go on with that onset. Described beside: recall's half-rise whatever its shape, which is what the
onset of a single rise had stood for.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from statsmodels.stats.multitest import multipletests

from analyses.statistics import (
    Rows,
    all_points,
    by_variant,
    least_p,
    p_value,
    points_panel,
    sign_test,
    spearman,
    t_interval,
    values,
)
from analyses.study import variant
from mechxl.comparison.compute import clocks
from mechxl.findings import signed
from mechxl.measures.rises import RESOLVED
from mechxl.plots import Panel
from mechxl.questions.ask import ask
from mechxl.questions.phases.named import RAW
from mechxl.run import Run

GRID = {
    "seeds": 16,
    "base": {
        "world.n_entities": 400,
        "languages.word_length": 2,
        "languages.script": "distinct",
        "training": {"steps": 3000, "batch_size": 256, "evaluate_every": 25},
    },
    "runs": [
        {"name": "word", "tokenization.kind": "word"},
        {"name": "syllable", "tokenization.kind": "syllable"},
        {"name": "bpe_800", "tokenization": {"kind": "bpe", "vocab_size": 800}},
        {"name": "bpe_400", "tokenization": {"kind": "bpe", "vocab_size": 400}},
        {"name": "bpe_200", "tokenization": {"kind": "bpe", "vocab_size": 200}},
        {"name": "character", "tokenization.kind": "character"},
        {"name": "byte", "tokenization.kind": "byte"},
    ],
}
FIRST_ADDED = 6  # the first seed that was added after the first result
KINDS = ("word", "bpe_800", "bpe_400", "syllable", "bpe_200", "character", "byte")
ENDS = {"recall": "recall", "transfer": "transfer", "score_end": "score at the end"}
ONSETS = {
    "recall_onset": "recall, step",
    "recall_half": "recall half-risen, step",
    "score_onset": "unification, step",
    "transfer_onset": "transfer, step",
}


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row; null where something has no onset."""
    corpus, phases, last = run.corpus, ask(run, "phases"), run.metrics.iloc[-1]
    lexicon = corpus.lexicon
    length = (corpus.word_tokens >= 0).sum(axis=1)
    seen = corpus.world.entity[corpus.world.seen]
    inventories = (lexicon.names[np.unique(seen)], lexicon.value_words)
    row: dict[str, Any] = {"run": variant(run), "seed": run.config.seed}
    row["tokens_of_a_word"] = float(np.mean([length[words[words >= 0]].mean() for words in inventories]))
    row["tokens_a_step"] = clocks(run)["tokens_a_step"]
    row["recall"], row["transfer"] = float(last["recall_accuracy"]), float(last["transfer_accuracy"])
    layer = phases.notes["headline"]
    named = {"recall": ("recall", "accuracy"), "transfer": ("transfer", "accuracy")}
    named["score"] = RAW.at(layer), RAW.units[1]
    for key, (quantity, unit) in named.items():
        onsets = phases.tables["onsets"]
        one = onsets[(onsets["quantity"] == quantity) & (onsets["unit"] == unit)].to_dict("records")[0]
        row[f"{key}_outcome"] = one["outcome"]
        row[f"{key}_onset"] = float(one["step"]) if one["outcome"] in RESOLVED else None
        if key == "score":
            row["score_end"] = float(one["last"])
        if key == "recall":
            row["recall_half"] = float(one["half_step"]) if np.isfinite(one["half_step"]) else None
    return [{key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}]


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """A row a kind, and the tests that the docstring fixes."""
    kinds = [kind for kind in KINDS if any(row["run"] == kind for row in rows)]
    new = [row for row in rows if row["seed"] >= FIRST_ADDED]
    return {
        "kinds": pd.DataFrame([_kind(rows, kind) for kind in kinds]),
        "tests": pd.DataFrame({"test": _tests(rows)}),
        "added": pd.DataFrame({"test": _tests(new) if new else ["No run of these seeds."]}),
    }


def _kind(rows: Rows, kind: str) -> dict[str, str]:
    """Means with t intervals over seeds, and onsets as geometric means."""
    tokens_seen = values(rows, kind, "recall_onset") * values(rows, kind, "tokens_a_step")
    return {
        "kind": kind,
        "tokens of a word": f"{values(rows, kind, 'tokens_of_a_word').mean():.2f}",
        **{label: all_points(values(rows, kind, key)) for key, label in ENDS.items()},
        **{label: _onset(values(rows, kind, key)) for key, label in ONSETS.items()},
        "recall, tokens seen": _onset(tokens_seen),
    }


def _onset(by_seed: Float[np.ndarray, " seed"]) -> str:
    known = np.sort(by_seed[~np.isnan(by_seed)])
    if len(known) < 2:
        return f"{len(known)} of {len(by_seed)} runs"
    mean, low, high = (f"{np.exp(value):,.0f}" for value in t_interval(np.log(known)))
    return f"{mean} [{low}, {high}] ({len(known)} of {len(by_seed)})"


def numbers(rows: Rows) -> dict[str, str]:
    """Means by kind, onsets as geometric means, outcomes of transfer, and the tests."""
    found = by_variant(rows, KINDS, ("recall", "transfer", "score_end", "tokens_of_a_word"))
    for kind in KINDS:
        runs = [row for row in rows if row["run"] == kind]
        for key in ONSETS:
            found[f"{key}.{kind}"] = _geometric(values(rows, kind, key))
        tokens = values(rows, kind, "tokens_a_step") / 1e6
        found[f"recall_million_tokens.{kind}"] = _geometric(values(rows, kind, "recall_onset") * tokens, 2)
        found[f"half_million_tokens.{kind}"] = _geometric(values(rows, kind, "recall_half") * tokens, 2)
        found[f"recall.twice.{kind}"] = str(sum(row["recall_outcome"] == "rises twice" for row in runs))
        unfinished = sum("not finished" in row["transfer_outcome"] for row in runs)
        dated = sum(row["transfer_onset"] is not None for row in runs)
        found |= {f"transfer.unfinished.{kind}": str(unfinished), f"transfer.dated.{kind}": str(dated)}
        found[f"transfer.undated.{kind}"] = str(len(runs) - dated - unfinished)
        found[f"recall.below_.95.{kind}"] = str(sum(row["recall"] < 0.95 for row in runs))
        found[f"score_end.below_0.{kind}"] = str(sum(row["score_end"] < 0 for row in runs))
    seeds = min(len(values(rows, kind, "seed")) for kind in {row["run"] for row in rows})
    found |= {"runs": str(len(rows)), "seeds": str(seeds), "least_p": least_p(seeds)}
    found["least_p.holm"] = least_p(seeds, tests=3)
    new = [row for row in rows if row["seed"] >= FIRST_ADDED]
    for which, part in (("", rows), (".added", new)):
        for letter, (_, rhos, agree, p, corrected) in zip("abc", _tested(part) if part else (), strict=False):
            sizes, test = np.abs(rhos), f"{letter}{which}"
            found |= {f"{test}.agree": str(agree), f"{test}.p": p_value(p), f"{test}.p.holm": p_value(corrected)}
            found |= {f"{test}.least": signed(float(sizes.min())), f"{test}.most": signed(float(sizes.max()))}
    found["recall.twice"] = str(sum(row["recall_outcome"] == "rises twice" for row in rows))
    for letter, scale in (("a", None), ("b", "tokens_a_step")):
        sizes = _rhos(rows, "recall_half", scale)
        found |= {f"{letter}.half.least": signed(min(sizes)), f"{letter}.half.most": signed(max(sizes))}
    return found


def _geometric(by_seed: Float[np.ndarray, " seed"], digits: int = 0) -> str:
    known = by_seed[~np.isnan(by_seed)]
    mean = float(np.exp(np.log(known).mean())) if len(known) else float("nan")
    return "undefined" if not len(known) else signed(mean, digits) if digits else f"{mean:,.0f}"


def _tested(rows: Rows) -> list[tuple[str, list[float], int, float, float]]:
    """Of each test: what it is of, rho by seed, in how many seeds its sign is as expected, p, and p after Holm."""
    found = []
    for name, key, scale, sign in (
        ("(a) recall's half-rise by step", "recall_onset", None, 1),
        ("(b) recall's half-rise by tokens seen", "recall_onset", "tokens_a_step", 1),
        ("(c) transfer at the end", "transfer", None, -1),
    ):
        rhos = _rhos(rows, key, scale)
        agree = sum(np.sign(rho) == sign for rho in rhos)
        found.append((name, rhos, int(agree), sign_test(np.where(np.sign(rhos) == sign, 1, -1))))
    corrected = np.asarray(multipletests([p for *_, p in found], method="holm")[1])
    return [(*one, float(p)) for one, p in zip(found, corrected, strict=True)]


def _rhos(rows: Rows, key: str, scale: str | None) -> list[float]:
    """Within each seed, Spearman's rho over kinds between tokens of a word and a number, times another one if given."""
    rhos = []
    for seed in sorted({row["seed"] for row in rows}):
        runs = [row for row in rows if row["seed"] == seed and row[key] is not None]
        y = np.array([row[key] * (row[scale] if scale else 1) for row in runs])
        rhos.append(spearman(np.array([row["tokens_of_a_word"] for row in runs]), y))
    return rhos


def _tests(rows: Rows) -> list[str]:
    return [
        f"{name} with tokens of a word: Spearman over kinds, by seed: {' '.join(map(signed, rhos))}; "
        f"{agree} of {len(rhos)} as expected, sign test p = {p_value(p)}, after Holm {p_value(corrected)}."
        for name, rhos, agree, p, corrected in _tested(rows)
    ]


def figures(rows: Rows) -> list[Panel]:
    """Every run's numbers by kind of tokens."""
    caption = (
        "Every seed of a kind; bars: means with 95 % t intervals over seeds. Onsets of runs that have a transition."
    )
    return [points_panel(rows, KINDS, ENDS | ONSETS, caption)]
