"""The lean forward: logits from the HookedTransformer's own parameters, without its hooks.

It saves work in two ways. The last block computes queries, attention output, MLP and unembedding only at the wanted
positions. What sequences share is computed once. Sequences are right-padded, so the causal mask also hides the padding.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.model.parts import after_attention, normalize, project
from mechxl.model.sharing import Rows, Shared, nothing_shared, rows_of
from mechxl.model.weights import Block, Weights, weights_of

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

Model = Union["HookedTransformer", Weights]
Positions = slice | Int[Tensor, "batch asked"]

FEW_PAIRS = 16  # up to so many (query, key) pairs a sequence, elementwise products are fastest (benchmarks/RESULTS.md)


def lean_logits(
    model: Model, tokens: Int[Tensor, "batch pos"], positions: Positions, common: Shared | None = None
) -> Float[Tensor, "batch asked d_vocab"]:
    """The model's logits at some positions, equal to those of its hooked forward.

    If hooks are attached to the model, its own forward runs, so that they have their effect.

    Args:
        model: of an architecture that mechxl's settings can describe, or one with hooks attached; or weights alone.
        tokens: right-padded.
        positions: a slice if they are the same for all sequences, else indices for each sequence. None of them may lie
            inside a shared beginning.
        common: what the sequences share; None: nothing.

    Raises:
        InputError: as `weights_of`.
    """
    if isinstance(model, Weights):
        return logits(model, tokens, positions, common)
    if any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values()):
        return pick(model(tokens), positions)
    return logits(weights_of(model), tokens, positions, common)


def logits(
    weights: Weights, tokens: Int[Tensor, "batch pos"], positions: Positions, common: Shared | None = None
) -> Float[Tensor, "batch asked d_vocab"]:
    """Logits at some positions, from weights; see `lean_logits`."""
    resid, _ = residual_stream(weights, tokens, positions, common)
    return unembedded(weights, resid.flatten(0, 1)).unflatten(0, resid.shape[:2])


def unembedded(weights: Weights, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
    """The logits of the final residual stream."""
    return torch.addmm(weights.b_U, normalize(weights.ln_final, resid), weights.W_U)


def residual_stream(
    weights: Weights,
    tokens: Int[Tensor, "batch pos"],
    positions: Positions,
    common: Shared | None = None,
    names: Collection[str] = (),
) -> tuple[Float[Tensor, "batch asked d_model"], dict[str, Float[Tensor, "batch asked d_model"]]]:
    """The residual stream at some positions after the last block of `weights`, and the contents of earlier hooks.

    Args:
        weights: of the model.
        tokens: right-padded.
        positions: as in `lean_logits`.
        common: what the sequences share; None: nothing.
        names: hooks of the residual stream (TransformerLens's names) to return as well.
    """
    common = common or nothing_shared(tokens)
    rows, shared, heads = rows_of(tokens, common), common.tokens.shape[1], weights.n_heads
    places = torch.arange(tokens.shape[1], device=tokens.device)
    if isinstance(positions, slice):
        between = range(len(places))[positions]
        asked, asked_of_own = places[positions], slice(between.start - shared, between.stop - shared)
    else:
        asked, asked_of_own = positions, positions - shared
    contents: dict[str, Tensor] = {}
    everywhere = True  # whether there is a row for each position, or only for the wanted ones

    def kept(flat: Float[Tensor, "row d"]) -> Float[Tensor, "batch asked d"]:
        return pick(rows.own(flat), asked_of_own) if everywhere else flat.unflatten(0, (len(tokens), -1))

    def keep(name: str, flat: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        if name in names:
            contents[name] = kept(flat)
        return flat

    token, place = F.embedding(rows.kinds[0], weights.W_E), F.embedding(rows.kinds[1], weights.W_pos)
    for name, of_kind in (("hook_embed", token), ("hook_pos_embed", place)):
        if name in names:
            keep(name, F.embedding(rows.kind, of_kind))
    by_kind = token + place
    resid = F.embedding(rows.kind, by_kind)
    for layer, block in enumerate(weights.blocks):
        hook = f"blocks.{layer}.hook_"
        keep(f"{hook}resid_pre", resid)
        # Before any attention the stream depends only on the kind.
        read = (
            Read(by_kind, rows.begun_kind, rows.sequence_kind) if layer == 0 else Read(resid, rows.begun, rows.sequence)
        )
        if layer < len(weights.blocks) - 1:
            mixed = _mix_everywhere(block, rows, read, rows.kind if layer == 0 else None, places, heads)
        else:
            width = len(block.W_O)
            kv = project(block, read.source, slice(width, None))
            resid, everywhere = kept(resid).flatten(0, 1), False
            q = project(block, resid, slice(0, width)).unflatten(0, (len(tokens), -1))
            mixed = attend(q, F.embedding(read.sequence, kv), later_keys(asked, places, kv), heads).flatten(0, 1)
        resid = after_attention(
            block, weights.act_fn, resid, mixed, lambda component, flat, hook=hook: keep(hook + component, flat)
        )
    return kept(resid), contents


@dataclass(frozen=True)
class Read:
    """The input of a block's attention.

    Attributes:
        source: the stream, once for each row or each kind.
        begun: the index in `source` of each position of the beginnings.
        sequence: the index in `source` of each position of the sequences.
    """

    source: Float[Tensor, "source d_model"]
    begun: Int[Tensor, "beginning shared"]
    sequence: Int[Tensor, "sequence pos"]


def _mix_everywhere(
    block: Block, rows: Rows, read: Read, kind: Int[Tensor, " row"] | None, places: Int[Tensor, " pos"], heads: int
) -> Float[Tensor, "row z"]:
    """The heads' output at every row. Beginnings attend to themselves; sequences to their beginning and themselves.

    Args:
        block: the block's weights.
        rows: the rows of the forward.
        read: the input of attention.
        kind: the kind of each row, if the source holds kinds.
        places: all positions.
        heads: the number of heads.
    """
    width, shared = len(block.W_O), rows.begun.shape[1]
    qkv = project(block, read.source)
    q, kv = qkv[:, :width], qkv[:, width:]
    if kind is not None:
        q = F.embedding(kind, q)
    own = attend(rows.own(q), F.embedding(read.sequence, kv), later_keys(places[shared:], places, kv), heads).flatten(
        0, 1
    )
    if not shared:
        return own
    begun_q = q[: read.begun.numel()].unflatten(0, read.begun.shape)
    begun = attend(begun_q, F.embedding(read.begun, kv), later_keys(places[:shared], places[:shared], kv), heads)
    return torch.cat([begun.flatten(0, 1), own])


def pick(x: Float[Tensor, "batch pos d"], positions: Positions) -> Float[Tensor, "batch asked d"]:
    """The rows of x at some positions of each sequence."""
    if isinstance(positions, slice):
        return x[:, positions]
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[2]))


def later_keys(queries: Int[Tensor, "*batch i"], keys: Int[Tensor, " j"], like: Tensor) -> Float[Tensor, "*batch i j"]:
    """The mask that is added to attention scores: -inf if the key comes after the query, else 0."""
    later = keys > queries[..., None]
    return torch.zeros(later.shape, dtype=like.dtype, device=like.device).masked_fill_(later, -torch.inf)


def attend(
    q: Float[Tensor, "batch i z"], kv: Float[Tensor, "batch j kv"], bias: Float[Tensor, "*batch i j"], heads: int
) -> Float[Tensor, "batch i z"]:
    """Attention of the queries to the keys, head by head.

    On a CPU with few tokens, PyTorch's fused attention is slower than matrix products, and elementwise products are
    the fastest.
    """
    q = q.unflatten(-1, (heads, -1))
    k, v = kv.unflatten(-1, (2, heads, -1)).unbind(-3)
    scale, pairs = q.shape[-1] ** -0.5, q.shape[1] * k.shape[1]
    if pairs <= FEW_PAIRS:
        scores = (q[:, :, None] * k[:, None]).sum(-1) * scale + bias[..., None]
        return (scores.softmax(-2)[..., None] * v[:, None]).sum(2).flatten(2)
    q, k, v = (rearrange(x, "batch pos head d_head -> batch head pos d_head") for x in (q, k, v))
    bias = bias if bias.ndim == 2 else bias[:, None]
    mixed = (
        ((q @ k.mT) * scale + bias).softmax(-1) @ v
        if q.is_cpu
        else F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    )
    return rearrange(mixed, "batch head pos d_head -> batch pos (head d_head)")
