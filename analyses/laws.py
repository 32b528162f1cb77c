"""How transfer may follow from settings: a law and its rivals, fitted to some cells of a map and tested on the others.

All predict transfer as g + (1 - g) / (1 + exp(-x)): g is the accuracy of the best guess that knows no fact, and x what
a model says of a cell. The docstring of the study `dose_map` fixes the models.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.special import expit

from mechxl.random import generator

N_CELLS = 30
FITTED = sorted(generator(0, "cells of the map").permutation(N_CELLS)[: N_CELLS // 2].tolist())
LAW, NOTHING = "law", "mean"
STARTS = 8  # of the search; the best is kept

Cells = pd.DataFrame
Logits = Float[np.ndarray, " cell"]


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
    return a + b * np.log(_hidden(cells) + q0) - c * _bits(cells) ** power


def _additive(p: Float[np.ndarray, " parameter"], cells: Cells) -> Logits:
    a, b, c = p
    return a + b * _hidden(cells) - c * cells["informativeness"].to_numpy(dtype=float)


def _product(p: Float[np.ndarray, " parameter"], cells: Cells) -> Logits:
    a, c = p
    return a - c * (1 - _hidden(cells)) * _bits(cells)


def _two_ways(p: Float[np.ndarray, " parameter"], cells: Cells) -> Logits:
    a, b, c = p
    return a + b * _hidden(cells) - c * (1 - _hidden(cells)) * _bits(cells)


def _mean(p: Float[np.ndarray, " parameter"], cells: Cells) -> Logits:
    return np.full(len(cells), p[0])


MODELS = {
    LAW: Model(("a", "b", "q0", "c", "p"), _law, positive=("q0", "p")),
    "additive": Model(("a", "b", "c"), _additive),
    "product": Model(("a", "c"), _product),
    "two ways": Model(("a", "b", "c"), _two_ways),
    NOTHING: Model(("a",), _mean),
}


def _hidden(cells: Cells) -> Float[np.ndarray, " cell"]:
    return cells["hidden"].to_numpy(dtype=float)


def _bits(cells: Cells) -> Float[np.ndarray, " cell"]:
    return cells["data_bits"].to_numpy(dtype=float)


def predicted(name: str, parameters: Float[np.ndarray, " parameter"], cells: Cells) -> Float[np.ndarray, " cell"]:
    """Transfer of cells."""
    guess = cells["guess"].to_numpy(dtype=float)
    return guess + (1 - guess) * expit(MODELS[name].logit(parameters, cells))


def fit(name: str, cells: Cells) -> Float[np.ndarray, " parameter"]:
    """The parameters of least squared error in transfer, the best of several searches.

    Args:
        name: of the model.
        cells: rows with informativeness, hidden, data_bits, guess and transfer.
    """
    model, observed, rng = MODELS[name], cells["transfer"].to_numpy(dtype=float), generator(0, f"starts of {name}")
    bound = np.array([key in model.positive for key in model.names])

    def natural(p: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " parameter"]:
        return np.where(bound, np.exp(np.clip(p, -12, 4)), p)

    def error(p: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " cell"]:
        return predicted(name, natural(p), cells) - observed

    starts = rng.normal(0, 1.5, size=(STARTS, len(bound)))
    found = [least_squares(error, np.clip(start, -4, 3), max_nfev=2000) for start in starts]
    return natural(min(found, key=lambda one: one.cost).x)


def held_out_error(name: str, cells: Cells) -> float:
    """The root of the mean squared error in the cells that are not in FITTED, of a fit to those that are."""
    known = cells["cell"].isin(FITTED)
    rest = cells[~known]
    return float(np.sqrt(np.mean((predicted(name, fit(name, cells[known]), rest) - rest["transfer"]) ** 2)))
