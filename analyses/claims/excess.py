"""When do the languages unify, once the trained null is taken off: before recall, or after it?

    python -m analyses excess

Question. The page dated unification by the rise of S - W. That curve rises where nothing can unify too: in the trained
null (`world.shared_facts 0`), as the offset that the languages begin with decays. Here unification is the excess of a
run over its null: the run's number less the null's of the same seeds, layer and checkpoint, of S - X first and of
S - W beside it. Two statements of the page are asked again: "unification precedes recall", and "separate first, unified
later" (S - W falls below 0 and rises later).

Known before these runs, of another seed of the default: at layer 1 S - W has risen by half at step 226, in its null at
193; the excess of S - W at 257, that of S - X at 408. So the direction of (b) below is no surprise; these seeds test
it. They were used by the study `rest`, which looked at rest and at transfer only.

Hypothesis, without a side. If S - W dates unification, then it rises at another time than in the null, the excess rises
with it, and the excess precedes recall as S - W does. If its rise is the decay of the offset, it rises at the time of
its null, and the excess later.

Grid, fixed before the nulls were trained. The default and `world.shared_facts 0`, seeds 24 to 35, everything else at
its default, one thread each. The null of a run is the run `null` of its seed. The twelve runs of the default are those
that `rest` had trained with the same settings; of them only rest and transfer had been looked at.

Test. Mono facts, same-relation baseline, whole-sample centring, layers 1 and 2. Times are the half-rise that assumes no
shape (question `phases`): of S - X, of S - W and of their excess over the checkpoints, of recall and transfer over the
evaluations. For S - X and S - W, at both layers, over seeds, two-sided exact sign tests of ln ratios:
(a) the run's rise against its null's; (b) the excess against the run's rise; (c) the excess against recall; (d) the
excess against transfer. And (e), at both layers: the excess of S - W at the checkpoint where the run's S - W is lowest
(chosen by the run alone), against 0. 18 tests, Holm; with 12 seeds none can go below .009 after it. A seed where one of
the two does not rise is left out of that test, and counted.

What would refute what. "Unification precedes recall" holds at a layer if the excess of S - X rises earlier than recall
with p <= .05 after Holm; it is refuted if it rises later with p <= .05; otherwise the order can't be told. "S - W dates
unification" is refuted if its excess rises later than it does (b), or if (a) can't tell the run from its null.
"Separate first" is about facts if (e) is below 0; if (e) can't be told from 0, the separation is that of the null.
Described beside: the share of the rise of S - W, from its lowest checkpoint to the end, that the null makes too;
resolved onsets; ends; how far S - X of the nulls scatters over seeds, which the interval of one pair of runs can't
show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from statsmodels.stats.multitest import multipletests

from analyses.ends import plain
from analyses.statistics import Rows, by_variant, least_p, p_value, sign_test, t_interval, values, with_interval
from analyses.study import variant
from mechxl.findings import signed
from mechxl.measures.rises import RESOLVED
from mechxl.plots import BLUE, GREY, Panel, band, level, line, side_by_side, step_axis, steps_shown, themed
from mechxl.questions.ask import ask
from mechxl.questions.phases.named import EXCESS, RAW
from mechxl.run import Run

GRID = {
    "seeds": [24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35],
    "base": {"training.threads": 1},
    "runs": [
        {"name": "default"},
        {"name": "null", "world.shared_facts": 0.0},
    ],
}
LAYERS = (1, 2)
MEASURES = {"alignment": "S − X", "score": "S − W"}
HALVES = {"recall_half": "recall", "transfer_half": "transfer"}
CLEAR = 0.05


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row: half-rises, ends and curves; of a default run whose null is there, those of the excess too."""
    beside = run.path.parent / f"null,seed={run.config.seed}"
    if variant(run) == "default" and (beside / "COMPLETE").is_file():
        run = Run(run.path, null=beside)
    phases = ask(run, "phases")
    onsets = phases.tables["onsets"].set_index(["quantity", "unit"]).to_dict("index")
    curves, last = phases.tables["curves"], run.metrics.iloc[-1]
    row: dict[str, Any] = {"run": variant(run), "seed": run.config.seed, "steps": run.steps}
    row |= {"recall": last["recall_accuracy"], "transfer": last["transfer_accuracy"]}
    row |= {f"{name}_half": onsets.get((name, "accuracy"), {}).get("half_step") for name in ("recall", "transfer")}
    for layer in LAYERS:
        for named, prefix in ((RAW, ""), (EXCESS, "excess_")):
            for key, unit in zip(MEASURES, named.units, strict=True):
                name, quantity = f"{prefix}{key}_{layer}", named.at(layer)
                one = onsets.get((quantity, unit), {})
                resolved = one.get("outcome") in RESOLVED
                row |= {name: one.get("last"), f"{name}_half": one.get("half_step")}
                row |= {f"{name}_onset": one["step"] if resolved else None, f"{name}_outcome": one.get("outcome")}
                part = curves[(curves["quantity"] == quantity) & (curves["unit"] == unit)].sort_values("step")
                row[f"{name}_curve"] = [round(float(value), 4) for value in part["value"]]
    return [{key: plain(value) for key, value in row.items()}]


@dataclass(frozen=True)
class Test:
    """One of the tests: what is compared, its numbers by seed (ln ratios, or in (e) the excess itself), and p."""

    letter: str
    layer: int
    key: str
    numbers: Float[np.ndarray, " seed"]
    p: float
    holm: float = float("nan")

    @property
    def name(self) -> str:
        """By which prose quotes it."""
        return f"{self.letter}.{self.key}.{self.layer}"

    @property
    def above(self) -> int:
        """In how many seeds the first is later, or the excess above 0."""
        return int((self.numbers > 0).sum())

    @property
    def size(self) -> str:
        """The mean ratio (geometric), or in (e) the mean, with a 95 % t interval over seeds."""
        if len(self.numbers) < 2:
            return "undefined"
        ends = t_interval(self.numbers)
        mean, low, high = ends if self.letter == "e" else np.exp(ends)
        return f"{signed(mean)} [{signed(low)}, {signed(high)}]"


def _pairs(rows: Rows) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each default run that has an excess, with its null."""
    nulls = {row["seed"]: dict(row) for row in rows if row["run"] == "null"}
    return [
        (dict(row), nulls[row["seed"]])
        for row in rows
        if row["run"] == "default" and row["seed"] in nulls and row["excess_score_1_curve"]
    ]


def _tests(rows: Rows) -> list[Test]:
    pairs, tests = _pairs(rows), []
    for layer in LAYERS:
        for key in MEASURES:
            raw, excess = f"{key}_{layer}_half", f"excess_{key}_{layer}_half"
            compared = {
                "a": [(run[raw], null[raw]) for run, null in pairs],
                "b": [(run[excess], run[raw]) for run, _ in pairs],
                "c": [(run[excess], run["recall_half"]) for run, _ in pairs],
                "d": [(run[excess], run["transfer_half"]) for run, _ in pairs],
            }
            for letter, both in compared.items():
                known = np.array([one for one in both if None not in one], dtype=float).reshape(-1, 2)
                ratios = np.log(known[:, 0] / known[:, 1])
                tests.append(Test(letter, layer, key, ratios, sign_test(ratios)))
        at_lowest = np.array([_separation(run, null, layer)["excess"] for run, null in pairs])
        tests.append(Test("e", layer, "score", at_lowest, sign_test(at_lowest)))
    corrected = np.asarray(multipletests([test.p for test in tests], method="holm")[1])
    return [replace(test, holm=float(p)) for test, p in zip(tests, corrected, strict=True)]


def _separation(run: dict[str, Any], null: dict[str, Any], layer: int) -> dict[str, float]:
    """Where the run's S - W is lowest: step, both numbers, excess, and the null's share of the rise after it."""
    own, other = (np.array(one[f"score_{layer}_curve"]) for one in (run, null))
    place = int(own.argmin())
    rise = own[-1] - own[place]
    share = (other[-1] - other[place]) / rise if rise > 0 else np.nan
    numbers = {"step": run["steps"][place], "run": own[place], "null": other[place], "share": share}
    return {name: float(value) for name, value in numbers.items()} | {"excess": float(own[place] - other[place])}


WHAT = {
    "a": "(a) rise of the run against its null's",
    "b": "(b) excess against the run's rise",
    "c": "(c) excess against recall",
    "d": "(d) excess against transfer",
    "e": "(e) excess where S − W is lowest",
}


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """Tests, times, the separation at first, and ends with their scatter over seeds."""
    tests = [
        {
            "test": WHAT[test.letter],
            "layer": test.layer,
            "of": MEASURES[test.key],
            "seeds": len(test.numbers),
            "ratio of steps, (e): excess": test.size,
            "later, (e): above 0": f"{test.above} of {len(test.numbers)}",
            "p after Holm": p_value(test.holm),
        }
        for test in _tests(rows)
    ]
    verdicts = pd.DataFrame({"verdict": _verdicts(_tests(rows))})
    return {"tests": pd.DataFrame(tests), "verdicts": verdicts, "times": _times(rows), "separation": _apart(rows),
            "ends": _ends(rows)}  # fmt: skip


def _verdicts(tests: Sequence[Test]) -> list[str]:
    """What each layer's tests say of the two statements, by the rules that the docstring fixes."""
    lines, by_name = [], {test.name: test for test in tests}
    for layer in LAYERS:
        first, rise, null, apart = (
            by_name[f"{name}.{layer}"] for name in ("c.alignment", "b.score", "a.score", "e.score")
        )
        lines += [
            f"Layer {layer}: “unification precedes recall” {_order(first)}.",
            f"Layer {layer}: “S − W dates unification” {_dates(rise, null)}.",
            f"Layer {layer}: “separate first” {_separate(apart)}.",
        ]
    return lines


def _clear(test: Test) -> int:
    """1: later or above; -1: earlier or below; 0: it can't be told."""
    return 0 if test.holm > CLEAR or not len(test.numbers) else int(np.sign(np.median(test.numbers)))


def _order(test: Test) -> str:
    return {-1: "holds", 1: "is refuted: it comes later", 0: "can't be told"}[_clear(test)]


def _dates(rise: Test, null: Test) -> str:
    reasons = ["its excess rises later"] if _clear(rise) == 1 else []
    reasons += ["its rise can't be told from the null's"] if _clear(null) == 0 else []
    return f"is refuted: {' and '.join(reasons)}" if reasons else "stands"


def _separate(test: Test) -> str:
    return {
        -1: "is about facts: the excess is below 0",
        0: "is not about facts: the excess can't be told from 0",
        1: "is not about facts: the excess is above 0",
    }[_clear(test)]


def _times(rows: Rows) -> pd.DataFrame:
    """Half-rises: geometric means over seeds with t intervals, and how many onsets are resolved."""
    places = [("default", key, label) for key, label in HALVES.items()]
    for layer in LAYERS:
        for key, label in MEASURES.items():
            places += [
                ("default", f"{key}_{layer}_half", f"{label}, layer {layer}"),
                ("null", f"{key}_{layer}_half", f"{label}, layer {layer}, null"),
                ("default", f"excess_{key}_{layer}_half", f"{label}, layer {layer}, excess"),
            ]
    lines = []
    for which, key, label in places:
        every = values(rows, which, key)
        onset = key.replace("_half", "_onset")
        resolved = "-" if onset in ("recall_onset", "transfer_onset") else str(_known(rows, which, onset))
        lines.append({"curve": label, "half-rise, step": _geometric(every), "rises": f"{_count(every)} of {len(every)}",
                      "onsets resolved": resolved})  # fmt: skip
    return pd.DataFrame(lines)


def _known(rows: Rows, which: str, key: str) -> int:
    return _count(values(rows, which, key))


def _count(numbers: Float[np.ndarray, " seed"]) -> int:
    return int(np.isfinite(numbers).sum())


def _geometric(numbers: Float[np.ndarray, " seed"]) -> str:
    known = np.sort(numbers[np.isfinite(numbers)])
    if len(known) < 2:
        return f"{known[0]:,.0f}" if len(known) else "undefined"
    mean, low, high = (f"{np.exp(end):,.0f}" for end in t_interval(np.log(known)))
    return f"{mean} [{low}, {high}]"


def _apart(rows: Rows) -> pd.DataFrame:
    lines = []
    for layer in LAYERS:
        found = [_separation(run, null, layer) for run, null in _pairs(rows)]
        columns = {name: np.array([one[name] for one in found]) for name in ("step", "run", "null", "excess", "share")}
        steps = columns.pop("step")
        lines.append(
            {"layer": layer, "S − W is lowest at step": f"{min(steps):,.0f} to {max(steps):,.0f}"}
            | {
                label: _mean(columns[name])
                for name, label in (("run", "run there"), ("null", "null there"), ("excess", "excess there"),
                                    ("share", "the null's share of the rise"))
            }
        )  # fmt: skip
    return pd.DataFrame(lines)


def _mean(numbers: Float[np.ndarray, " seed"]) -> str:
    known = numbers[np.isfinite(numbers)]
    return with_interval(known) if len(known) > 1 else "undefined" if not len(known) else signed(float(known[0]))


def _ends(rows: Rows) -> pd.DataFrame:
    """Ends of run, null and excess, and the standard deviations over seeds: what one pair of runs can't show."""
    lines = []
    for layer in LAYERS:
        for key, label in MEASURES.items():
            name = f"{key}_{layer}"
            of = {"run": values(rows, "default", name), "null": values(rows, "null", name),
                  "excess": values(rows, "default", f"excess_{name}")}  # fmt: skip
            lines.append(
                {"measure": f"{label}, layer {layer}"}
                | {which: _mean(numbers) for which, numbers in of.items()}
                | {f"sd of the {which}": _sd(of[which]) for which in ("null", "excess")}
            )
    return pd.DataFrame(lines)


def _sd(numbers: Float[np.ndarray, " seed"]) -> str:
    known = numbers[np.isfinite(numbers)]
    return signed(float(known.std(ddof=1)), 3) if len(known) > 1 else "undefined"


def numbers(rows: Rows) -> dict[str, str]:
    """Ends, half-rises, tests and the separation, by name."""
    names = [f"{prefix}{key}_{layer}" for prefix in ("", "excess_") for key in MEASURES for layer in LAYERS]
    found = by_variant(rows, ("default", "null"), ("recall", "transfer", *names))
    for which in ("default", "null"):
        for key in (*HALVES, *(f"{name}_half" for name in names)):
            by_seed = values(rows, which, key)
            known = by_seed[np.isfinite(by_seed)]
            found[f"{key}.{which}"] = f"{np.exp(np.log(known).mean()):,.0f}" if len(known) else "undefined"
    pairs, tests = _pairs(rows), _tests(rows)
    found |= {"runs": str(len(rows)), "seeds": str(len(pairs)), "least_p": least_p(len(pairs), tests=len(tests))}
    for test in tests:
        found |= {f"{test.name}.seeds": str(len(test.numbers)), f"{test.name}.above": str(test.above)}
        found |= {f"{test.name}.p": p_value(test.holm)}
        mean = float(test.numbers.mean()) if len(test.numbers) else np.nan
        size = mean if test.letter == "e" else float(np.exp(mean))
        found[test.name] = signed(size) if np.isfinite(size) else "undefined"
    for layer in LAYERS:
        share = np.array([_separation(run, null, layer)["share"] for run, null in pairs])
        found[f"share.{layer}"] = signed(float(np.nanmean(share))) if np.isfinite(share).any() else "undefined"
        for which, key in (("null", f"alignment_{layer}"), ("default", f"excess_alignment_{layer}")):
            found[f"sd.{key}.{which}"] = _sd(values(rows, which, key))
    return found


def figures(rows: Rows) -> list[Panel]:
    """The curves of run, null and excess at each layer: means over seeds with 95 % t intervals."""
    pairs = _pairs(rows)
    panels = []
    for key, label in MEASURES.items():
        figure = side_by_side(*(f"{label}, layer {layer}" for layer in LAYERS))
        for column, layer in enumerate(LAYERS, start=1):
            name = f"{key}_{layer}_curve"
            curves = {
                "run": [run[name] for run, _ in pairs],
                "null": [null[name] for _, null in pairs],
                "excess": [run[f"excess_{name}"] for run, _ in pairs],
            }
            for which, colour in (("run", BLUE), ("null", GREY), ("excess", "#D55E00")):
                _add(figure, pairs[0][0]["steps"], np.array(curves[which]), which, colour, column)
            level(figure, 0.0, "", column)
        step_axis(figure, pairs[0][0]["steps"], narrow=True)
        caption = (
            f"{label} of mono facts: the run, its trained null, and the excess, which is unification. Means over "
            f"{len(pairs)} seeds with 95 % t intervals. Null: the grey curve; of the excess, 0 (dotted)."
        )
        panels.append(Panel(f"curves-{key}", f"{label}: the run, its null, the excess", caption, themed(figure)))
    return panels


def _add(
    figure: go.Figure, steps: Sequence[int], curves: Float[np.ndarray, "seed step"], name: str, colour: str, column: int
) -> None:
    x, ends = steps_shown(steps), np.array([t_interval(at_step) for at_step in curves.T])
    if len(curves) > 1:
        figure.add_trace(band(x, ends[:, 1], ends[:, 2], colour, group=name), row=1, col=column)
    trace = line(x, ends[:, 0], name, colour, group=name, showlegend=column == 1)
    figure.add_trace(trace, row=1, col=column)
