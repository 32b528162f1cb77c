"""The model block by block, with a place to patch every component: what the patching engine runs.

From any block and any position on, as nothing before a patch changes: a causal model's earlier positions are given by
their keys and values. The same numbers as the hooked forward (tests hold each component to it).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.model.forward import ACTIVATIONS, FEW_PAIRS, normalize
from mechxl.model.weights import Block, Weights

COMPONENTS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pattern")
BY_HEAD = ("q", "k", "v", "z", "pattern")
READ_LATER = ("resid_pre", "k", "v")  # by later positions of the same block
Visit = Callable[[str, int, Tensor, Tensor], Tensor]  # (component, block, content, positions) -> what goes on instead


@dataclass(frozen=True)
class Past:
    """Keys and values of the positions before the first one that is run, block by block."""

    k: Sequence[Float[Tensor, "row pos head d_head"]]
    v: Sequence[Float[Tensor, "row pos head d_head"]]


def embed(weights: Weights, tokens: Int[Tensor, "row pos"], start: int = 0) -> Float[Tensor, "row pos d_model"]:
    """The stream that block 0 reads, of tokens that stand from position `start` on."""
    return weights.W_E[tokens] + weights.W_pos[start : start + tokens.shape[1]]


def blocks_from(
    weights: Weights,
    resid: Float[Tensor, "row pos d_model"],
    first: int,
    visit: Visit,
    *,
    past: Past | None = None,
    asked: Int[Tensor, " row"] | None = None,
) -> Float[Tensor, "row wanted d_model"]:
    """The stream after the last block, from the stream that block `first` reads.

    Args:
        weights: of the model.
        resid: what block `first` reads.
        first: of the blocks run; their number: none.
        visit: called with each component's name, block, content and the content's positions (a row's, or one row for
            all); what it returns goes on. Contents are laid out as TransformerLens's hooks: q, k, v and z (row, pos,
            head, d_head), pattern (row, head, pos, key).
        past: of the positions before those of `resid`; None: there are none.
        asked: the position of each row whose stream is wanted: the last block then runs for it alone, but for its
            keys and values; the result has one position. None: all.
    """
    start = 0 if past is None else past.k[0].shape[1]
    here = torch.arange(start, start + resid.shape[1], device=resid.device)[None]
    n_blocks = len(weights.blocks)
    if asked is not None and first == n_blocks:
        return _pick(resid, asked - start)
    for number in range(first, n_blocks):
        before = None if past is None else (past.k[number], past.v[number])
        wanted = asked if number == n_blocks - 1 else None
        resid = _block(weights, weights.blocks[number], number, resid, here, before, wanted, visit)
    return resid


def unembed(weights: Weights, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
    """Logits of the last block's stream."""
    return torch.addmm(weights.b_U, normalize(weights.ln_final, resid), weights.W_U)


def _block(
    weights: Weights,
    block: Block,
    number: int,
    resid: Float[Tensor, "row pos d_model"],
    here: Int[Tensor, "one pos"],
    past: tuple[Tensor, Tensor] | None,
    asked: Int[Tensor, " row"] | None,
    visit: Visit,
) -> Float[Tensor, "row wanted d_model"]:
    resid = visit("resid_pre", number, resid, here)
    n, z_width = len(resid), len(block.W_O)
    by_head = (n, -1, weights.n_heads, z_width // weights.n_heads)
    normed = normalize(block.ln1, resid.flatten(0, 1))
    if asked is None:
        qkv = torch.addmm(block.b_QKV, normed, block.W_QKV)
        positions, q, kv = here, qkv[:, :z_width], qkv[:, z_width:]
    else:
        kv = torch.addmm(block.b_QKV[z_width:], normed, block.W_QKV[:, z_width:])
        resid, positions = _pick(resid, asked - here[0, 0]), asked[:, None]
        own = normalize(block.ln1, resid.flatten(0, 1))
        q = torch.addmm(block.b_QKV[:z_width], own, block.W_QKV[:, :z_width])
    q = visit("q", number, q.reshape(by_head), positions)
    k = visit("k", number, kv[:, :z_width].reshape(by_head), here)
    v = visit("v", number, kv[:, z_width:].reshape(by_head), here)
    if past is not None:
        k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
    later = torch.arange(k.shape[1], device=k.device) > positions[:, None, :, None]
    pattern = visit("pattern", number, _scores(q, k).masked_fill_(later, -torch.inf).softmax(-1), positions)
    z = visit("z", number, _mixed(pattern, v), positions)
    attn_out = torch.addmm(block.b_O, z.flatten(2).flatten(0, 1), block.W_O).unflatten(0, (n, -1))
    resid = visit("resid_mid", number, resid + visit("attn_out", number, attn_out, positions), positions)
    hidden = torch.addmm(block.b_in, normalize(block.ln2, resid.flatten(0, 1)), block.W_in)
    mlp_out = torch.addmm(block.b_out, ACTIVATIONS[weights.act_fn](hidden), block.W_out).unflatten(0, (n, -1))
    return visit("resid_post", number, resid + visit("mlp_out", number, mlp_out, positions), positions)


def _scores(
    q: Float[Tensor, "row pos head d_head"], k: Float[Tensor, "row key head d_head"]
) -> Float[Tensor, "row head pos key"]:
    """Scaled products of queries and keys; of few, elementwise products are quickest (benchmarks/RESULTS.md)."""
    if q.is_cpu and q.shape[1] * k.shape[1] <= FEW_PAIRS:
        product = (q[:, :, None] * k[:, None]).sum(-1)
        return product.movedim(3, 1) * q.shape[-1] ** -0.5
    return torch.einsum("rqhd,rkhd->rhqk", q, k) * q.shape[-1] ** -0.5


def _mixed(
    pattern: Float[Tensor, "row head pos key"], v: Float[Tensor, "row key head d_head"]
) -> Float[Tensor, "row pos head d_head"]:
    if v.is_cpu and pattern.shape[2] * pattern.shape[3] <= FEW_PAIRS:
        return (pattern.movedim(1, 3)[..., None] * v[:, None]).sum(2)
    return torch.einsum("rhqk,rkhd->rqhd", pattern, v)


def _pick(content: Float[Tensor, "row pos d"], column: Int[Tensor, " row"]) -> Float[Tensor, "row one d"]:
    return content[torch.arange(len(content), device=content.device), column][:, None]
