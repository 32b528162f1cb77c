"""Adds a language to the residual stream (steering): the difference of two languages' mean streams, within a relation.

There is a direction for each slot and relation, since languages differ by other words in each relation: a direction
that is pooled over relations adds the mean of words that no prompt holds. The prompt's relation is given, not read from
the model.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.instruments.erasure.intervention import Edit, FitPrompts, Slots


@dataclass(frozen=True)
class Directions:
    """What is added to the stream, for each slot and relation.

    Attributes:
        table: the directions; 0 where one of the two languages has no such slot in the relation.
        known: where both languages have it.
    """

    table: Float[Tensor, "relation slot d"]
    known: Bool[np.ndarray, "relation slot"]

    def edit(self, strength: float) -> Edit:
        """An edit that adds `strength` times the direction; its slots are those of `slots_in_relations`."""
        flat = strength * self.table.flatten(0, 1)
        return lambda x, slot: x + flat.to(x)[slot]

    def random(self, rng: np.random.Generator) -> "Directions":
        """Random directions of the same lengths."""
        drawn = torch.as_tensor(rng.standard_normal(tuple(self.table.shape))).to(self.table)
        return Directions(drawn / drawn.norm(dim=2, keepdim=True) * self.table.norm(dim=2, keepdim=True), self.known)


def slots_in_relations(slots: Slots, relation: Int[np.ndarray, " prompt"]) -> Int[np.ndarray, "prompt position"]:
    """The place of each position in the flattened table of directions: relation, then slot; -1 as in the slots."""
    return np.where(slots.index >= 0, relation[:, None] * len(slots.names) + slots.index, -1)


def mean_streams(
    prompts: FitPrompts, stream: Float[Tensor, "prompt pos d"], n_relations: int, n_languages: int
) -> tuple[Float[Tensor, "language relation slot d"], Int[np.ndarray, "language relation slot"]]:
    """The mean stream of each language, relation and slot, and over how many prompts it is taken; 0 over none."""
    prompt, position = np.nonzero(prompts.slots.index >= 0)
    shape = (n_languages, n_relations, len(prompts.slots.names))
    place = prompts.language[prompt], prompts.relation[prompt], prompts.slots.index[prompt, position]
    flat = np.ravel_multi_index(place, shape)
    count = np.bincount(flat, minlength=int(np.prod(shape)))
    rows = stream[prompt, position].double()
    total = rows.new_zeros(len(count), rows.shape[1]).index_add_(0, torch.as_tensor(flat, device=rows.device), rows)
    mean = total / torch.as_tensor(np.maximum(count, 1), device=rows.device)[:, None]
    return mean.unflatten(0, shape), count.reshape(shape)


def directions(
    means: Float[Tensor, "language relation slot d"],
    count: Int[np.ndarray, "language relation slot"],
    source: int,
    target: int,
) -> Directions:
    """The target language's mean streams minus the source language's, by relation and slot.

    Args:
        means: of `mean_streams`.
        count: likewise.
        source: the number of the language to steer away from.
        target: the number of the language to steer towards.
    """
    known = (count[source] > 0) & (count[target] > 0)
    table = (means[target] - means[source]) * torch.as_tensor(known, device=means.device)[..., None]
    return Directions(table, known)
