"""Takes the language out of the residual stream (LEACE), with controls, and puts a language in (steering).

LEACE (Belrose et al. 2023, arXiv 2306.03819) is the affine map closest to the identity after which no linear reader can
tell the labels better than by their means. It is fitted for each slot of the prompt, from a layer on: each layer's map
on the stream as the maps before have left it, since later blocks may write the language again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from concept_erasure import LeaceEraser
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus, crossed
from mechxl.instruments.erasure.intervention import Edit, Slots, edited_streams, prompt_slots

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

Erasure = Literal["language", "random_rank", "random_variance", "values"]
ERASURES: tuple[Erasure, ...] = ("language", "random_rank", "random_variance", "values")


@dataclass(frozen=True)
class Fitted:
    """Prompts that erasers and directions are fitted on: facts crossed with all languages.

    Attributes:
        tokens: of the prompts, padded with 0.
        slots: of their positions.
        fact: of each prompt.
        language: of each prompt.
        value_half: a random class of its value, within its relation; as many classes as languages.
    """

    tokens: Int[Tensor, "prompt pos"]
    slots: Slots
    fact: Int[np.ndarray, " prompt"]
    language: Int[np.ndarray, " prompt"]
    value_half: Int[np.ndarray, " prompt"]


def fitted_prompts(
    corpus: Corpus, facts: Int[np.ndarray, " fact"], rng: np.random.Generator, device: str = "cpu"
) -> Fitted:
    """The facts in every language, tag shown."""
    world = corpus.world
    fact, language = crossed(facts, world.n_languages)
    tokens = torch.as_tensor(np.maximum(corpus.sequences(fact, language).prompts(), 0), device=device)
    relation, value = world.relation[fact], world.value[fact, language]
    n_values = int(world.value.max()) + 1
    split = np.array([rng.permutation(n_values) % world.n_languages for _ in range(world.n_relations)])
    return Fitted(tokens, prompt_slots(corpus, fact, language), fact, language, split[relation, value])


def erasers(
    model: "HookedTransformer", on: Fitted, from_layer: int, what: Erasure, rng: np.random.Generator
) -> dict[int, dict[int, Edit]]:
    """Edits by layer and slot that erase something from a layer on.

    Args:
        model: whose stream.
        on: the prompts to fit on; ask others.
        from_layer: the first layer erased at; 0: the embeddings.
        what: the language; or, as controls, a random subspace of the rank that erasing the language takes off; random
            directions that carry as much variance as it takes off; or a random split of the values, by LEACE too.
        rng: a generator.
    """
    label = on.value_half if what == "values" else on.language
    one_hot = torch.nn.functional.one_hot(torch.as_tensor(label)).double()
    edits: dict[int, dict[int, Edit]] = {}
    for layer in range(from_layer, model.cfg.n_layers + 1):
        stream = edited_streams(model, on.tokens, on.slots.of, edits, [layer])[layer]
        edits[layer] = {}
        for slot in np.unique(on.slots.of[on.slots.of >= 0]).tolist():
            prompt, position = np.nonzero(on.slots.of == slot)
            x = stream[prompt, position].double().cpu()
            if edit := _eraser(x, one_hot[prompt], what, rng):
                edits[layer][slot] = edit
    return edits


def _eraser(
    x: Float[Tensor, "row d"], z: Float[Tensor, "row cls"], what: Erasure, rng: np.random.Generator
) -> Edit | None:
    """A map of one slot; None where there is nothing to erase, so that nothing changes."""
    if float((x - x[0]).abs().max()) < 1e-9:  # one token by construction
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
        basis = _of_variance(basis, x - leace.bias, float(((leace(x) - x) ** 2).sum(1).mean()))
    return _affine(basis, basis.T, leace.bias)


def _of_variance(
    basis: Float[Tensor, "d d"], centred: Float[Tensor, "row d"], variance: float
) -> Float[Tensor, "d some"]:
    """As many directions of a basis as carry a variance, the last of them scaled so that it is met."""
    carried = (centred @ basis).square().mean(0)
    total = carried.cumsum(0)
    last = min(int((total < variance).sum()), len(carried) - 1)
    missing = max(0.0, variance - (float(total[last - 1]) if last else 0.0))
    share = min(1.0, missing / max(float(carried[last]), 1e-30)) ** 0.5  # of the last direction taken off
    chosen = basis[:, : last + 1].clone()
    chosen[:, last] *= share**0.5  # as it stands on both sides
    return chosen


def _affine(left: Float[Tensor, "d k"], right: Float[Tensor, "k d"], origin: Float[Tensor, " d"]) -> Edit:
    def edit(x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        to = {"dtype": x.dtype, "device": x.device}
        return x - (x - origin.to(**to)) @ right.T.to(**to) @ left.T.to(**to)

    return edit


def directions(
    model: "HookedTransformer", on: Fitted, layer: int, source: int, target: int
) -> dict[int, Float[Tensor, " d"]]:
    """By slot, what a language adds at a layer: the mean stream of the target's prompts less that of the source's.

    Slots that only one of the two has are left out.
    """
    stream = edited_streams(model, on.tokens, on.slots.of, {}, [layer])[layer]
    found = {}
    for slot in np.unique(on.slots.of[on.slots.of >= 0]).tolist():
        there = on.slots.of == slot
        means = []
        for language in (source, target):
            prompt, position = np.nonzero(there & (on.language == language)[:, None])
            means.append(stream[prompt, position].mean(0) if len(prompt) else None)
        if means[0] is not None and means[1] is not None:
            found[slot] = means[1] - means[0]
    return found


def steering(by_slot: dict[int, Float[Tensor, " d"]], strength: float) -> dict[int, Edit]:
    """Edits that add directions, so many times."""

    def adds(direction: Float[Tensor, " d"]) -> Callable[[Float[Tensor, "row d"]], Float[Tensor, "row d"]]:
        return lambda x: x + strength * direction.to(x)

    return {slot: adds(direction) for slot, direction in by_slot.items()}


def random_directions(
    by_slot: dict[int, Float[Tensor, " d"]], rng: np.random.Generator
) -> dict[int, Float[Tensor, " d"]]:
    """Random directions of the same lengths."""
    found = {}
    for slot, direction in by_slot.items():
        drawn = torch.as_tensor(rng.standard_normal(len(direction))).to(direction)
        found[slot] = drawn / drawn.norm() * direction.norm()
    return found
