"""Adds a language to the residual stream (steering): the difference of two languages' mean streams, at every slot."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechxl.instruments.erasure.intervention import Edit, FitPrompts, edited_streams

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer


def directions(
    model: "HookedTransformer", prompts: FitPrompts, layer: int, source: int, target: int
) -> dict[int, Float[Tensor, " d"]]:
    """By slot, the mean stream of the target language's prompts minus the mean stream of the source language's.

    Slots that only one of the two languages has are left out.

    Args:
        model: the model whose stream is read.
        prompts: the prompts to take means over.
        layer: the layer to read; 0 is the embeddings.
        source: the number of the language to steer away from.
        target: the number of the language to steer towards.
    """
    stream = edited_streams(model, prompts.tokens, prompts.slots.index, {}, [layer])[layer]
    difference_by_slot = {}
    for slot in np.unique(prompts.slots.index[prompts.slots.index >= 0]).tolist():
        in_slot = prompts.slots.index == slot
        means = []
        for language in (source, target):
            prompt, position = np.nonzero(in_slot & (prompts.language == language)[:, None])
            means.append(stream[prompt, position].mean(0) if len(prompt) else None)
        if means[0] is not None and means[1] is not None:
            difference_by_slot[slot] = means[1] - means[0]
    return difference_by_slot


def steering(by_slot: dict[int, Float[Tensor, " d"]], strength: float) -> dict[int, Edit]:
    """Edits that add each slot's direction, multiplied by `strength`."""

    def adding(direction: Float[Tensor, " d"]) -> Callable[[Float[Tensor, "row d"]], Float[Tensor, "row d"]]:
        return lambda x: x + strength * direction.to(x)

    return {slot: adding(direction) for slot, direction in by_slot.items()}


def random_directions(
    by_slot: dict[int, Float[Tensor, " d"]], rng: np.random.Generator
) -> dict[int, Float[Tensor, " d"]]:
    """By slot, a random direction of the same length."""
    random_by_slot = {}
    for slot, direction in by_slot.items():
        drawn = torch.as_tensor(rng.standard_normal(len(direction))).to(direction)
        random_by_slot[slot] = drawn / drawn.norm() * direction.norm()
    return random_by_slot
