"""Does the language stand in the way of transfer, once it is erased within each relation?

    python -m analyses erasure

Background. In the default the relation's word tells the language. An eraser that pools relations removes one direction
a language, and leaves the language readable within every relation. One that is fitted within relations removes
relations x (languages - 1) directions. An independent implementation, on one run each, found that the change of
transfer turns round between the two: pooled it falls, within relations it rises (.875 to .954 in the default; .738 to
.877, .803 to .903 and .717 to .852 elsewhere), where controls of equal rank lower it. That was seen before this study;
these runs are new, and nothing else was.

Hypothesis, two-sided. Erasing the language within relations from layer 1 on, at every prompt position, changes transfer
by value. It is open in which direction, and whether controls of equal rank and of equal removed variance do the same.

Grid, fixed before any run. The default; one relation; three languages; informativeness 1. Seeds 0 to 5, one thread,
everything else at its default.

Test. Measured at the last checkpoint, from layer 1 on, on entities that no eraser was fitted on. A run counts where the
erasure is verified: a fresh probe within relations and the language of the answers no longer tell the language (the
question `language_identity` says by which bound). Three differences of transfer by value a run: within relations less
nothing erased; within relations less the random subspace of equal rank; within relations less pooled. Each: two-sided
exact sign test over the runs that count, with Holm's correction over the three, and a t interval by setting. Runs of
one seed share the seeds of world and weights, so the same test over seeds, of the mean over settings, stands beside
(six seeds: p is at least .031). The hypothesis is refuted if the first does not differ from 0 (p > .05 after Holm);
that the language is the cause is refuted if the second does not. Where fewer than six runs count, nothing is concluded,
and the note says so. The rest is described.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from statsmodels.stats.multitest import multipletests

from analyses.ends import plain
from analyses.statistics import (
    Rows,
    all_points,
    by_variant,
    least_p,
    p_value,
    points_panel,
    said,
    sign_test,
    values,
    with_interval,
)
from analyses.study import variant
from mechxl.plots import Panel
from mechxl.run import Run

GRID = {
    "seeds": 6,
    "base": {"training.threads": 1},
    "runs": [
        {"name": "default"},
        {"name": "one_relation", "world.n_relations": 1},
        {"name": "three_languages", "languages.count": 3},
        {"name": "informative_1", "mixture.informativeness": 1.0},
    ],
}
SETTINGS = ("default", "one_relation", "three_languages", "informative_1")
FROM_LAYER = 1
WAYS: tuple[Literal["within", "pooled"], ...] = ("within", "pooled")
FEWEST = 6  # runs that count, for a conclusion
TRANSFER = {
    "before": "before",
    "pooled": "erased pooled",
    "within": "erased within relations",
    "random_rank": "random, same rank",
    "random_variance": "random, same variance",
    "values": "split of values",
}
TOLD = {
    "probe_before": "probe, before",
    "probe_pooled": "probe, pooled",
    "probe_within": "probe, within relations",
    "answers_before": "answers, before",
    "answers_pooled": "answers, pooled",
    "answers_within": "answers, within relations",
}
RECALL = ("recall_before", "recall_pooled", "recall_within")
TESTS = {"before": "nothing erased", "random_rank": "the random subspace of equal rank", "pooled": "erased pooled"}


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row: transfer by value and what still tells the language, before and after each way of erasing."""
    from mechxl.instruments.erasure.leace import ERASURES
    from mechxl.questions.language_identity.answer import ASKED_ENTITIES, halves
    from mechxl.questions.language_identity.erasing import erasure_effects
    from mechxl.questions.language_identity.verified import outcome

    fit, asked = halves(run.corpus, ASKED_ENTITIES)
    row: dict[str, Any] = {"run": variant(run), "seed": run.config.seed}
    for way in WAYS:
        what = ERASURES if way == "within" else ("language",)
        effects, checks = erasure_effects(run, fit, asked, run.steps[-1:], [FROM_LAYER], way, what)
        shares = effects.set_index(["asked", "erased"])["value"]
        told = checks.groupby(["erased", "told_by"])["value"].max()
        row |= {way: shares["transfer", "language"], f"recall_{way}": shares["recall", "language"]}
        row |= {f"{told_by}_{way}": told["language", told_by] for told_by in ("probe", "answers")}
        if way == "within":
            row |= {name: shares["transfer", name] for name in ("random_rank", "random_variance", "values")}
            row |= {"before": shares["transfer", "nothing"], "recall_before": shares["recall", "nothing"]}
            row |= {f"{told_by}_before": told["nothing", told_by] for told_by in ("probe", "answers")}
            after = checks[checks["erased"] == "language"]
            row["n"] = int(effects[effects["asked"] == "transfer"]["n"].iloc[0])
            row["rank"] = int(effects[effects["erased"] == "language"]["rank"].max())
            row["outcome"] = "everything" if after["everything"].any() else outcome(after)
    return [{key: plain(value) for key, value in row.items()}]


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """Transfer by setting, what tells the language by setting, and the tests that the docstring fixes."""
    tables = {
        name: pd.DataFrame(
            [{"setting": setting, **{label: _cell(rows, setting, key) for key, label in columns.items()}}
             for setting in SETTINGS]
        )
        for name, columns in (("transfer", TRANSFER), ("told", TOLD))
    }  # fmt: skip
    tables["told"]["runs that count"] = [f"{len(_counting(rows, name))} of {_n(rows, name)}" for name in SETTINGS]
    return tables | {"tests": pd.DataFrame({"test": _sentences(rows)})}


def _cell(rows: Rows, setting: str, key: str) -> str:
    points = values(rows, setting, key)
    points = points[~np.isnan(points)]
    return all_points(points) if len(points) > 1 else "undefined"


def _n(rows: Rows, setting: str) -> int:
    return len(values(rows, setting, "seed"))


def _counting(rows: Rows, setting: str) -> Rows:
    """The runs of a setting whose erasure within relations is verified, and that have transfer items."""
    return [row for row in rows if row["run"] == setting and row["outcome"] == "gone" and row["within"] is not None]


def _differences(rows: Rows, key: str, settings: tuple[str, ...] = SETTINGS) -> Float[np.ndarray, " run"]:
    """Transfer erased within relations less another, of the runs that count."""
    return np.array([row["within"] - row[key] for name in settings for row in _counting(rows, name)], dtype=float)


def _tests(rows: Rows) -> Mapping[str, tuple[Float[np.ndarray, " run"], float]]:
    """The differences of each test over all runs that count, and p after Holm."""
    differences = {key: _differences(rows, key) for key in TESTS}
    corrected = multipletests([sign_test(difference) for difference in differences.values()], method="holm")[1]
    return {key: (differences[key], float(p)) for key, p in zip(differences, np.asarray(corrected), strict=True)}


def _by_seed(rows: Rows, key: str) -> Float[np.ndarray, " seed"]:
    """The mean difference over settings, of each seed with runs that count."""
    counting = [row for name in SETTINGS for row in _counting(rows, name)]
    seeds = sorted({row["seed"] for row in counting})
    return np.array([np.mean([row["within"] - row[key] for row in counting if row["seed"] == seed]) for seed in seeds])


def _sentences(rows: Rows) -> list[str]:
    if len(_differences(rows, "before")) < FEWEST:
        return [f"Fewer than {FEWEST} runs count: nothing is concluded."]
    sentences = []
    for key, (difference, p) in _tests(rows).items():
        by_seed = _by_seed(rows, key)
        settings = "; ".join(
            f"{name} {with_interval(part)}" for name in SETTINGS if len(part := _differences(rows, key, (name,))) > 1
        )
        sentences.append(
            f"Within relations less {TESTS[key]}: above 0 in {int((difference > 0).sum())} of {len(difference)} runs, "
            f"sign test p = {p_value(p)} after Holm; over {len(by_seed)} seeds, means of the settings, p = "
            f"{p_value(sign_test(by_seed))}. {settings}."
        )
    return sentences


def numbers(rows: Rows) -> dict[str, str]:
    """Means by setting, the differences by setting, how many runs count, and the tests."""
    found = by_variant(rows, SETTINGS, (*TRANSFER, *TOLD, *RECALL), 2)
    count = len(_differences(rows, "before"))
    found |= {"runs": str(len(rows)), "counting": str(count), "least_p": least_p(min(_n(rows, s) for s in SETTINGS))}
    for name in SETTINGS:
        found[f"counting.{name}"] = str(len(_counting(rows, name)))
        for key in TESTS:
            part = _differences(rows, key, (name,))
            found[f"less_{key}.{name}"] = with_interval(part) if len(part) > 1 else "undefined"
            found[f"rise_{key}.{name}"] = str(int((part > 0).sum()))
    for key, (difference, p) in _tests(rows).items():
        enough = count >= FEWEST
        found |= {f"p.{key}": p_value(p) if enough else "undefined", f"rise.{key}": str(int((difference > 0).sum()))}
        found[f"p_seeds.{key}"] = p_value(sign_test(_by_seed(rows, key))) if enough else "undefined"
        found[f"differs.{key}"] = said(enough and p <= 0.05)
    return found


def figures(rows: Rows) -> list[Panel]:
    """Every run's transfer and what tells the language, by setting."""
    caption = (
        f"Every seed of a setting (n = {len(rows)} runs); bars: means with 95 % t intervals over seeds. At the last "
        "checkpoint, with something erased from layer 1 on: transfer by value; the balanced accuracy of a fresh probe "
        "for the language within relations; the share of answers in the asked language."
    )
    return [points_panel(rows, SETTINGS, TRANSFER | TOLD, caption)]
