"""A HookedTransformer's parameters as the lean forward multiplies them.

Queries, keys and values of all heads are one matrix here, where HookedTransformer has three a layer with a dimension
for heads. `weights_of` joins them anew at every call; `pack` lays them out so for good, so that a training step has no
copies to make and its optimizer one vector to update, while the model's own parameters are views of that vector.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Model = Any  # a HookedTransformer; its class is known to model/hooked.py alone
Changed = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Norm:
    """LayerNorm, or RMSNorm where there is no b."""

    w: Float[Tensor, " d_model"]
    b: Float[Tensor, " d_model"] | None
    eps: float


@dataclass(frozen=True)
class Block:
    """One block. Columns of W_QKV are (query, key or value; head; d_head), rows of W_O are (head; d_head)."""

    ln1: Norm
    W_QKV: Float[Tensor, "d_model qkv"]
    b_QKV: Float[Tensor, " qkv"]
    W_O: Float[Tensor, "z d_model"]
    b_O: Float[Tensor, " d_model"]
    ln2: Norm
    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"]
    W_out: Float[Tensor, "d_mlp d_model"]
    b_out: Float[Tensor, " d_model"]


@dataclass(frozen=True)
class Weights:
    """All parameters, and what a forward needs to know beside them."""

    W_E: Float[Tensor, "d_vocab d_model"]
    W_pos: Float[Tensor, "n_ctx d_model"]
    blocks: tuple[Block, ...]
    ln_final: Norm
    W_U: Float[Tensor, "d_model d_vocab_out"]
    b_U: Float[Tensor, " d_vocab_out"]
    n_heads: int
    act_fn: str


@dataclass(frozen=True)
class Packed:
    """A model's parameters in one vector.

    Attributes:
        vector: all parameters; its gradient is a vector too. What the optimizer updates.
        weights: views of the vector whose gradients are views of its gradient. What the loss is computed on.
    """

    vector: nn.Parameter
    weights: Weights


def weights_of(model: Model) -> Weights:
    """The weights of a model that `forward.covers`; gradients flow to the model's own parameters."""
    return Weights(
        model.embed.W_E,
        model.pos_embed.W_pos,
        tuple(_block(block) for block in model.blocks),
        _norm(model.ln_final),
        model.unembed.W_U,
        model.unembed.b_U,
        model.cfg.n_heads,
        model.cfg.act_fn,
    )


def pack(model: Model) -> Packed:
    """Moves a model's parameters into one vector; they stay the model's, as views of it."""
    weights = weights_of(model)
    parts: list[Tensor] = []
    _mapped(weights, lambda tensor: parts.append(tensor.detach()) or tensor)
    vector = nn.Parameter(torch.cat([part.flatten() for part in parts]))
    vector.grad = torch.zeros_like(vector)
    sizes = [part.numel() for part in parts]
    pieces = iter(zip(vector.data.split(sizes), vector.grad.split(sizes), strict=True))

    def leaf(tensor: Tensor) -> Tensor:
        data, gradient = (flat.view(tensor.shape) for flat in next(pieces))
        parameter = nn.Parameter(data)
        parameter.grad = gradient
        return parameter

    packed = _mapped(weights, leaf)
    _share(model, packed)
    return Packed(vector, packed)


def _share(model: Model, weights: Weights) -> None:
    """Lets the model's parameters be views of the weights."""
    model.embed.W_E.data, model.pos_embed.W_pos.data = weights.W_E.data, weights.W_pos.data
    model.unembed.W_U.data, model.unembed.b_U.data = weights.W_U.data, weights.b_U.data
    norms = [(model.ln_final, weights.ln_final)]
    for block, own in zip(model.blocks, weights.blocks, strict=True):
        attn, mlp, heads = block.attn, block.mlp, weights.n_heads
        joint = rearrange(own.W_QKV.data, "d (name head d_head) -> name head d d_head", name=3, head=heads)
        biases = rearrange(own.b_QKV.data, "(name head d_head) -> name head d_head", name=3, head=heads)
        attn.W_Q.data, attn.W_K.data, attn.W_V.data = joint
        attn.b_Q.data, attn.b_K.data, attn.b_V.data = biases
        attn.W_O.data = rearrange(own.W_O.data, "(head d_head) d -> head d_head d", head=heads)
        attn.b_O.data = own.b_O.data
        for name in ("W_in", "b_in", "W_out", "b_out"):
            getattr(mlp, name).data = getattr(own, name).data
        norms += [(block.ln1, own.ln1), (block.ln2, own.ln2)]
    for norm, own in norms:
        norm.w.data = own.w.data
        if own.b is not None:
            norm.b.data = own.b.data


def _block(block: Any) -> Block:
    attn, mlp = block.attn, block.mlp
    joint = [rearrange(w, "head d d_head -> d (head d_head)") for w in (attn.W_Q, attn.W_K, attn.W_V)]
    biases = [rearrange(b, "head d_head -> (head d_head)") for b in (attn.b_Q, attn.b_K, attn.b_V)]
    return Block(
        _norm(block.ln1),
        torch.cat(joint, dim=1),
        torch.cat(biases),
        rearrange(attn.W_O, "head d_head d -> (head d_head) d"),
        attn.b_O,
        _norm(block.ln2),
        mlp.W_in,
        mlp.b_in,
        mlp.W_out,
        mlp.b_out,
    )


def _norm(norm: Any) -> Norm:
    return Norm(norm.w, getattr(norm, "b", None), norm.eps)


def _mapped(part: Any, change: Changed) -> Any:
    """The same weights with every tensor changed, in a fixed order."""
    if isinstance(part, Tensor):
        return change(part)
    if isinstance(part, tuple):
        return tuple(_mapped(item, change) for item in part)
    if not is_dataclass(part) or isinstance(part, type):
        return part
    return replace(part, **{field.name: _mapped(getattr(part, field.name), change) for field in fields(part)})
