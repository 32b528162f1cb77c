"""Linear probes: how much a linear reader learns about a label (the language, a value) from new entities' activations.

The reader is multinomial logistic regression (`readers`), trained on some entities and tested on others. Scaling and
penalty are chosen on the training entities only. The information that it reads, in bits, is

    log2(number of classes) - held-out cross entropy in bits

for balanced classes. It is a lower bound on the mutual information of label and activations (Xu et al. 2020,
V-information of the linear family). It is not clipped: below 0 the reader is overconfident. Accuracy is balanced: the
mean over classes of the share of rows read rightly.

What probes cannot see: whether the model uses what they read. If tokens reveal a label, a probe reads it from
embeddings even before training: compare with checkpoint 0, with shuffled labels and with a reader of the tokens.

Intervals. What is estimated is the expected value of this procedure on so many entities: over the entities that train
and test it, and over folds. With folds drawn R times (`repeated_folds`) the probe is refitted for each, and a mean over
draws is reported. Its variance is

    s2 / n + f2 (1 / R + 1 / (K - 1))

s2: the variance between n entities of their mean over draws. f2: the variance between draws, each of which trains on
other entities and chooses anew. The second term of its factor is the correction of Nadeau and Bengio (2003, section 3):
trainings on subsets of one sample overlap, so that more draws do not average out what another sample would train, and
the correlation is about the ratio of tested to trained entities, 1 / (K - 1) in K folds. (No unbiased estimate exists:
Bengio and Grandvalet 2004; Bates et al. 2024 show how far plain intervals fall short.) Ends: t, with the degrees of
freedom of the sum (Satterthwaite 1946); bits on the logarithm of cross entropy, which cannot fall below 0; accuracy as
a Wilson interval. Where almost all is read, the few entities that are not seldom are in the sample. So bits count one
more entity of which half is lost, in the variance and at the lower end (as Agresti and Coull 1998 do for shares).
docs/language.md has how often these intervals cover. With folds given once (relations, say) the fitted readers are
kept and held-out entities resampled, which leaves out the variation from training: `interval` says "fixed probe".
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import t

from mechxl.measures.readers import fitted
from mechxl.measures.statistics import EntityBootstrap, wilson_ends

DRAWS = 1000
REPEATS = 3  # draws of the folds
FIRST_BLOCK = 16  # entities that the online code codes uniformly
REFITTED, FIXED = "refitted", "fixed probe"
LEAST_ENTROPY = 1e-12  # bits


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
        interval: refitted, or fixed probe: what varies in the intervals.
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
    interval: str = FIXED
    reason: str = ""

    @classmethod
    def undefined(cls, reason: str, n: int, entities: int) -> "Reading":
        """A reading of NaN, with the reason."""
        nan = float("nan")
        return cls(nan, nan, nan, nan, nan, nan, n, entities, "", reason)


@dataclass(frozen=True)
class Scores:
    """What each held-out row gives; means over rows are bits and balanced accuracy."""

    bits: Float[np.ndarray, " row"]
    right: Float[np.ndarray, " row"]


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


def repeated_folds(
    entity: Int[np.ndarray, " row"], folds: int, rng: np.random.Generator, repeats: int = REPEATS
) -> Int[np.ndarray, "repeat row"]:
    """Folds by entity, drawn several times."""
    return np.stack([entity_folds(entity, folds, rng) for _ in range(repeats)])


def probe(
    x: Float[np.ndarray, "row d"],
    label: Int[np.ndarray, " row"],
    entity: Int[np.ndarray, " row"],
    fold: Int[np.ndarray, " row"] | Int[np.ndarray, "repeat row"],
    rng: np.random.Generator,
) -> Reading:
    """The reading of linear readers: each fold is read by a reader that is trained on the other folds.

    Args:
        x: activations, or counts of tokens.
        label: the class of each row.
        entity: of each row; intervals resample entities, and the choice of the penalty holds some out.
        fold: of each row, drawn several times (`repeated_folds`); or once: a row's relation, to hold out one at a time.
        rng: a generator.

    Raises:
        ValueError: activations are not finite, or the arrays differ in length.
    """
    draws = np.atleast_2d(fold)
    x = _checked(x, label, entity, draws[0])
    classes, y = np.unique(label, return_inverse=True)
    n, entities = len(x), len(np.unique(entity))
    if len(classes) < 2 or len(np.unique(draws[0])) < 2:
        single = "one class" if len(classes) < 2 else "one fold"
        return Reading.undefined(f"{single} only: nothing to tell apart", n, entities)
    log_p = np.zeros((len(draws), n, len(classes)))
    for predicted, folds in zip(log_p, draws, strict=True):
        for held_out in np.unique(folds):
            rows = folds != held_out
            if len(np.unique(y[rows])) < len(classes):
                return Reading.undefined("a class that occurs in one fold only", n, entities)
            predicted[~rows] = fitted(x[rows], y[rows], entity[rows], rng)(x[~rows])
    if len(draws) == 1:
        return scored(log_p[0], y, entity, rng)
    scores = [_scores(predicted, y) for predicted in log_p]
    return _refitted(scores, entity, len(np.unique(draws[0])), len(classes))


def scored(
    log_p: Float[np.ndarray, "row cls"],
    y: Int[np.ndarray, " row"],
    entity: Int[np.ndarray, " row"],
    rng: np.random.Generator,
) -> Reading:
    """Bits and balanced accuracy of predictions, with intervals over entities; the reader is kept.

    Args:
        log_p: of each class, in nats.
        y: the class of each row, from 0.
        entity: of each row.
        rng: a generator.
    """
    if (np.bincount(y, minlength=log_p.shape[1]) == 0).any():
        return Reading.undefined("a class has no held-out row", len(y), len(np.unique(entity)))
    scores, over = _scores(log_p, y), EntityBootstrap(entity, DRAWS, rng)
    bits, accuracy = over.mean(scores.bits, entity), over.mean(scores.right, entity)
    return Reading(*bits, *accuracy, len(y), len(over.entities), FIXED)


def _scores(log_p: Float[np.ndarray, "row cls"], y: Int[np.ndarray, " row"]) -> Scores:
    rows, n_classes = np.arange(len(y)), log_p.shape[1]
    balance = len(y) / (n_classes * np.bincount(y, minlength=n_classes)[y])
    best = log_p >= log_p.max(axis=1, keepdims=True) - 1e-9  # ties are shared
    right = (best / best.sum(axis=1, keepdims=True))[rows, y]
    return Scores(balance * (np.log2(n_classes) + log_p[rows, y] / np.log(2)), balance * right)


def _refitted(scores: list[Scores], entity: Int[np.ndarray, " row"], folds: int, n_classes: int) -> Reading:
    """Means over draws of the folds, and the intervals of the module's docstring."""
    n, entities = len(entity), len(np.unique(entity))
    most = float(np.log2(n_classes))
    unseen = most / 2 / entities  # what one more entity of which half is lost adds to the mean
    bits, error, freedom = _with_error(np.stack([one.bits for one in scores]), entity, folds, unseen)
    entropy, half = max(most - bits, LEAST_ENTROPY), float(t.ppf(0.975, freedom)) * error
    above, below = entropy + unseen, entropy
    ends = most - above * np.exp(half / above), most - below * np.exp(-half / below)
    accuracy, error, freedom = _with_error(np.stack([one.right for one in scores]), entity, folds)
    share = min(max(accuracy, 0.0), 1.0)
    low, high = wilson_ends(np.array([share]), np.array([error**2]), most=n, entities=int(freedom) + 1)
    bits_low, bits_high = map(float, ends)
    return Reading(bits, bits_low, bits_high, share, float(low[0]), float(high[0]), n, entities, REFITTED)


def _with_error(
    values: Float[np.ndarray, "repeat row"], entity: Int[np.ndarray, " row"], folds: int, unseen: float = 0.0
) -> tuple[float, float, float]:
    """The mean over draws and rows, its standard error (with an error that no entity shows), its degrees of freedom."""
    names, index = np.unique(entity, return_inverse=True)
    repeats, n = len(values), len(names)
    mean = float(values.mean())
    residual = np.bincount(index, weights=values.mean(axis=0) - mean)
    between_entities = n / (n - 1) * float((residual**2).sum()) / values.shape[1] ** 2 + unseen**2
    between_draws = float(values.mean(axis=1).var(ddof=1)) * (1 / repeats + 1 / (folds - 1))
    variance = between_entities + between_draws
    if variance == 0:
        return mean, 0.0, n - 1.0
    freedom = variance**2 / (between_entities**2 / (n - 1) + between_draws**2 / (repeats - 1))
    return mean, float(np.sqrt(variance)), min(freedom, n - 1.0)


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


def _checked(
    x: Float[np.ndarray, "row d"], *columns: Int[np.ndarray, " any"] | Bool[np.ndarray, " any"]
) -> Float[np.ndarray, "row d"]:
    if any(len(column) != len(x) for column in columns):
        raise ValueError(f"{len(x)} rows of activations, but labels, entities and folds of {[*map(len, columns)]}")
    if not np.isfinite(x).all():
        raise ValueError("activations hold NaN or infinite values, for example of a sentence that lacks the role")
    return x.astype(float)
