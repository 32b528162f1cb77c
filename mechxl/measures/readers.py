"""Linear readers of a label: multinomial logistic regression, and ridge regression for labels of many values.

Logistic regression minimises mean cross entropy + |weights|^2 / (2 C n) in nats over n rows, the intercept free, as
sklearn's LogisticRegression does. Newton's method is done here since a question fits some ten thousand small readers:
sklearn reaches the same optimum (`tests/measures/test_readers.py`) in about four times the time, most of it spent on
checks of its input.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, log_expit, log_softmax, softmax

PENALTIES = (1e-4, 1e-2, 1.0, 100.0)  # C, an inverse penalty; with the first, almost nothing is read
VALUE_PENALTIES = tuple(10.0**power for power in range(-3, 4))
ITERATIONS = 50
ROUGH, EXACT = 1e-3, 1e-5  # the largest derivative at which a fit ends, in nats: to choose a penalty, and afterwards

Scaled = Callable[[Float[np.ndarray, "row d"]], Float[np.ndarray, "row d"]]
Weights = Float[np.ndarray, "feature column"]


def fitted(
    x: Float[np.ndarray, "row d"],
    y: Int[np.ndarray, " row"],
    entity: Int[np.ndarray, " row"],
    rng: np.random.Generator,
) -> Callable[[Float[np.ndarray, "other d"]], Float[np.ndarray, "other cls"]]:
    """A function that gives a fitted reader's log probabilities, in nats.

    Its scaling and penalty are the best on a third of the entities, after training on the others. With these it is then
    trained on all entities.

    Args:
        x: activations to train on.
        y: the class of each row, numbered from 0 without gaps.
        entity: of each row.
        rng: a generator.
    """
    names, classes = np.unique(entity), int(y.max()) + 1
    inside = np.isin(entity, rng.permutation(names)[: -max(1, len(names) // 3)])
    if _uninformative(x, y):
        frequency = np.log(np.bincount(y) / len(y))
        return lambda other: np.broadcast_to(frequency, (len(other), len(frequency)))
    best, loss = (_by_feature, PENALTIES[0]), np.inf
    if len(np.unique(y[inside])) == classes:
        for scaling in (_by_feature, _as_a_whole):
            scale = scaling(x[inside])
            train, test, weights = _with_one(scale(x[inside])), _with_one(scale(x[~inside])), None
            for penalty in PENALTIES:
                weights = logistic(train, y[inside], classes, penalty, weights, ROUGH)
                cross_entropy = -float(_log_p(test @ weights)[np.arange(len(test)), y[~inside]].mean())
                if cross_entropy < loss:
                    best, loss = (scaling, penalty), cross_entropy
    scaling, penalty = best
    scale = scaling(x)
    weights = logistic(_with_one(scale(x)), y, classes, penalty)
    return lambda other: _log_p(_with_one(scale(other)) @ weights)


def logistic(
    x: Float[np.ndarray, "row feature"],
    y: Int[np.ndarray, " row"],
    classes: int,
    penalty: float,
    start: Weights | None = None,
    tolerance: float = EXACT,
) -> Weights:
    """Weights of least penalised cross entropy, by Newton's method with backtracking.

    Args:
        x: rows; the last feature is 1, and its weights are not penalised.
        y: the class of each row.
        classes: how many. Two have one column of weights, whose product with a row is the log odds of class 1.
        penalty: C.
        start: weights to begin with.
        tolerance: the largest derivative at which to stop, in nats.
    """
    n, features = x.shape
    columns = 1 if classes == 2 else classes
    label = np.eye(classes)[y][:, -columns:]
    ridge = np.full((features, 1), 1 / (penalty * n))
    ridge[-1] = 0

    def loss(weights: Weights, z: Float[np.ndarray, "row column"]) -> float:
        told = log_expit((2 * label - 1) * z).sum() if columns == 1 else (label * log_softmax(z, axis=1)).sum()
        return float(-told / n + (ridge * weights**2).sum() / 2)

    single = x.astype(np.float32)
    weights = np.zeros((features, columns)) if start is None else start
    z = x @ weights
    value = loss(weights, z)
    for _ in range(ITERATIONS):
        p = expit(z) if columns == 1 else softmax(z, axis=1)
        slope = x.T @ (p - label) / n + ridge * weights
        if np.abs(slope).max() <= tolerance:
            break
        step = _newton_step(single, p, slope, ridge)
        moved, size, fall = x @ step, 1.0, float((slope * step).sum())
        while (trial := loss(weights - size * step, z - size * moved)) > value - 1e-4 * size * fall and size > 1e-6:
            size /= 2
        weights, z, value = weights - size * step, z - size * moved, trial
    return weights


def _newton_step(
    x: Float[np.ndarray, "row feature"],
    p: Float[np.ndarray, "row column"],
    slope: Weights,
    ridge: Float[np.ndarray, "feature 1"],
) -> Weights:
    """The inverse Hessian times the slope. Its block of columns k and j is x' diag(p_k (k == j) - p_k p_j) x / n.

    Single precision is enough for it: where a fit ends is decided by the slope.
    """
    features, columns = slope.shape
    hessian = np.empty((columns, features, columns, features))
    for k in range(columns):
        for j in range(k + 1):
            curve = p[:, k] * ((1 - p[:, k]) if k == j else p[:, j]) / len(x)
            scaled = x * np.sqrt(curve).astype(np.float32)[:, None]
            block = scaled.T @ scaled
            hessian[k, :, j] = hessian[j, :, k] = block if k == j else -block
    hessian = hessian.reshape(columns * features, -1)
    # a little more on the diagonal: the mean of all intercepts is free, and where all rows are sure there is no curve
    little = 1e-7 * float(np.trace(hessian)) / len(hessian) + 1e-12
    hessian[np.diag_indices(len(hessian))] += np.tile(ridge[:, 0], columns) + little
    return np.linalg.solve(hessian, slope.T.reshape(-1)).reshape(columns, features).T


def value_reader(
    x: Float[np.ndarray, "row d"], value: Int[np.ndarray, " row"]
) -> Callable[[Float[np.ndarray, "other d"]], Int[np.ndarray, " other"]]:
    """A linear reader of many classes in closed form: ridge regression on indicators, the intercept free.

    The penalty is the one of least squared error when each row is left out: its residual divided by 1 - h, with h the
    row's leverage. So it is in sklearn's RidgeClassifierCV, which takes four times as long.
    """
    classes, number = np.unique(value, return_inverse=True)
    if len(classes) < 2:
        return lambda other: np.full(len(other), value[0])
    scale = _by_feature(x)
    centre, indicator = scale(x).mean(axis=0), 2.0 * np.eye(len(classes))[number] - 1
    mean = indicator.mean(axis=0)
    left, singular, right = np.linalg.svd(scale(x) - centre, full_matrices=False)
    along, least, weights = left.T @ (indicator - mean), np.inf, np.zeros((x.shape[1], len(classes)))
    for penalty in VALUE_PENALTIES:
        kept = singular**2 / (singular**2 + penalty)
        free = np.maximum(1 - 1 / len(x) - left**2 @ kept, 1e-12)
        error = float((((indicator - mean - left @ (kept[:, None] * along)) / free[:, None]) ** 2).mean())
        if error < least:
            least, weights = error, right.T @ ((singular / (singular**2 + penalty))[:, None] * along)
    return lambda other: classes[np.argmax((scale(other) - centre) @ weights + mean, axis=1)]


def _uninformative(x: Float[np.ndarray, "row d"], y: Int[np.ndarray, " row"]) -> bool:
    """Whether all classes have the same mean (as with shared names): weights of 0 are then optimal at any penalty."""
    x = _by_feature(x)(x)
    return all(float(np.abs(x[y == c].mean(axis=0) - x.mean(axis=0)).max()) < 1e-7 for c in range(int(y.max()) + 1))


def _log_p(z: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "row cls"]:
    """Log probabilities in nats."""
    return log_softmax(np.concatenate([-z / 2, z / 2], axis=1) if z.shape[1] == 1 else z, axis=1)


def _with_one(x: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row feature"]:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _by_feature(x: Float[np.ndarray, "row d"]) -> Scaled:
    """Scales each feature to mean 0 and variance 1; a constant feature becomes 0."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 1e-9 * max(float(np.abs(x).max()), 1e-30), spread, np.inf)
    return lambda other: (other - mean) / spread


def _as_a_whole(x: Float[np.ndarray, "row d"]) -> Scaled:
    """Scales all features together to mean 0 and a mean variance of 1, so that their relative sizes stay."""
    mean = x.mean(axis=0)
    spread = float(np.sqrt(((x - mean) ** 2).mean()))
    return lambda other: (other - mean) / (spread if spread > 1e-9 * max(float(np.abs(x).max()), 1e-30) else np.inf)
