"""Several runs side by side: groups by the settings in which they differ, seeds as replicates, on several clocks.

A step is not the same thing for two tokenizations, batches or mixtures; so onsets and curves are given by step, tokens
seen, exposures of a fact and compute. All four are proportional to the step within a run.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mechxl.comparison.across import correlations, run_scores
from mechxl.comparison.ends import ends_by_group, run_ends
from mechxl.comparison.finals import finals_by_group
from mechxl.comparison.words import words
from mechxl.config import RunConfig, flat
from mechxl.errors import InputError
from mechxl.findings import Finding
from mechxl.measures.rises import RESOLVED
from mechxl.measures.statistics import t_interval
from mechxl.questions.ask import ask
from mechxl.questions.phases.named import EXCESS, RAW
from mechxl.run import Run

CLOCKS = {
    "step": "step",
    "tokens": "tokens seen",
    "exposures": "exposures of a mono fact",
    "compute": "compute, FLOP",
}
SEEDS = ("world.seed", "languages.seed", "mixture.seed", "training.init_seed", "training.order_seed")
MACHINE = ("training.threads", "training.device")  # where it ran, not what
NO_EFFECT = "no effect"  # vocab_size of tokenizations that are not BPE, decay_share of schedules that are not wsd
WORLD = ("world.", "languages.", "mixture.")


def compare(runs: Sequence[Run], thorough: bool = False, *, quiet: bool = True) -> Finding:
    """Curves, onsets and paired differences of runs, grouped by the settings in which they differ.

    Args:
        runs: two or more, of any settings.
        thorough: precision of each run's question `phases`.
        quiet: no progress bar.

    Raises:
        InputError: fewer than two runs, the same run twice, or a run without checkpoints.
    """
    paths = [str(run.path.resolve()) for run in runs]
    if len(runs) < 2:
        raise InputError(f"{paths[0] if paths else 'no run'}: a comparison needs two runs or more")
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise InputError(f"{twice[0]}: is given twice; give each run once")
    settings = [_settings(run.config) for run in runs]
    fixed = [name for name in settings[0] if name not in SEEDS + MACHINE]
    differ = [name for name in fixed if len({str(one[name]) for one in settings}) > 1]
    groups = [_label(one, differ) for one in settings]
    console = Console(stderr=True)
    waited = track(runs, "computing phases", console=console, disable=quiet or not console.is_terminal)
    findings = [ask(run, "phases", thorough=thorough) for run in waited]
    layer = Counter(finding.notes["headline"] for finding in findings).most_common(1)[0][0]
    no_null = [run.name for run, finding in zip(runs, findings, strict=True) if finding.notes["verdict"] is None]
    named = RAW if no_null else EXCESS  # unification is the excess over the null, which every run must have
    quantities = {"recall": "accuracy", named.at(layer): named.units[0], "transfer": "accuracy"}
    curves, onsets, ends, scores = [], [], [], []
    for run, group, finding in zip(runs, groups, findings, strict=True):
        about = {"run": run.name, "group": group, "seed": run.config.seed}
        rates = clocks(run)
        ends += run_ends(finding, about)
        scores += run_scores(finding, about)
        for quantity, unit in quantities.items():
            for table, kept in ((finding.tables["curves"], curves), (finding.tables["onsets"], onsets)):
                rows = table[(table["quantity"] == quantity) & (table["unit"] == unit)]
                kept += [about | row | rates for row in rows.to_dict("records")]
    tables = {
        "runs": _runs(runs, groups),
        "settings": _differing(dict(zip(groups, settings, strict=True)), differ),
        "curves": pd.DataFrame(curves).drop(columns="from"),
        "onsets": pd.DataFrame(onsets),
        "ends": pd.DataFrame(ends),
        "scores": pd.DataFrame(scores),
    }
    tables["correlations"] = correlations(tables["scores"])
    tables["finals_by_group"] = finals_by_group(tables["curves"], list(dict.fromkeys(groups)))
    tables["verdicts"] = _verdicts(findings, runs, groups)
    known = [quantity for quantity in quantities if (tables["onsets"]["quantity"] == quantity).any()]
    tables["by_group"] = _by_group(tables["onsets"], list(dict.fromkeys(groups)))
    tables["differences"] = _differences(tables["onsets"], list(dict.fromkeys(groups)))
    tables["ends_by_group"] = ends_by_group(tables["ends"], list(dict.fromkeys(groups)))
    worlds = [name for name in differ if name.startswith(WORLD)]
    notes = {
        "groups": list(dict.fromkeys(groups)),
        "quantities": known,
        "missing": [quantity for quantity in quantities if quantity not in known],
        "clocks": CLOCKS,
        "differ": differ,
        "equal": [name for name in fixed if name not in differ],
        "worlds": worlds,
        "under_way": [run.name for run in runs if not run.complete],
        "apart": _apart(runs),
        "layers": max(run.config.model.n_layers for run in runs),
        "layer": layer,
        "no_null": no_null,
        "quantity": "raw S - X" if no_null else "unification (the excess of S - X over the trained null)",
    }
    return Finding("comparison", words(tables, notes), tables, notes)


def _verdicts(findings: Sequence[Finding], runs: Sequence[Run], groups: Sequence[str]) -> pd.DataFrame:
    """A row a run: its verdict on unification; "not said" without a trained null."""
    return pd.DataFrame(
        {"run": run.name, "group": group, "seed": run.config.seed,
         "verdict": found["name"] if (found := finding.notes["verdict"]) else "not said"}
        for run, group, finding in zip(runs, groups, findings, strict=True)
    )  # fmt: skip


def clocks(run: Run) -> dict[str, float]:
    """What a step of training is on the other clocks: tokens seen, exposures of a mono fact, compute.

    Tokens: the mean length of a telling, BOS and EOS included, times the batch. Exposures: expected draws of a mono
    fact (a parallel one where there are none). Compute: 6 x parameters of the blocks x tokens (Kaplan et al. 2020).
    """
    corpus, config = run.corpus, run.config
    fact, language = corpus.tellings
    weight = corpus.mixture.weight[fact, language]
    length = (corpus.sequences(fact, language).tokens >= 0).sum(axis=1)
    tokens = config.training.batch_size * float(weight @ length / weight.sum())
    mono = corpus.mixture.group[fact] == "mono"
    counted = mono if mono.any() else np.ones(len(fact), dtype=bool)
    exposures = config.training.batch_size * float(weight[counted].sum()) / len(np.unique(fact[counted]))
    d, blocks = config.model.d_model, config.model.n_layers
    parameters = blocks * (4 * d**2 + 2 * d * config.model.d_mlp)
    return {"tokens_a_step": tokens, "exposures_a_step": exposures, "compute_a_step": 6 * parameters * tokens}


def _settings(config: RunConfig) -> dict[str, Any]:
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in flat(config).items()}
    if config.tokenization.kind != "bpe":
        settings["tokenization.vocab_size"] = NO_EFFECT
    if config.training.schedule != "wsd":
        settings["training.decay_share"] = NO_EFFECT
    return settings


def _label(row: dict[str, Any], differ: Sequence[str]) -> str:
    """A group's name: what differs, without the section where that is clear."""
    short = Counter(name.split(".")[1] for name in differ)
    acting = [name for name in differ if row[name] != NO_EFFECT]
    parts = [f"{name if short[name.split('.')[1]] > 1 else name.split('.')[1]} {row[name]}" for name in acting]
    return ", ".join(parts) or "all runs"


def _runs(runs: Sequence[Run], groups: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"run": run.name, "group": group, "seed": run.config.seed, "last step": int(run.metrics["step"].iloc[-1]),
         "complete": run.complete} | {name.replace("_", " "): round(value, 3) for name, value in clocks(run).items()}
        for run, group in zip(runs, groups, strict=True)
    )  # fmt: skip


def _differing(by_group: Mapping[str, Mapping[str, Any]], differ: Sequence[str]) -> pd.DataFrame:
    """A row a setting that differs and group."""
    rows = [
        {"setting": name, "group": group, "value": str(one[name])} for name in differ for group, one in by_group.items()
    ]
    return pd.DataFrame(rows, columns=["setting", "group", "value"])


def _apart(runs: Sequence[Run]) -> list[str]:
    """Clocks on which some runs have no range in common."""
    titles = []
    for clock, title in CLOCKS.items():
        ranges = []
        for run in runs:
            rate = 1.0 if clock == "step" else clocks(run)[f"{clock}_a_step"]
            steps = run.metrics["step"]
            ranges.append(
                (max(1, int(steps[steps >= 1].min() if (steps >= 1).any() else 1)) * rate, steps.max() * rate)
            )
        if max(low for low, _ in ranges) >= min(high for _, high in ranges):
            titles.append(title)
    return titles


def _by_group(onsets: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """Half-rise by group, quantity and clock: geometric mean over seeds with a t interval in ln."""
    rows = []
    for group in groups:
        for quantity in onsets["quantity"].unique():
            part = onsets[(onsets["group"] == group) & (onsets["quantity"] == quantity)]
            risen = part[part["outcome"].isin(RESOLVED)]
            counts = {
                "runs": len(part),
                "n": len(risen),
                "not_finished": int((part["outcome"] == "rises, not finished").sum()),
            }
            for clock in CLOCKS:
                rate = 1.0 if clock == "step" else risen[f"{clock}_a_step"]
                low, mean, high = t_interval(np.log(risen["step"].to_numpy() * np.array(rate)))
                place = {"group": group, "quantity": quantity, "clock": clock} | counts
                reason = "" if len(risen) > 1 else f"{len(risen)} of {len(part)} runs have an onset: no interval"
                rows.append(place | {"onset": np.exp(mean), "low": np.exp(low), "high": np.exp(high), "reason": reason})
    return pd.DataFrame(rows)


def _differences(onsets: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """Ratios of half-rises of each group to the first, on each clock: t interval, t test in ln, Holm over all.

    Groups are paired by the seed that they share; a seed counts where both runs have an onset.
    """
    rows: list[dict[str, Any]] = []
    risen = onsets[onsets["outcome"].isin(RESOLVED)]
    for one, other in ((groups[0], other) for other in groups[1:]):
        for quantity in onsets["quantity"].unique():
            for clock in CLOCKS:
                ln = []
                for group in (one, other):
                    part = risen[(risen["group"] == group) & (risen["quantity"] == quantity)].set_index("seed")
                    ln.append(np.log(part["step"] * (1.0 if clock == "step" else part[f"{clock}_a_step"])))
                ln = [series[~series.index.duplicated()] for series in ln]
                seeds = ln[0].index.intersection(ln[1].index)
                gap = (ln[1].loc[seeds] - ln[0].loc[seeds]).to_numpy(dtype=float)
                low, mean, high = t_interval(gap)
                spread = len(gap) > 1 and float(np.std(gap)) > 0
                p = float(np.asarray(stats.ttest_1samp(gap, 0.0))[1]) if spread else np.nan
                row = {"first": one, "second": other, "quantity": quantity, "clock": clock, "n": len(gap)}
                reason = "" if spread else f"{len(gap)} seeds in common with an onset in both: no test"
                rows.append(
                    row | {"ratio": np.exp(mean), "low": np.exp(low), "high": np.exp(high), "p": p, "reason": reason}
                )
    table = pd.DataFrame(
        rows, columns=["first", "second", "quantity", "clock", "n", "ratio", "low", "high", "p", "reason"]
    )
    table["p_holm"] = np.nan
    known = table["p"].notna()
    if known.any():
        table.loc[known, "p_holm"] = multipletests(table.loc[known, "p"], method="holm")[1]
    return table
