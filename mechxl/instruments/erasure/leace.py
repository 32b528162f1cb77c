"""Erases the language from the residual stream (LEACE), with controls that erase something else.

LEACE (Belrose et al. 2023, arXiv 2306.03819) is the affine map closest to the identity after which no linear reader can
tell the labels better than by their means. It is fitted for each slot of the prompt, from a layer on. Each layer's map
is fitted on the stream as the earlier maps have left it, since later blocks may write the language again.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from concept_erasure import LeaceEraser
from jaxtyping import Float
from torch import Tensor

from mechxl.instruments.erasure.intervention import Edit, FitPrompts, edited_streams

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

Erasure = Literal["language", "random_rank", "random_variance", "values"]
ERASURES: tuple[Erasure, ...] = ("language", "random_rank", "random_variance", "values")


def erasers(
    model: "HookedTransformer", prompts: FitPrompts, from_layer: int, what: Erasure, rng: np.random.Generator
) -> dict[int, dict[int, Edit]]:
    """Edits by layer and slot that erase something at a layer and at every later one.

    Args:
        model: the model whose stream is edited.
        prompts: the prompts to fit on; evaluate the edits on other facts.
        from_layer: the first layer to erase at; 0 is the embeddings.
        what: "language" erases the language. The others are controls. "random_rank" erases a random subspace of the
            same rank, "random_variance" random directions that carry as much variance as erasing the language removes,
            and "values" a random split of the values, by LEACE too.
        rng: draws the random subspaces.

    Returns:
        {layer: {slot: edit}}. A slot at which there is nothing to erase has no edit.
    """
    label = prompts.value_half if what == "values" else prompts.language
    one_hot = torch.nn.functional.one_hot(torch.as_tensor(label)).double()
    edits: dict[int, dict[int, Edit]] = {}
    for layer in range(from_layer, model.cfg.n_layers + 1):
        stream = edited_streams(model, prompts.tokens, prompts.slots.index, edits, [layer])[layer]
        edits[layer] = {}
        for slot in np.unique(prompts.slots.index[prompts.slots.index >= 0]).tolist():
            prompt, position = np.nonzero(prompts.slots.index == slot)
            x = stream[prompt, position].double().cpu()
            if edit := _eraser(x, one_hot[prompt], what, rng):
                edits[layer][slot] = edit
    return edits


def _eraser(
    x: Float[Tensor, "row d"], z: Float[Tensor, "row cls"], what: Erasure, rng: np.random.Generator
) -> Edit | None:
    """The edit of one slot; None where there is nothing to erase."""
    if float((x - x[0]).abs().max()) < 1e-9:  # every prompt has the same token here
        return None
    leace = LeaceEraser.fit(x, z)
    rank = int((leace.proj_left.norm(dim=0) > 1e-6).sum())
    if not rank:
        return None
    assert leace.bias is not None
    if what in ("language", "values"):
        return _affine(leace.proj_left, leace.proj_right, leace.bias)
    basis = torch.as_tensor(np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))[0])
    if what == "random_rank":
        basis = basis[:, :rank]
    else:
        basis = _directions_of_variance(basis, x - leace.bias, float(((leace(x) - x) ** 2).sum(1).mean()))
    return _affine(basis, basis.T, leace.bias)


def _directions_of_variance(
    basis: Float[Tensor, "d d"], centred: Float[Tensor, "row d"], variance: float
) -> Float[Tensor, "d some"]:
    """The first directions of a basis that together carry a variance; the last is scaled to meet it exactly."""
    carried = (centred @ basis).square().mean(0)
    total = carried.cumsum(0)
    last = min(int((total < variance).sum()), len(carried) - 1)
    missing = max(0.0, variance - (float(total[last - 1]) if last else 0.0))
    share = min(1.0, missing / max(float(carried[last]), 1e-30)) ** 0.5  # how much of the last direction is erased
    chosen = basis[:, : last + 1].clone()
    chosen[:, last] *= share**0.5  # the basis is multiplied in from both sides
    return chosen


def _affine(left: Float[Tensor, "d k"], right: Float[Tensor, "k d"], origin: Float[Tensor, " d"]) -> Edit:
    def edit(x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        to = {"dtype": x.dtype, "device": x.device}
        return x - (x - origin.to(**to)) @ right.T.to(**to) @ left.T.to(**to)

    return edit
