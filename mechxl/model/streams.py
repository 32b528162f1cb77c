"""Activations of the residual stream's hooks, computed by the lean forward."""

import re
from collections.abc import Collection
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.model.forward import Positions, residual_stream
from mechxl.model.sharing import Shared
from mechxl.model.weights import Weights

STREAMS = re.compile(r"hook_(pos_)?embed|blocks\.(\d+)\.hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)")


def are_streams(names: Collection[str]) -> bool:
    """Whether `lean_streams` computes all of these hooks (TransformerLens's names)."""
    return all(STREAMS.fullmatch(name) for name in names)


def stream_weights(weights: Weights, names: Collection[str]) -> Weights:
    """The weights that `lean_streams` needs for these hooks."""
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
