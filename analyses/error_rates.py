"""Error rates of onsets as tables, with exact intervals, and beside the bounds that they should keep."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from analyses.statistics import Rows
from mechxl.findings import signed


def exact_ends(hits: int, n: int) -> tuple[float, float]:
    """The exact 95 % binomial interval of a share (Clopper and Pearson 1934)."""
    ends = binomtest(hits, n).proportion_ci(0.95, "exact")
    return float(ends.low), float(ends.high)


def exact(hits: int, n: int) -> str:
    """A share with its exact 95 % interval."""
    low, high = exact_ends(hits, n)
    return f"{hits / n:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True)
class Bound:
    """What a rate should keep to, over all rows of one kind.

    Attributes:
        what: in words.
        hits, n: the counts, each a column of the rows; n less `without` where that is a column.
        low, high: of the rate, both included.
        kinds: what the rows are.
        only: further columns, and the values that count.
        without: a column that n is lessened by.
        least: of n, for a row to be judged.
    """

    what: str
    hits: str
    n: str
    low: float
    high: float
    kinds: tuple[str, ...]
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    without: str = ""
    least: int = 30

    def counts(self, rows: Rows) -> dict[str, tuple[int, int]]:
        """Hits and n of each row of this kind, by what the row is."""
        return {
            _name(row): (row[self.hits], row[self.n] - (row[self.without] if self.without else 0))
            for row in rows
            if row["what"] in self.kinds and all(row[key] in values for key, values in self.only.items())
        }

    def rates(self, rows: Rows) -> dict[str, float]:
        """The rate of each row that is judged."""
        return {name: hits / n for name, (hits, n) in self.counts(rows).items() if n >= self.least}

    def sizes(self, rows: Rows) -> list[int]:
        """How many curves, or pairs of curves, each row has."""
        return [row["n"] for row in rows if row["what"] in self.kinds]

    def together(self, rows: Rows) -> str:
        """The rate over all rows; rows share seeds, so that it has no exact interval."""
        counts = self.counts(rows).values()
        hits, n = sum(hits for hits, _ in counts), sum(n for _, n in counts)
        return f"{signed(hits / n, 3)} of {n:,}" if n else "-"

    def out(self, rows: Rows) -> list[str]:
        """The rows whose rate is not within the bound."""
        return [name for name, rate in self.rates(rows).items() if not self.low <= rate <= self.high]

    def surely_out(self, rows: Rows) -> list[str]:
        """Those whose exact interval lies outside of the bound as a whole."""
        counts = self.counts(rows)
        ends = {name: exact_ends(*counts[name]) for name in self.out(rows)}
        return [name for name, (low, high) in ends.items() if high < self.low or low > self.high]


def _name(row: Mapping[str, Any]) -> str:
    known = [str(row["what"])] if "alarms" in row else []
    known += [str(row[key]) for key in ("spacing", "noise") if key in row]
    return ", ".join(known + [f"{label} {row[key]:g}" for key, label in LABELS.items() if key in row])


LABELS = {"snr": "SNR", "rho": "rho", "true": "lag"}
SIZES = {"planted": "missed", "stages": "stages.first", "flat": "alarms.long", "walk": "alarms.walk",
         "smooth": "alarms.smooth", "lags": "alarms.lag"}  # fmt: skip
MANY, FEW = ("log", "linear", "evaluations"), ("checkpoints",)
COVERS = (0.92, 0.98)


def _coverage(what: str, hits: str, n: str, without: str = "") -> dict[str, Bound]:
    """Bounds of a coverage, by noise and by how many evaluations there are."""
    sizes = {"many": (MANY, "84 or 120 evaluations"), "few": (FEW, "28 checkpoints")}
    return {
        f"{hits}.{noise}.{size}": Bound(
            f"{what}, {noise} noise, {words}", hits, n, *COVERS, ("planted",),
            {"noise": (noise,), "spacing": spacings}, without,
        )
        for noise in ("even", "growing") for size, (spacings, words) in sizes.items()
    }  # fmt: skip


def _alarms(what: str, *kinds: str) -> Bound:
    return Bound(f"false alarms: {what}", "alarms", "n", 0, 0.05, kinds)


BOUNDS = {
    "missed": Bound("misses, SNR 5, rho up to .6, 120 evaluations", "missed", "n", 0, 0.05, ("planted",),
                    {"snr": (5,), "spacing": ("log", "linear")}),
    "missed.evaluations": Bound("misses, SNR 5, rho up to .6, the default run's 84 evaluations", "missed", "n", 0, 0.05,
                                ("planted",), {"snr": (5,), "spacing": ("evaluations",)}),
    "alarms.short": _alarms("AR(1) at .5 and .8, spikes", "AR(1) at .5", "AR(1) at .8", "one spike"),
    "alarms.long": _alarms("AR(1) at .95", "AR(1) at .95"),
    "alarms.walk": _alarms("random walk around a line", "random walk around a line"),
    "alarms.smooth": _alarms("lines and quadratics", "line in step", "line in ln(step)", "quadratic in step",
                             "quadratic in ln(step)"),
    "alarms.lag": Bound("lags that are not there (p <= .05)", "rejected", "n", 0, 0.05, ("lag",), {"true": (0.0,)}),
    **_coverage("coverage of onsets", "covered", "once"),
    **_coverage("coverage without a shape", "half_covered", "n", "missed"),
    "stages.first": Bound("coverage of the first of two stages", "first_covered", "twice", *COVERS, ("two stages",)),
    "stages.second": Bound("coverage of the second of two stages", "second_covered", "twice", *COVERS, ("two stages",)),
    "covered.lag": Bound("coverage of lags", "covered", "n", *COVERS, ("lag",)),
}  # fmt: skip
# rates that have no bound, for prose
SHARES = {
    "two.low_noise": Bound("two stages told as two, SNR 20", "twice", "n", 0, 1, ("two stages",),
                           {"snr": (20,), "spacing": MANY}),
    "two.noise": Bound("two stages told as two, SNR 10", "twice", "n", 0, 1, ("two stages",),
                       {"snr": (10,), "spacing": MANY}),
    "two.much_noise": Bound("two stages told as two, SNR 5", "twice", "n", 0, 1, ("two stages",),
                            {"snr": (5,), "spacing": MANY}),
    "two.checkpoints": Bound("two stages told as two, SNR 20, checkpoints", "twice", "n", 0, 1, ("two stages",),
                             {"snr": (20,), "spacing": FEW}),
    "one.even": Bound("one rise taken for two, even noise", "twice", "n", 0, 1, ("planted",), {"noise": ("even",)}),
    "one.growing": Bound("one rise taken for two, growing noise", "twice", "n", 0, 1, ("planted",),
                         {"noise": ("growing",)}),
    "missed.checkpoints": Bound("misses, SNR 5, checkpoints", "missed", "n", 0, 1, ("planted",),
                                {"snr": (5,), "spacing": FEW, "noise": ("even",)}),
    "missed.checkpoints.less_noise": Bound("misses, SNR 10, checkpoints", "missed", "n", 0, 1, ("planted",),
                                           {"snr": (10,), "spacing": FEW}),
    "unresolved": Bound("not resolved, SNR 5, rho .6", "unresolved", "n", 0, 1, ("planted",),
                        {"snr": (5,), "rho": (0.6,), "noise": ("even",), "spacing": MANY}),
    "found.lag": Bound("lags of .3 that are found", "rejected", "n", 0, 1, ("lag",),
                       {"true": (0.3, -0.3), "spacing": MANY}),
    "found.lag.checkpoints": Bound("lags of .3 that are found, checkpoints", "rejected", "n", 0, 1, ("lag",),
                                   {"true": (0.3, -0.3), "spacing": FEW}),
}  # fmt: skip
# of the rule that these tables replaced, on its own seeds (100 of each planted curve, 300 of each surrogate)
BEFORE = {
    "missed": ".000 to .030, 0 of 12 out",
    "missed.evaluations": ".000 to .030, 0 of 6 out",
    "alarms.short": ".000 to .037, 0 of 12 out",
    "alarms.long": ".037 to .107, 3 of 4 out",
    "alarms.walk": ".023 to .080, 2 of 4 out",
    "alarms.smooth": ".000 to .033, 0 of 16 out",
    "alarms.lag": ".010 to .080, 3 of 4 out",
    "covered.even.many": ".938 to 1.000, 1 of 18 out",
    "covered.even.few": ".918 to .967, 1 of 6 out",
    "covered.growing.many": ".907 to .990, 3 of 18 out",
    "covered.growing.few": ".806 to .949, 4 of 6 out",
    "half_covered.even.many": ".907 to 1.000, 2 of 18 out",
    "half_covered.even.few": ".949 to .980, 0 of 6 out",
    "half_covered.growing.many": ".870 to .990, 6 of 18 out",
    "half_covered.growing.few": ".860 to .940, 2 of 6 out",
    "stages.first": ".800 to .932, 7 of 9 out",
    "stages.second": ".828 to .980, 5 of 9 out",
    "covered.lag": ".940 to 1.000, 3 of 12 out",
}


def _range(rates: Iterable[float]) -> str:
    low, high = min(rates := list(rates)), max(rates)
    return f"{signed(low, 3)} to {signed(high, 3)}"


def _bound_line(key: str, bound: Bound, rows: Rows) -> dict[str, Any]:
    rates, out = bound.rates(rows), bound.out(rows)
    return {
        "rate": bound.what,
        "asked": f"at most {signed(bound.high)}" if not bound.low else f"{signed(bound.low)} to {signed(bound.high)}",
        "before": BEFORE.get(key, "-"),
        "now": _range(rates.values()) if rates else "-",
        "all rows together": bound.together(rows),
        "out of it": f"{len(out)} of {len(rates)}",
        "surely out": str(len(bound.surely_out(rows))),
    }


def outside(rows: Rows) -> list[str]:
    """Each row that is out of its bound, with its rate and its exact interval."""
    return [
        f"{bound.what}: {name}: {exact(*bound.counts(rows)[name])}"
        for bound in BOUNDS.values()
        for name in bound.out(rows)
    ] or ["All rows are within their bounds."]


def error_numbers(rows: Rows) -> dict[str, str]:
    """The lowest and the highest rate of each bound, how many rows are out of it, and how many there are; least n."""
    found = {f"n.{key}": str(min(BOUNDS[bound].sizes(rows), default=0)) for key, bound in SIZES.items()}
    for key, bound in (BOUNDS | SHARES).items():
        rates = bound.rates(rows)
        together = bound.together(rows).split(" ")[0]  # where no row alone is judged
        low, high = (signed(end(rates.values()), 3) if rates else together for end in (min, max))
        if together != "-":
            found |= {f"{key}.low": low, f"{key}.high": high}
        if key in BOUNDS:
            found |= {f"{key}.out": str(len(bound.out(rows))), f"{key}.rows": str(len(rates))}
    return found


def error_tables(rows: Rows) -> dict[str, pd.DataFrame]:
    """Misses and coverage of planted curves, two stages, false alarms of surrogates, and lags."""
    return {
        "bounds": pd.DataFrame([_bound_line(key, bound, rows) for key, bound in BOUNDS.items()]),
        "outside": pd.DataFrame({"outside": outside(rows)}),
        "planted": pd.DataFrame([_planted_line(row) for row in rows if row["what"] == "planted"]),
        "stages": pd.DataFrame([_twice_line(row) for row in rows if row["what"] == "two stages"]),
        "surrogates": pd.DataFrame([_surrogate_line(row) for row in rows if "alarms" in row]),
        "lags": pd.DataFrame([_lag_line(row) for row in rows if row["what"] == "lag"]),
    }


def _share(hits: int, n: int) -> str:
    return exact(hits, n) if n else "-"


def _planted_line(row: Mapping[str, Any]) -> dict[str, Any]:
    n = row["n"]
    return {
        "spacing": row["spacing"],
        "noise": row["noise"],
        "SNR": row["snr"],
        "rho": row["rho"],
        "n": row["n"],
        "misses": exact(row["missed"], n),
        "not resolved": f"{row['unresolved'] / n:.3f}",
        "not finished": f"{row['unfinished'] / n:.3f}",
        "taken for two": exact(row["twice"], n),
        "coverage": _share(row["covered"], row["once"]),
        "coverage without a shape": _share(row["half_covered"], n - row["missed"]),
    }


def _twice_line(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "spacing": row["spacing"],
        "noise": row["noise"],
        "SNR": row["snr"],
        "n": row["n"],
        "misses": exact(row["missed"], row["n"]),
        "told as two": exact(row["twice"], row["n"]),
        "coverage of the first": _share(row["first_covered"], row["twice"]),
        "coverage of the second": _share(row["second_covered"], row["twice"]),
    }


def _surrogate_line(row: Mapping[str, Any]) -> dict[str, Any]:
    n = row["n"]
    return {
        "surrogate": row["what"],
        "spacing": row["spacing"],
        "n": n,
        "rises": f"{row['rises'] / n:.3f}",
        "onset resolved": f"{row['resolved'] / n:.3f}",
        "false alarms": exact(row["alarms"], n),
    }


def _lag_line(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "lag, ln(step)": row["true"],
        "spacing": row["spacing"],
        "n": row["n"],
        "p <= .05": exact(row["rejected"], row["n"]),
        "coverage": exact(row["covered"], row["n"]),
    }
