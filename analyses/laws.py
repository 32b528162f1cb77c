"""How transfer may follow from settings: a law and its rivals, fitted to some cells of a map and tested on the others.

All predict transfer as g + (1 - g) / (1 + exp(-x)): g is the accuracy of the best guess that knows no fact, and x what
a model says of a cell. The docstring of the study `dose_map` fixes the models.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.optimize import least_squares
from scipy.special import expit

from mechxl.random import generator

N_CELLS = 30
FITTED = sorted(generator(0, "cells of the map").permutation(N_CELLS)[: N_CELLS // 2].tolist())
LAW, NOTHING = "law", "mean"
STARTS = 8  # of the search; the best is kept

Logits = Float[np.ndarray, " cell"]


@dataclass(frozen=True)
class Cells:
    """What models see of cells, and their transfer."""

    number: Int[np.ndarray, " cell"]
    informativeness: Float[np.ndarray, " cell"]
    hidden: Float[np.ndarray, " cell"]
    bits: Float[np.ndarray, " cell"]
    guess: Float[np.ndarray, " cell"]
    transfer: Float[np.ndarray, " cell"]

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Cells":
        """From rows with cell, informativeness, hidden, data_bits, guess and transfer."""
        names = ("informativeness", "hidden", "data_bits", "guess", "transfer")
        return cls(table["cell"].to_numpy(dtype=int), *(table[name].to_numpy(dtype=float) for name in names))

    def where(self, chosen: Bool[np.ndarray, " cell"]) -> "Cells":
        """Some of the cells."""
        return Cells(*(getattr(self, part.name)[chosen] for part in fields(self)))

    @property
    def fitted(self) -> Bool[np.ndarray, " cell"]:
        """Which cells models are fitted to; the others are held out."""
        return np.isin(self.number, FITTED)


@dataclass(frozen=True)
class Model:
    """A model of x.

    Attributes:
        names: of its parameters.
        logit: x of cells, from the parameters.
        positive: the names of parameters that must be above 0.
    """

    names: tuple[str, ...]
    logit: Callable[[Float[np.ndarray, " parameter"], Cells], Logits]
    positive: tuple[str, ...] = ()


def _law(p: Float[np.ndarray, " parameter"], cells: Cells) -> Logits:
    a, b, q0, c, power = p
    return a + b * np.log(cells.hidden + q0) - c * cells.bits**power


def _additive(p: Float[np.ndarray, " parameter"], cells: Cells) -> Logits:
    a, b, c = p
    return a + b * cells.hidden - c * cells.informativeness


def _product(p: Float[np.ndarray, " parameter"], cells: Cells) -> Logits:
    a, c = p
    return a - c * (1 - cells.hidden) * cells.bits


def _two_ways(p: Float[np.ndarray, " parameter"], cells: Cells) -> Logits:
    a, b, c = p
    return a + b * cells.hidden - c * (1 - cells.hidden) * cells.bits


def _mean(p: Float[np.ndarray, " parameter"], cells: Cells) -> Logits:
    return np.full(len(cells.hidden), p[0])


MODELS = {
    LAW: Model(("a", "b", "q0", "c", "p"), _law, positive=("q0", "p")),
    "additive": Model(("a", "b", "c"), _additive),
    "product": Model(("a", "c"), _product),
    "two ways": Model(("a", "b", "c"), _two_ways),
    NOTHING: Model(("a",), _mean),
}


def predicted(name: str, parameters: Float[np.ndarray, " parameter"], cells: Cells) -> Float[np.ndarray, " cell"]:
    """Transfer of cells."""
    return cells.guess + (1 - cells.guess) * expit(MODELS[name].logit(parameters, cells))


def fit(name: str, cells: Cells) -> Float[np.ndarray, " parameter"]:
    """The parameters of a model with the least squared error in transfer, the best of several searches."""
    model, rng = MODELS[name], generator(0, f"starts of {name}")
    bound = np.array([key in model.positive for key in model.names])

    def natural(p: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " parameter"]:
        return np.where(bound, np.exp(np.clip(p, -12, 4)), p)

    def error(p: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " cell"]:
        return predicted(name, natural(p), cells) - cells.transfer

    starts = rng.normal(0, 1.5, size=(STARTS, len(bound)))
    found = [least_squares(error, np.clip(start, -4, 3), method="lm", max_nfev=5000) for start in starts]
    return natural(min(found, key=lambda one: one.cost).x)


def held_out_error(name: str, cells: Cells) -> float:
    """The root of the mean squared error in the cells that are held out, of a fit to the others."""
    rest = cells.where(~cells.fitted)
    parameters = fit(name, cells.where(cells.fitted))
    return float(np.sqrt(np.mean((predicted(name, parameters, rest) - rest.transfer) ** 2)))


def width(transfer: Float[np.ndarray, " run"], prediction: Float[np.ndarray, " run"], share: float = 0.95) -> float:
    """How wide an interval must be to hold a share of runs that a law was not fitted to (split conformal prediction).

    In units of sqrt(t (1 - t)), t the prediction: the ceil(share (n + 1))-th smallest error in these units.
    """
    errors = np.sort(np.abs(transfer - prediction) / np.sqrt(prediction * (1 - prediction)))
    return float(errors[min(int(np.ceil(share * (len(errors) + 1))), len(errors)) - 1])
