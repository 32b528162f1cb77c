"""Linear probes: how much a linear reader learns about a label (the language, a value) from new entities' activations.

The reader is multinomial logistic regression, trained on some entities and tested on others. Scaling and penalty are
chosen on the training entities only. The information that it reads, in bits, is

    log2(number of classes) - held-out cross entropy in bits

for balanced classes. It is a lower bound on the mutual information of label and activations (Xu et al. 2020,
V-information of the linear family). It is not clipped: below 0 the reader is overconfident. Accuracy is balanced: the
mean over classes of the share of rows read rightly.

What probes cannot see: whether the model uses what they read. If tokens reveal a label, a probe reads it from
embeddings even before training: compare with checkpoint 0, with shuffled labels and with a reader of the tokens.

Intervals resample the held-out entities and keep the fitted readers, so they leave out the variation from training.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV

from mechxl.measures.statistics import EntityBootstrap

PENALTIES = (1e-4, 1e-2, 1.0, 100.0)  # sklearn's C, an inverse penalty; with the first, almost nothing is read
VALUE_PENALTIES = tuple(10.0**power for power in range(-3, 4))
DRAWS = 1000
FIRST_BLOCK = 16  # entities that the online code codes uniformly


@dataclass(frozen=True)
class Reading:
    """The information that a probe reads on held-out entities.

    Attributes:
        bits: log2(classes) - cross entropy; NaN with a reason.
        bits_low: lower end of its 95 % interval over entities.
        bits_high: its upper end.
        accuracy: balanced accuracy.
        accuracy_low: lower end of its interval.
        accuracy_high: its upper end.
        n: the number of rows.
        entities: the number of entities of these rows.
        reason: why the numbers are NaN.
    """

    bits: float
    bits_low: float
    bits_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    n: int
    entities: int
    reason: str = ""

    @classmethod
    def undefined(cls, reason: str, n: int, entities: int) -> "Reading":
        """A reading of NaN, with the reason."""
        nan = float("nan")
        return cls(nan, nan, nan, nan, nan, nan, n, entities, reason)


def entity_folds(entity: Int[np.ndarray, " row"], folds: int, rng: np.random.Generator) -> Int[np.ndarray, " row"]:
    """The fold of each row; all rows of an entity are in one fold; folds differ in size by at most one entity.

    Raises:
        ValueError: fewer entities than folds, or fewer than two folds.
    """
    names, index = np.unique(entity, return_inverse=True)
    if not 2 <= folds <= len(names):
        raise ValueError(
            f"{folds} folds of {len(names)} entities: use at least 2 folds, and at most as many as entities"
        )
    return (rng.permutation(len(names)) % folds)[index]


def probe(
    x: Float[np.ndarray, "row d"],
    label: Int[np.ndarray, " row"],
    entity: Int[np.ndarray, " row"],
    fold: Int[np.ndarray, " row"],
    rng: np.random.Generator,
) -> Reading:
    """The reading of linear readers: each fold is read by a reader that is trained on the other folds.

    Args:
        x: activations, or counts of tokens.
        label: the class of each row.
        entity: of each row; intervals resample entities, and the choice of the penalty holds some out.
        fold: of each row, from `entity_folds`; or its relation, to hold out one relation at a time.
        rng: a generator.

    Raises:
        ValueError: activations are not finite, or the arrays differ in length.
    """
    x = _checked(x, label, entity, fold)
    classes, y = np.unique(label, return_inverse=True)
    n, entities = len(x), len(np.unique(entity))
    if len(classes) < 2 or len(np.unique(fold)) < 2:
        single = "one class" if len(classes) < 2 else "one fold"
        return Reading.undefined(f"{single} only: nothing to tell apart", n, entities)
    log_p = np.zeros((n, len(classes)))
    for held_out in np.unique(fold):
        rows = fold != held_out
        if len(np.unique(y[rows])) < len(classes):
            return Reading.undefined("a class that occurs in one fold only", n, entities)
        log_p[~rows] = fitted(x[rows], y[rows], entity[rows], rng)(x[~rows])
    return scored(log_p, y, entity, rng)


def scored(
    log_p: Float[np.ndarray, "row cls"],
    y: Int[np.ndarray, " row"],
    entity: Int[np.ndarray, " row"],
    rng: np.random.Generator,
) -> Reading:
    """Bits and balanced accuracy of predictions, with intervals over entities.

    Args:
        log_p: of each class, in nats.
        y: the class of each row, from 0.
        entity: of each row.
        rng: a generator.
    """
    n_classes = log_p.shape[1]
    size = np.bincount(y, minlength=n_classes)
    if (size == 0).any():
        return Reading.undefined("a class has no held-out row", len(y), len(np.unique(entity)))
    balance = len(y) / (n_classes * size[y])
    best = log_p >= log_p.max(axis=1, keepdims=True) - 1e-9  # ties are shared
    right = (best / best.sum(axis=1, keepdims=True))[np.arange(len(y)), y]
    gained = np.log2(n_classes) + log_p[np.arange(len(y)), y] / np.log(2)
    over = EntityBootstrap(entity, DRAWS, rng)
    bits, accuracy = over.mean(balance * gained, entity), over.mean(balance * right, entity)
    return Reading(*bits, *accuracy, len(y), len(over.entities))


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
    names = np.unique(entity)
    inside = np.isin(entity, rng.permutation(names)[: -max(1, len(names) // 3)])
    if _uninformative(_by_feature(x)(x), y):
        frequency = np.log(np.bincount(y) / len(y))
        return lambda other: np.broadcast_to(frequency, (len(other), len(frequency)))
    best, loss = (_by_feature, PENALTIES[0]), np.inf
    if len(np.unique(y[inside])) == y.max() + 1:
        for scaling in (_by_feature, _as_a_whole):
            reader = LogisticRegression(solver="newton-cholesky", warm_start=True, tol=1e-3, max_iter=50)
            scale = scaling(x[inside])
            train, test = scale(x[inside]), scale(x[~inside])
            for penalty in PENALTIES:
                log_p = _log_p(reader.set_params(C=penalty).fit(train, y[inside]), test)
                cross_entropy = -float(log_p[np.arange(len(log_p)), y[~inside]].mean())
                if cross_entropy < loss:
                    best, loss = (scaling, penalty), cross_entropy
    scaling, penalty = best
    scale = scaling(x)
    reader = LogisticRegression(solver="newton-cholesky", C=penalty, max_iter=50).fit(scale(x), y)
    return lambda other: _log_p(reader, scale(other))


def _uninformative(x: Float[np.ndarray, "row d"], y: Int[np.ndarray, " row"]) -> bool:
    """Whether all classes have the same mean (as with shared names): weights of 0 are then optimal at any penalty."""
    return all(float(np.abs(x[y == c].mean(axis=0) - x.mean(axis=0)).max()) < 1e-7 for c in range(int(y.max()) + 1))


def _log_p(reader: LogisticRegression, x: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row cls"]:
    """Log probabilities in nats; sklearn's own are -inf if a probability is below the smallest float."""
    z = reader.decision_function(x)
    return log_softmax(np.stack([-z / 2, z / 2], axis=1) if z.ndim == 1 else z, axis=1)


Scaled = Callable[[Float[np.ndarray, "row d"]], Float[np.ndarray, "row d"]]


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


def code_length(
    x: Float[np.ndarray, "row d"],
    label: Int[np.ndarray, " row"],
    entity: Int[np.ndarray, " row"],
    rng: np.random.Generator,
) -> tuple[float, str]:
    """Online code length of the labels, in bits a row (Voita and Titov 2020, section 2.2.2); if NaN, the reason.

    Entities come in a random order, in blocks of doubling size. The first 16 entities have the uniform code; each later
    block is coded by a reader trained on all earlier entities. A length of log2(classes) means that nothing is read;
    the shorter the code, the easier the label is to read.

    Raises:
        ValueError: activations are not finite, or the arrays differ in length.
    """
    x = _checked(x, label, entity, entity)
    classes, y = np.unique(label, return_inverse=True)
    order = rng.permutation(np.unique(entity))
    if len(classes) < 2 or len(order) <= FIRST_BLOCK:
        few = f"{len(order)} entities: the first {FIRST_BLOCK} are coded without a reader"
        return float("nan"), "one class only: nothing to code" if len(classes) < 2 else few
    entity_rank = np.argsort(order)[np.searchsorted(np.unique(entity), entity)]
    bits, done = np.log2(len(classes)) * float((entity_rank < FIRST_BLOCK).sum()), FIRST_BLOCK
    while done < len(order):
        before, block = entity_rank < done, (entity_rank >= done) & (entity_rank < 2 * done)
        log_p = fitted(x[before], y[before], entity[before], rng)(x[block])
        bits -= float(log_p[np.arange(len(log_p)), y[block]].sum()) / np.log(2)
        done *= 2
    return bits / len(x), ""


def value_reader(
    x: Float[np.ndarray, "row d"], value: Int[np.ndarray, " row"]
) -> Callable[[Float[np.ndarray, "other d"]], Int[np.ndarray, " other"]]:
    """A linear reader of many classes in closed form: ridge regression on indicators, penalty by leave-one-out."""
    scale = _by_feature(x)
    if len(np.unique(value)) < 2:
        return lambda other: np.full(len(other), value[0])
    reader = RidgeClassifierCV(alphas=VALUE_PENALTIES).fit(scale(x), value)
    return lambda other: np.asarray(reader.predict(scale(other)))


def _checked(
    x: Float[np.ndarray, "row d"], *columns: Int[np.ndarray, " any"] | Bool[np.ndarray, " any"]
) -> Float[np.ndarray, "row d"]:
    if any(len(column) != len(x) for column in columns):
        raise ValueError(f"{len(x)} rows of activations, but labels, entities and folds of {[*map(len, columns)]}")
    if not np.isfinite(x).all():
        raise ValueError("activations hold NaN or infinite values, for example of a sentence that lacks the role")
    return x.astype(float)
