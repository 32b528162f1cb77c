"""A study's tests as a list: one variant's number less another's, seed by seed, with Holm's correction over all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float
from statsmodels.stats.multitest import multipletests

from analyses.statistics import Rows, p_value, said, sign_test, with_interval
from mechxl.findings import signed


@dataclass(frozen=True)
class Contrast:
    """What a test compares: `key` of the variant `one`, less `of` (or `key`) of the variant `other`, of the same seeds.

    Attributes:
        name: by which prose quotes it.
        says: the comparison in words.
    """

    name: str
    says: str
    key: str
    one: str
    other: str
    of: str = ""


@dataclass(frozen=True)
class Tested:
    """A test's numbers by seed, and its two-sided exact sign test; `holm` is the p after Holm over the study."""

    name: str
    says: str
    numbers: Float[np.ndarray, " seed"]
    p: float
    holm: float = float("nan")


def differences(rows: Rows, contrast: Contrast) -> Float[np.ndarray, " seed"]:
    """One number less the other, of the seeds that have both."""
    first = _by_seed(rows, contrast.one, contrast.key)
    second = _by_seed(rows, contrast.other, contrast.of or contrast.key)
    return np.array([first[seed] - second[seed] for seed in sorted(first) if seed in second], dtype=float)


def _by_seed(rows: Rows, variant: str, key: str) -> dict[int, float]:
    return {row["seed"]: row[key] for row in rows if row["run"] == variant and row.get(key) is not None}


def all_tested(
    rows: Rows,
    contrasts: Iterable[Contrast],
    further: Mapping[str, tuple[str, Float[np.ndarray, " seed"]]] | None = None,
) -> list[Tested]:
    """All tests of a study: those of its contrasts, and further ones (name: words, numbers by seed)."""
    found = {one.name: (one.says, differences(rows, one)) for one in contrasts} | dict(further or {})
    tests = [Tested(name, says, numbers, sign_test(numbers)) for name, (says, numbers) in found.items()]
    corrected = np.asarray(multipletests([test.p for test in tests], method="holm")[1])
    return [replace(test, holm=float(p)) for test, p in zip(tests, corrected, strict=True)]


def as_table(tests: Sequence[Tested], digits: int = 3) -> pd.DataFrame:
    """A row a test."""
    return pd.DataFrame(
        [
            {
                "test": test.says,
                "mean difference": with_interval(test.numbers, digits) if len(test.numbers) > 1 else "undefined",
                "seeds above 0": f"{int((test.numbers > 0).sum())} of {len(test.numbers)}",
                "p after Holm": p_value(test.holm),
            }
            for test in tests
        ]
    )


def as_numbers(tests: Sequence[Tested], digits: int = 3) -> dict[str, str]:
    """For prose: `NAME` is the mean; with .p, .above, .seeds and .verdict (above 0, p <= .05) what they say."""
    found: dict[str, str] = {}
    for test in tests:
        known = len(test.numbers) > 0
        mean = float(test.numbers.mean()) if known else float("nan")
        found[test.name] = signed(mean, digits) if known else "undefined"
        found[f"{test.name}.interval"] = with_interval(test.numbers, digits) if len(test.numbers) > 1 else "undefined"
        found[f"{test.name}.p"] = p_value(test.holm)
        found[f"{test.name}.above"] = str(int((test.numbers > 0).sum()))
        found[f"{test.name}.seeds"] = str(len(test.numbers))
        found[f"{test.name}.verdict"] = said(mean > 0 and test.holm <= 0.05)
        found[f"{test.name}.opposite"] = said(mean < 0 and test.holm <= 0.05)
    return found
