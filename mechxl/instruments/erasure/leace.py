"""Erases the language from the residual stream (LEACE), with controls that erase something else.

LEACE (Belrose et al. 2023, arXiv 2306.03819) is, of the affine maps after which no linear reader predicts a label z
better than by its mean, the one that changes the stream x least in mean square. It needs two things alone: the
covariance of x, and the cross-covariance of x with z, whose columns are what the map must send to 0.

The concept here is the language *within each relation*: z has a column for each (relation r, language l), the indicator
of that pair less P(l | r) where the relation is r. Its mean within every relation is 0, so the cross-covariance's
columns are

    Cov(x, z_rl) = P(r, l) (E[x | r, l] - E[x | r])

An affine map that sends all of them to 0 gives every language the same mean within every relation. By theorem 3.1 of
the paper, applied to the prompts of one relation at a time, no linear reader then tells the language there. The map
needs not to know the relation: one map, of rank relations x (languages - 1), serves all. That holds for the covariance
within relations and for the whole one alike, since the null space alone decides. The whole one is used, because with it
the map is the one that changes x least over all prompts (theorem 4.2 with this z), what tells relations apart included.
The covariance is that of the sample. Shrunk towards a sphere, as the package does unless told not to, the map would
erase the same and change more: in a run of 60 entities five times as much, and recall fell to .91 instead of staying at
1.00. In a default run (1,000 entities) the two differ by .002 or less.

Pooled over relations, z has a column for each language, and the map has rank languages - 1. It makes the languages'
means equal over all relations together. Within a relation they may stay apart, if their offsets differ between
relations: a reader that is trained within the relation then tells the language as well as before.

The map is fitted for each slot of the prompt, from a layer on. Each layer's map is fitted on the stream as the earlier
maps have left it, since later blocks may write the language again. Fitted on a sample, it removes the sample's offsets
exactly; of other entities it leaves what the sample misses, so every erasure must be verified on others.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from concept_erasure import LeaceEraser
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.instruments.erasure.intervention import Edit, FitPrompts, apply_edit, next_stream
from mechxl.model.blocks import embed
from mechxl.model.weights import weights_of

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

Way = Literal["within", "pooled"]
Erasure = Literal["language", "random_rank", "random_variance", "values"]
ERASURES: tuple[Erasure, ...] = ("language", "random_rank", "random_variance", "values")
NOISE = 1e-6  # offsets that are smaller than this share of the stream are rounding of float32
VARIES = 1e-9  # of the largest variance: a direction that has less does not vary


@dataclass(frozen=True)
class Erased:
    """What was fitted to erase something at some layers.

    Attributes:
        edits: by layer.
        rank: by layer, the number of directions removed at each slot where there is something to erase.
        width: the width of the stream.
    """

    edits: dict[int, Edit]
    rank: dict[int, dict[int, int]]
    width: int

    @property
    def most(self) -> int:
        """The largest rank of all layers and slots."""
        return max((rank for by_slot in self.rank.values() for rank in by_slot.values()), default=0)

    @property
    def everything(self) -> bool:
        """Whether the stream is a constant somewhere afterwards: what was to be erased has as many directions."""
        return self.most >= self.width


@torch.no_grad()
def erasers(
    model: "HookedTransformer",
    prompts: FitPrompts,
    from_layer: int,
    what: Erasure,
    rng: np.random.Generator,
    way: Way = "within",
) -> Erased:
    """Edits that erase something at a layer and at every later one, at every slot that tells the language.

    Args:
        model: the model whose stream is edited.
        prompts: the prompts to fit on; evaluate the edits on other entities.
        from_layer: the first layer to erase at; 0 is the embeddings.
        what: "language" erases the language. The others are controls, at the same slots. "random_rank" erases a random
            subspace of the same rank, "random_variance" random directions that carry as much variance as erasing the
            language removes, and "values" a random split of the values, by LEACE too, of at most the same rank.
        rng: draws the random subspaces.
        way: "within" each relation, or "pooled" over all relations together.
    """
    weights = weights_of(model)
    slots = torch.as_tensor(prompts.slots.index, device=prompts.tokens.device)
    present = np.unique(prompts.slots.index[prompts.slots.index >= 0]).tolist()
    edits: dict[int, Edit] = {}
    ranks: dict[int, dict[int, int]] = {}
    stream = embed(weights, prompts.tokens)
    for layer in range(model.cfg.n_layers + 1):
        if layer:
            stream = next_stream(weights, stream, layer - 1)
        if layer < from_layer:
            continue
        maps = {}
        for slot in present:
            prompt, position = np.nonzero(prompts.slots.index == slot)
            x, relation = stream[prompt, position].double().cpu(), prompts.relation[prompt]
            relation = relation if way == "within" else np.zeros_like(relation)
            fitted = _eraser(x, relation, prompts.language[prompt], prompts.value_class[prompt], what, rng)
            if fitted is not None:
                maps[slot] = fitted
        edits[layer] = affine_maps({slot: (matrix, origin) for slot, (matrix, origin, _) in maps.items()})
        ranks[layer] = {slot: rank for slot, (_, _, rank) in maps.items()}
        stream = apply_edit(edits[layer], slots, stream)
    return Erased(edits, ranks, stream.shape[-1])


Fitted = tuple[Float[Tensor, "d d"], Float[Tensor, " d"], int]  # x -> origin + matrix (x - origin), and its rank


def _eraser(
    x: Float[Tensor, "row d"],
    relation: Int[np.ndarray, " row"],
    language: Int[np.ndarray, " row"],
    value_class: Int[np.ndarray, " row"],
    what: Erasure,
    rng: np.random.Generator,
) -> Fitted | None:
    """The map of one slot; None where there is nothing to erase."""
    leace, rank = within_eraser(x, relation, language)
    if leace is not None and what == "values":
        leace, rank = within_eraser(x, relation, value_class, most=rank)
    if leace is None:
        return None
    eye, origin = torch.eye(x.shape[1], dtype=x.dtype), x.mean(0)
    if what in ("language", "values"):
        return eye - leace.proj_left @ leace.proj_right, origin, rank
    basis = torch.as_tensor(np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))[0])
    if what == "random_rank":
        basis = basis[:, :rank]
    else:
        basis = _directions_of_variance(basis, x - origin, float(((leace(x) - x) ** 2).sum(1).mean()))
    return eye - basis @ basis.T, origin, basis.shape[1]


def within_eraser(
    x: Float[Tensor, "row d"],
    relation: Int[np.ndarray, " row"],
    label: Int[np.ndarray, " row"],
    most: int | None = None,
) -> tuple[LeaceEraser | None, int]:
    """LEACE of a label within each relation, and the number of directions that it removes; None if there are none.

    Args:
        x: the stream.
        relation: of each row; all the same: LEACE of the label itself.
        label: of each row.
        most: at most so many directions are removed: those of the largest offsets.
    """
    groups, group = np.unique(np.stack([relation, label]), axis=1, return_inverse=True)
    group, relations = torch.as_tensor(group.reshape(-1)), torch.as_tensor(np.unique(groups[0], return_inverse=True)[1])
    offsets, size = _offsets(x, group, relations)
    # z's columns may be turned within their span, so that there are as many of them as the rank
    _, strength, right = torch.linalg.svd((offsets * (size / len(x))[:, None]).T, full_matrices=False)
    rank = int((strength > NOISE * float(x.square().sum(1).mean().sqrt())).sum())
    rank = rank if most is None else min(rank, most)
    if not rank:
        return None, 0
    z = right[:rank].T
    z = (z - _by_relation(z, size, relations))[group]
    # where x does not vary, only rounding is left, and whitening would blow it up
    variance, axes = torch.linalg.eigh(torch.cov(x.T))
    axes = axes[:, variance > VARIES * variance[-1]]
    fitted = LeaceEraser.fit(x @ axes, z, svd_tol=1e-12, constrain_cov_trace=False, shrinkage=False)
    return LeaceEraser(axes @ fitted.proj_left, fitted.proj_right @ axes.T, bias=x.mean(0)), rank


def _offsets(
    x: Float[Tensor, "row d"], group: Int[Tensor, " row"], relations: Int[Tensor, " group"]
) -> tuple[Float[Tensor, "group d"], Float[Tensor, " group"]]:
    """E[x | relation, label] - E[x | relation] of each pair of relation and label, and the number of its rows."""
    size = torch.bincount(group).to(x.dtype)
    means = torch.zeros(len(size), x.shape[1], dtype=x.dtype).index_add_(0, group, x) / size[:, None]
    return means - _by_relation(means, size, relations), size


def _by_relation(
    of_group: Float[Tensor, "group c"], size: Float[Tensor, " group"], relations: Int[Tensor, " group"]
) -> Float[Tensor, "group c"]:
    """For each pair of relation and label, the mean over its relation's rows."""
    n = int(relations.max()) + 1
    total = torch.zeros(n, of_group.shape[1], dtype=of_group.dtype).index_add_(0, relations, of_group * size[:, None])
    return (total / torch.zeros(n, dtype=size.dtype).index_add_(0, relations, size)[:, None])[relations]


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


def affine_maps(maps: dict[int, tuple[Float[Tensor, "d d"], Float[Tensor, " d"]]]) -> Edit:
    """An edit that maps x to origin + matrix (x - origin), by slot; slots without a map are left alone."""

    def edit(x: Float[Tensor, "row d"], slot: Int[Tensor, " row"]) -> Float[Tensor, "row d"]:
        edited = x.clone()
        for number, (matrix, origin) in maps.items():
            rows = (slot == number).nonzero()[:, 0]
            if len(rows):
                matrix, constant = matrix.to(x), (origin - matrix @ origin).to(x)
                edited[rows] = torch.addmm(constant, x[rows], matrix.T)
        return edited

    return edit
