"""How often do onsets err? Coverage, misses, false alarms, and lags that are not there, on planted curves.

    python -m analyses.transitions [--quick]

Planted: logistics of height 1 in ln(step), half-rise uniform in ln from 200 to 1,000 and width uniform from .1 to .3 in
ln(step), of 120 evaluations to step 3,000, log- or linearly spaced, or of the default run's 28 checkpoints after step
0, plus AR(1) noise (rho 0, .3, .6) of standard deviation 1 / SNR. Misses: neither a transition nor "not finished".
Coverage: of the half-rise by the 95 % interval, among transitions. Surrogates without a transition: AR(1) at .5, .8 and
.95; a random walk around a line that rises by 1 (steps of .05); a line; a quadratic (in step and in ln(step), noise .05
AR(.5)); one spike of 10 standard deviations in AR(.5) noise. A false alarm is a transition. Lags: two curves of one
onset, SNR 10, own widths and noise; rejected where p <= .05. AICc's margins, the number of standard deviations and the
width of the interval were set on seeds below 1,000; the table is of seeds from 10,000 on.
"""

import argparse
import itertools
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta, binom

from mechxl.config import TrainingConfig
from mechxl.measures.rises import Rise
from mechxl.measures.transitions import lag, onset

RESULTS = Path(__file__).parent / "results" / "transitions.json"
POINTS, LAST, FIRST = 120, 3000, 10_000
SPACINGS = {
    "log": np.geomspace(1, LAST, POINTS),
    "linear": np.linspace(LAST / POINTS, LAST, POINTS),
    "checkpoints": np.array(TrainingConfig(steps=LAST).checkpoint_steps()[1:], dtype=float),
}


def ar(rng: np.random.Generator, points: int, rho: float, sd: float = 1.0) -> np.ndarray:
    """Stationary AR(1) noise."""
    steps = rng.normal(size=points) * sd * np.sqrt(1 - rho**2)
    noise = np.empty(points)
    noise[0] = rng.normal() * sd
    for at in range(1, points):
        noise[at] = rho * noise[at - 1] + steps[at]
    return noise


def planted(
    rng: np.random.Generator, x: np.ndarray, snr: float, rho: float, m: float | None = None
) -> tuple[Any, float]:
    """A curve, and its half-rise in ln(step)."""
    m = rng.uniform(np.log(200), np.log(1000)) if m is None else m
    return 1 / (1 + np.exp(-(x - m) / rng.uniform(0.1, 0.3))) + ar(rng, len(x), rho, 1 / snr), m


SURROGATES = {
    "AR(1) at .5": lambda rng, x, step: ar(rng, len(x), 0.5),
    "AR(1) at .8": lambda rng, x, step: ar(rng, len(x), 0.8),
    "AR(1) at .95": lambda rng, x, step: ar(rng, len(x), 0.95),
    "random walk around a line": lambda rng, x, step: np.cumsum(rng.normal(size=len(x)) * 0.05) + step / step[-1],
    "line in step": lambda rng, x, step: step / step[-1] + ar(rng, len(x), 0.5, 0.05),
    "line in ln(step)": lambda rng, x, step: (x - x[0]) / (x[-1] - x[0]) + ar(rng, len(x), 0.5, 0.05),
    "quadratic in step": lambda rng, x, step: (step / step[-1]) ** 2 + ar(rng, len(x), 0.5, 0.05),
    "quadratic in ln(step)": lambda rng, x, step: ((x - x[0]) / (x[-1] - x[0])) ** 2 + ar(rng, len(x), 0.5, 0.05),
    "one spike": lambda rng, x, step: ar(rng, len(x), 0.5, 0.1) + (np.arange(len(x)) == rng.integers(5, len(x) - 5)),
}


def one_planted(job: tuple[str, float, float, int]) -> tuple[str, bool]:
    """Outcome of one planted curve, and whether its interval covers."""
    spacing, snr, rho, seed = job
    rng, step = np.random.default_rng(seed), SPACINGS[spacing]
    y, m = planted(rng, np.log(step), snr, rho)
    found = onset(step, y, rng)
    return found.outcome, bool(found.low <= np.exp(m) <= found.high)


def one_surrogate(job: tuple[str, str, int]) -> str:
    """Outcome of one surrogate."""
    spacing, name, seed = job
    rng, step = np.random.default_rng(seed), SPACINGS[spacing]
    rise = Rise.of(step, SURROGATES[name](rng, np.log(step), step))
    return "no transition" if isinstance(rise, str) else rise.outcome()[0]


def one_lag(job: tuple[str, float, int]) -> tuple[float, bool]:
    """p of the lag of two curves, and whether its interval covers the planted one."""
    spacing, true, seed = job
    rng, step = np.random.default_rng(seed), SPACINGS[spacing]
    first, m = planted(rng, np.log(step), 10, 0.3, rng.uniform(np.log(200), np.log(600)))
    second, _ = planted(rng, np.log(step), 10, 0.3, m + true)
    found = lag(step, first, second, rng)
    return found.p, bool(found.low <= true <= found.high)


def exact(hits: int, n: int, level: float = 0.95) -> str:
    """A share with its exact binomial interval (Clopper and Pearson 1934)."""
    low, high = (1 - level) / 2, 1 - (1 - level) / 2
    ends = (beta.ppf(low, hits, n - hits + 1) if hits else 0.0, beta.ppf(high, hits + 1, n - hits) if hits < n else 1.0)
    return f"{hits / n:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def main() -> None:
    """Runs all, writes the counts, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small part; writes nothing")
    quick = parser.parse_args().quick
    many, some = (40, 20) if quick else (2000, 600)
    with ProcessPoolExecutor() as pool:
        rows = [*_planted(pool, some), *_surrogates(pool, many), *_lags(pool, some)]
    if not quick:
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _planted(pool: ProcessPoolExecutor, n: int) -> list[dict[str, Any]]:
    print(
        "| spacing | SNR | rho | n | misses | not finished | coverage | n | inside 99.9 % of .95 |\n" + "|---" * 9 + "|"
    )
    rows = []
    for spacing, snr, rho in itertools.product(SPACINGS, (2, 5, 10), (0.0, 0.3, 0.6)):
        found = list(pool.map(one_planted, [(spacing, snr, rho, FIRST + seed) for seed in range(n)], chunksize=10))
        outcome = [name for name, _ in found]
        risen, missed = outcome.count("transition"), outcome.count("no transition")
        covered = sum(covers for name, covers in found if name == "transition")
        ends = binom.ppf([0.0005, 0.9995], max(risen, 1), 0.95)
        inside = ("yes" if ends[0] <= covered <= ends[1] else "no") if risen else "-"
        about = {"what": "planted", "spacing": spacing, "snr": snr, "rho": rho, "n": n}
        rows.append(about | {"missed": missed, "transitions": risen, "covered": covered})
        unfinished, cover = outcome.count("not finished") / n, exact(covered, risen) if risen else "-"
        cells = (spacing, snr, rho, n, exact(missed, n), f"{unfinished:.3f}", cover, risen, inside)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    return rows


def _surrogates(pool: ProcessPoolExecutor, n: int) -> list[dict[str, Any]]:
    print("\n| surrogate | spacing | n | false alarms | not finished |\n|---|---|---|---|---|")
    rows = []
    for name, spacing in itertools.product(SURROGATES, SPACINGS):
        outcome = list(pool.map(one_surrogate, [(spacing, name, FIRST + seed) for seed in range(n)], chunksize=50))
        alarms, unfinished = outcome.count("transition"), outcome.count("not finished")
        rows.append({"what": name, "spacing": spacing, "n": n, "alarms": alarms, "unfinished": unfinished})
        print(f"| {name} | {spacing} | {n} | {exact(alarms, n)} | {unfinished / n:.3f} |", flush=True)
    return rows


def _lags(pool: ProcessPoolExecutor, n: int) -> list[dict[str, Any]]:
    print("\n| lag, ln(step) | spacing | n | p <= .05 | coverage |\n|---|---|---|---|---|")
    rows = []
    for true, spacing in itertools.product((0.0, 0.3, -0.3), SPACINGS):
        found = list(pool.map(one_lag, [(spacing, true, FIRST + seed) for seed in range(n)], chunksize=10))
        found = [one for one in found if np.isfinite(one[0])]
        rejected, covered = sum(p <= 0.05 for p, _ in found), sum(covers for _, covers in found)
        about = {"what": "lag", "true": true, "spacing": spacing, "n": len(found)}
        rows.append(about | {"rejected": rejected, "covered": covered})
        cells = (true, spacing, len(found), exact(rejected, len(found)), exact(covered, len(found)))
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    return rows


if __name__ == "__main__":
    main()
