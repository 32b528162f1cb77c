"""Curves whose answer is known: planted rises with noise, and surrogates that do not rise, or rise at no one time."""

import numpy as np
from jaxtyping import Float

from mechxl.config import TrainingConfig
from mechxl.measures.rises import ends

Curve = Float[np.ndarray, " point"]
POINTS, LAST = 120, 3000
CHECKPOINTS = TrainingConfig(steps=LAST).checkpoint_steps()[1:]
SPACINGS = {
    "log": np.geomspace(1, LAST, POINTS),
    "linear": np.linspace(LAST / POINTS, LAST, POINTS),
    "evaluations": np.array(sorted({*range(50, LAST + 1, 50), *CHECKPOINTS}), dtype=float),
    "checkpoints": np.array(CHECKPOINTS, dtype=float),
}
NOISES = {"even": 1.0, "growing": 0.25}  # its size where the curve rests, over that where it moves fastest
GAP = 3  # of two stages, as a factor in steps


def ar(rng: np.random.Generator, points: int, rho: float, sd: float = 1.0) -> Curve:
    """Stationary AR(1) noise."""
    steps = rng.normal(size=points) * sd * np.sqrt(1 - rho**2)
    noise = np.empty(points)
    noise[0] = rng.normal() * sd
    for point in range(1, points):
        noise[point] = rho * noise[point - 1] + steps[point]
    return noise


def noisy(rng: np.random.Generator, curve: Curve, rate: Curve, snr: float, rho: float, noise: str) -> Curve:
    """The curve with AR(1) noise, of the same size everywhere or growing with the rate of change (0 to 1)."""
    rest = NOISES[noise]
    return curve + ar(rng, len(curve), rho) / snr * (rest + (1 - rest) * rate)


def planted(
    rng: np.random.Generator, x: Curve, snr: float, rho: float, noise: str = "even", m: float | None = None
) -> tuple[Curve, float, float]:
    """A curve that rises once, its half-rise in ln(step), and where it is half-way between its first and last tenth."""
    m = rng.uniform(np.log(200), np.log(1000)) if m is None else m
    s = 1 / (1 + np.exp(-(x - m) / rng.uniform(0.1, 0.3)))
    return noisy(rng, s, 4 * s * (1 - s), snr, rho, noise), m, float(np.interp(np.mean(ends(s)), s, x))


def planted_twice(rng: np.random.Generator, x: Curve, snr: float, noise: str) -> tuple[Curve, tuple[float, float]]:
    """A curve that rises twice, and its half-rises in ln(step)."""
    m = rng.uniform(np.log(60), np.log(300))
    ms, part = (m, m + np.log(GAP)), rng.uniform(0.35, 0.65)
    stages = [1 / (1 + np.exp(-(x - middle) / rng.uniform(0.1, 0.3))) for middle in ms]
    rate = np.max([4 * s * (1 - s) for s in stages], axis=0)
    return noisy(rng, part * stages[0] + (1 - part) * stages[1], rate, snr, 0.3, noise), ms


FLAT = ("AR(1) at .5", "AR(1) at .8", "AR(1) at .95", "one spike")  # these do not rise
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
