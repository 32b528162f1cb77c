"""Activations of the residual stream's hooks, computed by the lean forward."""

import re
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.model.architecture import uncovered
from mechxl.model.forward import Positions, residual_stream
from mechxl.model.sharing import Shared
from mechxl.model.weights import Weights, weights_of

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

STREAMS = re.compile(r"hook_(pos_)?embed|blocks\.(\d+)\.hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)")


def stream_weights(model: "HookedTransformer", names: Collection[str]) -> Weights | None:
    """The weights that `lean_streams` needs for these hooks; None if it can't compute all of them, or not this model.

    Args:
        model: a HookedTransformer.
        names: TransformerLens's names.
    """
    if uncovered(model) or not all(STREAMS.fullmatch(name) for name in names):
        return None
    weights = weights_of(model)
    return replace(weights, blocks=weights.blocks[: max(map(_blocks_before, names))])


def _blocks_before(name: str) -> int:
    """How many blocks a hook needs; resid_pre is the output of the block before."""
    match = re.fullmatch(r"blocks\.(\d+)\.(.*)", name)
    return 0 if match is None else int(match[1]) + (match[2] != "hook_resid_pre")


@torch.no_grad()
def lean_streams(
    weights: Weights,
    tokens: Int[Tensor, "batch pos"],
    positions: Int[Tensor, "batch asked"],
    names: Collection[str],
    common: Shared | None = None,
) -> dict[str, Float[Tensor, "batch asked d_model"]]:
    """Activations of the residual stream's hooks at some positions, equal to those of `run_with_cache`.

    Args:
        weights: `stream_weights` of these names.
        tokens: right-padded.
        positions: of each sequence; none may lie inside a shared beginning.
        names: TransformerLens's names.
        common: what the sequences share; None: nothing.
    """
    resid, contents = residual_stream(weights, tokens, _as_slice(positions), common, names)
    if (after := f"blocks.{len(weights.blocks)}.hook_resid_pre") in names:
        contents[after] = resid
    return contents


def _as_slice(positions: Int[Tensor, "batch asked"]) -> Positions:
    """A slice if the positions are neighbours and the same in all sequences, since a slice copies nothing."""
    first = positions[0]
    if (positions == first).all() and (first.diff() == 1).all():
        return slice(int(first[0]), int(first[-1]) + 1)
    return positions
