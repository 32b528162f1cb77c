"""Does a run come to rest? How far its curves move over the last tenth of training.

While a run moves, its last evaluation is partly the optimizer's noise. Then its end is the mean over the last tenth,
with the range of the evaluations there.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

LAST = 0.1  # share of the steps
LOSS_LEFT = 0.05  # nats above the least possible loss, which a run at rest stays below
MOVES = 0.02  # range of recall and of transfer that a run at rest stays within
FEWEST_EVALUATIONS = 3


@dataclass(frozen=True)
class Movement:
    """One curve over the last tenth of training.

    Attributes:
        mean, low, high, sd: of its evaluations there; low and high are the smallest and the largest.
        last: at the last evaluation.
    """

    mean: float
    low: float
    high: float
    sd: float
    last: float

    @property
    def range(self) -> float:
        """The largest evaluation less the smallest."""
        return self.high - self.low


@dataclass(frozen=True)
class Rest:
    """Whether a run rests, and how far it moves.

    Attributes:
        rests: None where too few evaluations can tell.
        reason: what still moves, or why it can't be told; empty for a run at rest.
        first, last: steps of the first and the last evaluation in the last tenth.
        evaluations: how many lie there.
        loss, recall, transfer: their movements; None where they are not defined.
    """

    rests: bool | None
    reason: str
    first: int
    last: int
    evaluations: int
    loss: Movement | None
    recall: Movement | None
    transfer: Movement | None

    def words(self) -> str:
        """One phrase: at rest, or not and why, or why it can't be told."""
        if self.rests is None:
            return f"can't be told: {self.reason}"
        where = f"over the last {self.evaluations} evaluations (from step {self.first:,} on)"
        moves = [
            f"{name} moves by {part.range:.3f}"
            for name in ("loss", "recall", "transfer")
            if (part := getattr(self, name)) is not None
        ]
        return f"{'at rest' if self.rests else 'not at rest'}: {where} {', '.join(moves)}"


def rest(
    step: Num[np.ndarray, " evaluation"],
    loss: Float[np.ndarray, " evaluation"],
    recall: Float[np.ndarray, " evaluation"],
    transfer: Float[np.ndarray, " evaluation"],
    *,
    least_loss: float = 0.0,
) -> Rest:
    """How far a run moves over the last tenth of its steps, and whether it rests.

    It rests if the loss stays below `least_loss` + LOSS_LEFT there, and recall and transfer each within a range of
    MOVES. Fewer than FEWEST_EVALUATIONS evaluations can't tell.

    Args:
        step: of each evaluation, rising.
        loss: mean loss of an answer, in nats.
        recall: accuracy; NaN where it is not defined.
        transfer: accuracy; NaN where it is not defined.
        least_loss: the loss of a model that knows all facts, in nats.
    """
    if not len(step):
        return Rest(None, "the run has no evaluations", 0, 0, 0, None, None, None)
    tail = step >= (1 - LAST) * step[-1]
    parts = [_movement(curve[tail]) for curve in (loss, recall, transfer)]
    n = int(tail.sum())
    about = (int(step[tail][0]), int(step[-1]), n, *parts)
    if n < FEWEST_EVALUATIONS:
        s = "" if n == 1 else "s"
        return Rest(None, f"{n} evaluation{s} in the last tenth of training, fewer than {FEWEST_EVALUATIONS}", *about)
    moving = []
    if parts[0] and parts[0].high > least_loss + LOSS_LEFT:
        moving.append(
            f"the loss reaches {parts[0].high:.3f} nats, and {least_loss + LOSS_LEFT:.2f} is the most of a run at rest"
        )
    moving += [
        f"{name} moves over a range of {part.range:.3f}, and {MOVES:g} is the most of a run at rest"
        for name, part in zip(("recall", "transfer"), parts[1:], strict=True)
        if part and part.range > MOVES
    ]
    return Rest(not moving, "; ".join(moving), *about)


def _movement(values: Float[np.ndarray, " evaluation"]) -> Movement | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return Movement(*map(float, (known.mean(), known.min(), known.max(), known.std(), known[-1])))
