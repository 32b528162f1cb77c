"""A HookedTransformer's parameters in the form that the lean forward multiplies.

Here one matrix of a layer holds queries, keys and values of all heads; HookedTransformer has three tensors with a
dimension for heads. `weights_of` joins them at every call. `pack` joins them permanently: a training step then copies
nothing, the optimizer updates one vector, and the model's own parameters are views of that vector.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from mechxl.errors import InputError
from mechxl.model.architecture import uncovered

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer, TransformerBlock


@dataclass(frozen=True)
class Norm:
    """LayerNorm; RMSNorm if b is None."""

    w: Float[Tensor, "*member d_model"]
    b: Float[Tensor, "*member d_model"] | None
    eps: float


@dataclass(frozen=True)
class Block:
    """One block. Columns of W_QKV are (query, key or value; head; d_head), rows of W_O are (head; d_head)."""

    ln1: Norm
    W_QKV: Float[Tensor, "*member d_model qkv"]
    b_QKV: Float[Tensor, "*member qkv"]
    W_O: Float[Tensor, "*member z d_model"]
    b_O: Float[Tensor, "*member d_model"]
    ln2: Norm
    W_in: Float[Tensor, "*member d_model d_mlp"]
    b_in: Float[Tensor, "*member d_mlp"]
    W_out: Float[Tensor, "*member d_mlp d_model"]
    b_out: Float[Tensor, "*member d_model"]


@dataclass(frozen=True)
class Weights:
    """All parameters, and the settings that a forward needs; those of several models have a leading member axis."""

    W_E: Float[Tensor, "*member d_vocab d_model"]
    W_pos: Float[Tensor, "*member n_ctx d_model"]
    blocks: tuple[Block, ...]
    ln_final: Norm
    W_U: Float[Tensor, "*member d_model d_vocab_out"]
    b_U: Float[Tensor, "*member d_vocab_out"]
    n_heads: int
    act_fn: str


@dataclass(frozen=True)
class Packed:
    """A model's parameters in one vector.

    Attributes:
        vector: all parameters; its gradient is a vector too. The optimizer updates it.
        weights: views of the vector; their gradients are views of its gradient. The loss is computed on them.
    """

    vector: nn.Parameter
    weights: Weights


def weights_of(model: "HookedTransformer") -> Weights:
    """The weights of a model; gradients flow to the model's own parameters.

    Raises:
        InputError: the model's architecture is not the one that mechxl's settings can describe.
    """
    if settings := uncovered(model):
        raise InputError(
            f"the model has {settings}: mechxl's own forward does not compute this; use TransformerLens's forward and "
            "hooks for such a model, or a model that mechxl builds"
        )
    return Weights(
        W_E=model.embed.W_E,
        W_pos=model.pos_embed.W_pos,
        blocks=tuple(_block(block, model.cfg.eps) for block in model.blocks),
        ln_final=_norm(model.ln_final, model.cfg.eps),
        W_U=model.unembed.W_U,
        b_U=model.unembed.b_U,
        n_heads=model.cfg.n_heads,
        act_fn=model.cfg.act_fn,
    )


def pack(model: "HookedTransformer") -> Packed:
    """Moves a model's parameters into one vector; the model keeps them as views of it.

    Raises:
        InputError: as `weights_of`.
    """
    weights = weights_of(model)
    parts = tensors_of(weights)
    vector = nn.Parameter(torch.cat([part.flatten() for part in parts]))
    vector.grad = torch.zeros_like(vector)
    sizes = [part.numel() for part in parts]
    pieces = iter(zip(vector.data.split(sizes), vector.grad.split(sizes), strict=True))

    def leaf(tensor: Tensor) -> Tensor:
        data, gradient = (flat.view(tensor.shape) for flat in next(pieces))
        parameter = nn.Parameter(data)
        parameter.grad = gradient
        return parameter

    packed = changed(weights, leaf)
    _share(model, packed)
    return Packed(vector, packed)


def _share(model: "HookedTransformer", weights: Weights) -> None:
    """Makes the model's parameters views of the weights."""
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
        mlp.W_in.data, mlp.b_in.data = own.W_in.data, own.b_in.data
        mlp.W_out.data, mlp.b_out.data = own.W_out.data, own.b_out.data
        norms += [(block.ln1, own.ln1), (block.ln2, own.ln2)]
    for norm, own in norms:
        norm.w.data = own.w.data
        if own.b is not None:
            norm.b.data = own.b.data


def _block(block: "TransformerBlock", eps: float) -> Block:
    attn, mlp = block.attn, dict(block.mlp.named_parameters(recurse=False))
    joint = [rearrange(w, "head d d_head -> d (head d_head)") for w in (attn.W_Q, attn.W_K, attn.W_V)]
    biases = [rearrange(b, "head d_head -> (head d_head)") for b in (attn.b_Q, attn.b_K, attn.b_V)]
    return Block(
        ln1=_norm(block.ln1, eps),
        W_QKV=torch.cat(joint, dim=1),
        b_QKV=torch.cat(biases),
        W_O=rearrange(attn.W_O, "head d_head d -> (head d_head) d"),
        b_O=attn.b_O,
        ln2=_norm(block.ln2, eps),
        W_in=mlp["W_in"],
        b_in=mlp["b_in"],
        W_out=mlp["W_out"],
        b_out=mlp["b_out"],
    )


def _norm(norm: nn.Module, eps: float) -> Norm:
    parameters = dict(norm.named_parameters(recurse=False))
    return Norm(parameters["w"], parameters.get("b"), eps)


def tensors_of(weights: Weights) -> list[Tensor]:
    """All tensors, detached, in the order of the fields."""
    parts: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        parts.append(tensor.detach())
        return tensor

    changed(weights, collect)
    return parts


def changed(weights: Weights, change: Callable[[Tensor], Tensor]) -> Weights:
    """The same weights with every tensor changed, in the order of the fields."""

    def norm(one: Norm) -> Norm:
        return Norm(change(one.w), None if one.b is None else change(one.b), one.eps)

    def block(one: Block) -> Block:
        return Block(
            ln1=norm(one.ln1),
            W_QKV=change(one.W_QKV),
            b_QKV=change(one.b_QKV),
            W_O=change(one.W_O),
            b_O=change(one.b_O),
            ln2=norm(one.ln2),
            W_in=change(one.W_in),
            b_in=change(one.b_in),
            W_out=change(one.W_out),
            b_out=change(one.b_out),
        )

    return Weights(
        W_E=change(weights.W_E),
        W_pos=change(weights.W_pos),
        blocks=tuple(block(one) for one in weights.blocks),
        ln_final=norm(weights.ln_final),
        W_U=change(weights.W_U),
        b_U=change(weights.b_U),
        n_heads=weights.n_heads,
        act_fn=weights.act_fn,
    )
