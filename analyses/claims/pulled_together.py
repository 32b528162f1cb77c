"""Does transfer follow when training pulls the languages' vectors of a fact together, or pushes them apart?

    python -m analyses pulled_together

Hypothesis (claim 2 of Blum et al. 2025, as a cause): unification is essential for transfer. If so, an added loss that
aligns the languages' vectors of a fact (`training.pull`, docs/unification.md: mean cosine C of a fact's vectors in two
languages, each language's mean over a relation's facts taken off; layer 1, the prompt's last token; no answer is shown)
raises transfer, and one that takes their alignment away lowers it, at equal recall; and aligning the wrong facts as
much does not raise it.

Grid, fixed before any of these runs; 11 arms, seeds 100 to 111, which no other study uses: 132 runs. The default's
languages (words of their own, names shared, no tag, half of the facts parallel) in a smaller world, for want of time:
200 entities, d_model 32, d_mlp 128, batches of 256, 1,000 steps. Arms: no pull; pulls of weight .1 and .3, pushes of .1
and .3, on all facts; the same pulls, and the push of .3, on permuted pairs (control: the wrong facts, always the same
two); a pull of .3 on parallel facts alone, so that no prompt of a transfer question is read; the trained null
(shared_facts 0) without a pull and with one of .3.

Seen before, on seeds 900 and 901 with this recipe (one or two runs an arm): transfer without a pull .23 and .44 (with
parallel_fraction .1, .2 and .3 it was .07 to .17, so .5 was kept: there is room on both sides); pull .1: .43 and .58;
pull .3: .51 and .64; pull 3: .46; push .1: .17 and .32; push .3: .13 and .28; pull .3 on parallel facts: .53 and .62;
permuted pull .1: .34 and .40; permuted push .3: .29 and .60; null with a pull: .11 and .12. Recall was complete (.998
or more) in these, but .97 and .98 with the permuted pull of .3, .92 with a push of 3, .31 with a permuted pull of 3: so
weights stop at .3. Of two runs the other measures were seen: push .1 (C .06, causal unification .76) and null with a
pull (C .99, causal unification -.11). So the directions of (a), (c) and (e) are no surprise; (b), (d), (f) and (g) are
open.

Measured at the end of each run: recall; transfer (all items); steps to recall (the first evaluation, every 20 steps,
with .99 or more) and transfer there; of mono facts at layer 1: C over all facts, S - W and S - X (whole-sample
centring); causal unification of parallel facts and of mono facts that transfer (question `patching`, default
precision); by fact: the cosine of a mono fact's two vectors (centred as in the loss) against whether its transfer item
is answered rightly, as AUC within relation and told language.

Tests, over twelve seeds, two-sided exact sign tests, Holm over all thirteen.
(a) Transfer at the end: pull .3 less no pull; no pull less push .3.
(b) The same at equal recall: transfer at the first evaluation with recall .99.
(c) A third of the weight: pull .1 less no pull; no pull less push .1.
(d) The right pairing: transfer with pull .3 less permuted pull .3; pull .1 less permuted pull .1; permuted push .3 less
    push .3.
(e) Without reading any prompt of a transfer question: pull .3 on parallel facts less no pull.
(f) By fact, without a pull: AUC less 1/2.
(g) What is used follows: causal unification of parallel facts, pull .3 less no pull; no pull less push .3.
An arm in which a run ends with recall below .99 is not at equal recall: the note says so, and its contrast in (a), (c),
(d) does not count. Unification causes transfer here if (a), (b) and a counting contrast of (d) hold, in both
directions; in part if in one. It is refuted as a cause here if C moves by more than .1 in both directions and
transfer in neither. "Essential" is more than that: what transfer is left at the strongest push, above the best
guess, is given with the C that is left.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from analyses.contrasts import Contrast, Tested, all_tested, as_numbers, as_table
from analyses.ends import RECALLED, mono_sample, mono_vectors, plain, scores_of
from analyses.statistics import Rows, by_variant, points_panel, t_interval, values, with_interval
from analyses.study import variant
from mechxl.data.guesses import no_fact_accuracies
from mechxl.data.transfer import transfer_items
from mechxl.findings import signed
from mechxl.measures.vectors import unit
from mechxl.plots import Panel
from mechxl.questions.ask import ask
from mechxl.run import Run
from mechxl.sweep.study import parse_study

GRID = {
    "seeds": [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111],
    "base": {
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
        {"name": "none"},
        {"name": "pull_.1", "training.pull": 0.1},
        {"name": "pull_.3", "training.pull": 0.3},
        {"name": "push_.1", "training.pull": -0.1},
        {"name": "push_.3", "training.pull": -0.3},
        {"name": "pull_.1_permuted", "training.pull": 0.1, "training.pull_pairs": "permuted"},
        {"name": "pull_.3_permuted", "training.pull": 0.3, "training.pull_pairs": "permuted"},
        {"name": "push_.3_permuted", "training.pull": -0.3, "training.pull_pairs": "permuted"},
        {"name": "pull_.3_parallel", "training.pull": 0.3, "training.pull_facts": "parallel"},
        {"name": "null", "world.shared_facts": 0.0},
        {"name": "null_pull_.3", "world.shared_facts": 0.0, "training.pull": 0.3},
    ],
}
ARMS = [str(run["name"]) for run in GRID["runs"]]
MEASURED = {
    "recall": "recall",
    "transfer": "transfer",
    "recalled": "steps to recall",
    "transfer_then": "transfer at recall .99",
    "aligned": "C, mono facts",
    "score_1": "score S − W",
    "alignment_1": "S − X",
    "causal": "causal unification, parallel facts",
    "causal_mono": "causal unification, mono facts that transfer",
    "auc": "AUC of transfer by a fact's cosine",
}
TESTS = (
    Contrast("a.pull", "(a) transfer: pull .3 less no pull", "transfer", "pull_.3", "none"),
    Contrast("a.push", "(a) transfer: no pull less push .3", "transfer", "none", "push_.3"),
    Contrast("b.pull", "(b) transfer at recall .99: pull .3 less no pull", "transfer_then", "pull_.3", "none"),
    Contrast("b.push", "(b) transfer at recall .99: no pull less push .3", "transfer_then", "none", "push_.3"),
    Contrast("c.pull", "(c) transfer: pull .1 less no pull", "transfer", "pull_.1", "none"),
    Contrast("c.push", "(c) transfer: no pull less push .1", "transfer", "none", "push_.1"),
    Contrast("d.pull_.3", "(d) transfer: pull .3 less the same, permuted", "transfer", "pull_.3", "pull_.3_permuted"),
    Contrast("d.pull_.1", "(d) transfer: pull .1 less the same, permuted", "transfer", "pull_.1", "pull_.1_permuted"),
    Contrast("d.push", "(d) transfer: permuted push .3 less push .3", "transfer", "push_.3_permuted", "push_.3"),
    Contrast("e", "(e) transfer: pull .3 on parallel facts less no pull", "transfer", "pull_.3_parallel", "none"),
    Contrast("g.pull", "(g) causal unification: pull .3 less no pull", "causal", "pull_.3", "none"),
    Contrast("g.push", "(g) causal unification: no pull less push .3", "causal", "none", "push_.3"),
)


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row."""
    from mechxl.questions.unification.transfer import answered_right, items_of  # torch, which kept results do without

    corpus, metrics, step = run.corpus, run.metrics, run.steps[-1]
    last, complete = metrics.iloc[-1], metrics[metrics["recall_accuracy"] >= RECALLED]
    facts = np.flatnonzero(corpus.mixture.group == "mono")
    x = mono_vectors(run)
    scores, cosine = scores_of(x, mono_sample(run)), cosines(x, corpus.world.relation[facts])
    items = items_of(corpus, facts)
    right = answered_right(run, step, items)
    row = {
        "run": variant(run),
        "seed": run.config.seed,
        "recall": float(last["recall_accuracy"]),
        "transfer": float(last["transfer_accuracy"]),
        "guess": no_fact_accuracies(corpus, transfer_items(corpus)).by_asked,
        "recalled": int(complete["step"].iloc[0]) if len(complete) else None,
        "transfer_then": float(complete["transfer_accuracy"].iloc[0]) if len(complete) else None,
        "aligned": float(cosine.mean()),
        "score_1": scores["score"],
        "alignment_1": scores["alignment"],
        "auc": auc_within(cosine[items.index], right, items.stratum),
    } | _causal(run)
    return [{key: plain(value) for key, value in row.items()}]


def cosines(x: Float[np.ndarray, "fact two d_model"], relation: Int[np.ndarray, " fact"]) -> Float[np.ndarray, " fact"]:
    """Each fact's cosine of its vectors in two languages, centred by language and relation as in the loss."""
    centred = x.copy()
    for one in np.unique(relation):
        centred[relation == one] -= x[relation == one].mean(axis=0)
    u = unit(centred)
    return np.einsum("fd,fd->f", u[:, 0], u[:, 1])


def auc_within(
    scores: Float[np.ndarray, " item"], right: Bool[np.ndarray, " item"], stratum: Int[np.ndarray, " item"]
) -> float:
    """How often a right item's score is above a wrong one's of its stratum (ties: half), over all such pairs."""
    above, pairs = 0.0, 0
    for one in np.unique(stratum):
        first, second = (scores[(stratum == one) & side] for side in (right, ~right))
        difference = np.subtract.outer(first, second)
        above, pairs = above + float(((np.sign(difference) + 1) / 2).sum()), pairs + difference.size
    return above / pairs if pairs else float("nan")


def _causal(run: Run) -> dict[str, float]:
    curve = ask(run, "patching").tables["curve"]
    at_end = curve[(curve["step"] == run.steps[-1]) & (curve["direction"] == "both")].set_index("group")["unification"]
    groups = {"causal": "parallel", "causal_mono": "mono, transferred"}
    return {key: float(at_end.get(group, np.nan)) for key, group in groups.items()}


def _tests(rows: Rows) -> list[Tested]:
    by_fact = values(rows, "none", "auc") - 0.5
    says = "(f) AUC of transfer by a fact's cosine, no pull, less 1/2"
    return all_tested(rows, TESTS, {"f": (says, by_fact[~np.isnan(by_fact)])})


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """Means by arm, and the tests."""
    arms = []
    for arm in ARMS:
        cells = {"arm": arm, "recall below .99": _low(rows, arm)}
        for key, name in MEASURED.items():
            points = values(rows, arm, key)
            points = points[~np.isnan(points)]
            cells[name] = with_interval(points, 0 if key == "recalled" else 2) if len(points) > 1 else "undefined"
        arms.append(cells)
    return {"arms": pd.DataFrame(arms), "tests": as_table(_tests(rows), 2)}


def _low(rows: Rows, arm: str) -> str:
    recall = values(rows, arm, "recall")
    return f"{int((recall < RECALLED).sum())} of {len(recall)}"


def numbers(rows: Rows) -> dict[str, str]:
    """Means of all arms, how many runs recall too little, the tests, and what they say together."""
    keys = [key for key in MEASURED if key != "recalled"]
    found = by_variant(rows, ARMS, [*keys, "guess"]) | by_variant(rows, ARMS, ["recalled"], 0)
    tests = _tests(rows)
    found |= as_numbers(tests, 2) | {"runs": str(len(rows)), "planned": str(len(parse_study(GRID).runs))}
    found |= {f"low_recall.{arm}": _low(rows, arm).partition(" ")[0] for arm in ARMS}
    found["seeds"] = str(min(len(values(rows, arm, "transfer")) for arm in ARMS))
    left = values(rows, "push_.3", "transfer") - values(rows, "push_.3", "guess")
    _, low, _ = t_interval(left)
    found |= {"left": signed(float(left.mean())), "left.interval": with_interval(left), "left.low": signed(low)}
    found["cause"] = _cause(tests, {arm for arm in ARMS if found[f"low_recall.{arm}"] != "0"})
    return found


def _cause(tests: list[Tested], low: set[str]) -> str:
    """both: a pull raises and a push lowers transfer, with a, b and a counting contrast of d; or only one; or none."""
    arms = {test.name: {test.one, test.other} for test in TESTS}
    clear = {
        test.name
        for test in tests
        if test.numbers.mean() > 0 and test.holm <= 0.05 and (test.name[0] not in "acd" or not arms[test.name] & low)
    }
    pull = {"a.pull", "b.pull"} <= clear and bool({"d.pull_.1", "d.pull_.3"} & clear)
    push = {"a.push", "b.push", "d.push"} <= clear
    return "both" if pull and push else "pull" if pull else "push" if push else "none"


def figures(rows: Rows) -> list[Panel]:
    """Every run by arm."""
    caption = (
        "Every run at the end of training, with means and 95 % t intervals over seeds. C: mean cosine of a mono fact's "
        "vectors in two languages at layer 1, each language's mean over the relation's facts taken off. Causal "
        "unification: of parallel facts."
    )
    shown = {key: MEASURED[key] for key in ("transfer", "recall", "aligned", "causal", "transfer_then", "alignment_1")}
    return [points_panel(rows, ARMS, shown | {"causal": "causal unification"}, caption)]
