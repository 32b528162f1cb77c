"""When a curve has risen by half, whatever its shape."""

import numpy as np


def isotonic(y: np.ndarray) -> np.ndarray:
    """The rising curve nearest to y: neighbours that fall are pooled until none does."""
    blocks: list[list[float]] = []
    for value in y:
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, size = blocks.pop()
            before, before_size = blocks.pop()
            blocks.append([(mean * size + before * before_size) / (size + before_size), size + before_size])
    return np.concatenate([np.full(int(size), mean) for mean, size in blocks])


def half_rise(step: np.ndarray, y: np.ndarray) -> float:
    """The step half-way between the fit's first and last tenth, linear in ln(step); tenths are rounded down."""
    fitted, tenth = isotonic(y), max(1, len(y) // 10)
    middle = (fitted[:tenth].mean() + fitted[-tenth:].mean()) / 2
    after = int(np.flatnonzero(fitted >= middle)[0])
    x = np.log(step)
    if after == 0:
        return float(step[0])
    share = (middle - fitted[after - 1]) / (fitted[after] - fitted[after - 1])
    return float(np.exp(x[after - 1] + share * (x[after] - x[after - 1])))
