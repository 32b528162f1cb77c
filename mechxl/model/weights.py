"""A HookedTransformer's parameters in the form that the lean forward multiplies.

Here one matrix of a layer holds queries, keys and values of all heads; HookedTransformer has three tensors with a
dimension for heads. `joined` goes one way and `named` the other. Training packs weights into one vector, which the
optimizer updates: a step then copies nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from mechxl.errors import InputError
from mechxl.model.architecture import uncovered

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

EPS = 1e-5  # HookedTransformer's, of all norms
PARTS = {"attn": ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O"), "mlp": ("W_in", "b_in", "W_out", "b_out")}


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
        vector: all parameters; the optimizer updates it.
        gradient: of the vector.
        weights: views of the vector; their gradients are views of its gradient. The loss is computed on them.
    """

    vector: nn.Parameter
    gradient: Tensor
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
    return joined(dict(model.named_parameters()), model.cfg.act_fn, model.cfg.eps)


def joined(parameters: Mapping[str, Tensor], act_fn: str, eps: float = EPS) -> Weights:
    """The weights that parameters of TransformerLens's names make up; gradients flow to the parameters.

    Args:
        parameters: of a model of the covered architecture.
        act_fn: its activation.
        eps: of its norms.
    """

    def norm(name: str) -> Norm:
        return Norm(parameters[f"{name}.w"], parameters.get(f"{name}.b"), eps)

    def block(name: str) -> Block:
        attn, mlp = ({part: parameters[f"{name}.{kind}.{part}"] for part in parts} for kind, parts in PARTS.items())
        matrices = [rearrange(attn[f"W_{part}"], "head d d_head -> d (head d_head)") for part in "QKV"]
        biases = [rearrange(attn[f"b_{part}"], "head d_head -> (head d_head)") for part in "QKV"]
        return Block(
            ln1=norm(f"{name}.ln1"),
            W_QKV=torch.cat(matrices, dim=1),
            b_QKV=torch.cat(biases),
            W_O=rearrange(attn["W_O"], "head d_head d -> (head d_head) d"),
            b_O=attn["b_O"],
            ln2=norm(f"{name}.ln2"),
            **mlp,
        )

    n_layers = sum(name.endswith(".ln1.w") for name in parameters)
    return Weights(
        W_E=parameters["embed.W_E"],
        W_pos=parameters["pos_embed.W_pos"],
        blocks=tuple(block(f"blocks.{layer}") for layer in range(n_layers)),
        ln_final=norm("ln_final"),
        W_U=parameters["unembed.W_U"],
        b_U=parameters["unembed.b_U"],
        n_heads=len(parameters["blocks.0.attn.W_Q"]),
        act_fn=act_fn,
    )


def named(weights: Weights) -> dict[str, Tensor]:
    """The parameters that make up weights, by TransformerLens's names: views of the weights, without gradients."""
    heads = weights.n_heads
    parameters = {"embed.W_E": weights.W_E, "pos_embed.W_pos": weights.W_pos}
    parameters |= {"unembed.W_U": weights.W_U, "unembed.b_U": weights.b_U}
    norms = {"ln_final": weights.ln_final}
    for layer, block in enumerate(weights.blocks):
        name = f"blocks.{layer}"
        norms |= {f"{name}.ln1": block.ln1, f"{name}.ln2": block.ln2}
        matrices = rearrange(block.W_QKV, "d (part head d_head) -> part head d d_head", part=3, head=heads)
        biases = rearrange(block.b_QKV, "(part head d_head) -> part head d_head", part=3, head=heads)
        for part, matrix, bias in zip("QKV", matrices, biases, strict=True):
            parameters |= {f"{name}.attn.W_{part}": matrix, f"{name}.attn.b_{part}": bias}
        parameters[f"{name}.attn.W_O"] = rearrange(block.W_O, "(head d_head) d -> head d_head d", head=heads)
        parameters[f"{name}.attn.b_O"] = block.b_O
        parameters |= {f"{name}.mlp.{part}": getattr(block, part) for part in PARTS["mlp"]}
    for name, norm in norms.items():
        parameters |= {f"{name}.w": norm.w} | ({} if norm.b is None else {f"{name}.b": norm.b})
    return {name: parameter.detach() for name, parameter in parameters.items()}


def pack(weights: Weights) -> Packed:
    """Copies weights into one vector."""
    parts = tensors_of(weights)
    vector = nn.Parameter(torch.cat([part.flatten() for part in parts]))
    gradient = vector.grad = torch.zeros_like(vector)
    sizes = [part.numel() for part in parts]
    pieces = iter(zip(vector.data.split(sizes), gradient.split(sizes), strict=True))

    def leaf(tensor: Tensor) -> Tensor:
        data, gradient = (flat.view(tensor.shape) for flat in next(pieces))
        parameter = nn.Parameter(data)
        parameter.grad = gradient
        return parameter

    return Packed(vector, gradient, changed(weights, leaf))


def tensors_of(weights: Weights) -> list[Tensor]:
    """All tensors, detached, in the order of the fields."""
    parts: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        parts.append(tensor.detach())
        return tensor

    changed(weights, collect)
    return parts


def first_blocks(weights: Weights, n: int) -> Weights:
    """The same model up to the residual stream after its first n blocks."""
    return replace(weights, blocks=weights.blocks[:n])


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
