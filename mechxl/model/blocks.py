"""The model block by block, so that the patching engine can read and replace every component.

It can start at any block and any position, since a patch changes nothing before it; earlier positions are given by
their keys and values. The results equal those of the hooked forward; a test compares each component.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.model.architecture import ACTIVATIONS
from mechxl.model.forward import FEW_PAIRS
from mechxl.model.parts import normalize, project
from mechxl.model.weights import Weights

COMPONENTS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pattern")
BY_HEAD = ("q", "k", "v", "z", "pattern")
READ_LATER = ("resid_pre", "k", "v")  # components that later positions of the same block read
Projected = tuple[Tensor, ...]  # queries of the wanted positions; keys and values, with those of the past
Visit = Callable[[str, int, Tensor, Tensor], Tensor]  # (component, block, content, positions) -> content to use


@dataclass(frozen=True)
class Past:
    """Keys and values of the positions before the first one that is run, block by block.

    It may have fewer rows than are run: the rows that are run then repeat it.
    """

    k: Sequence[Float[Tensor, "row pos head d_head"]]
    v: Sequence[Float[Tensor, "row pos head d_head"]]


def embed(weights: Weights, tokens: Int[Tensor, "row pos"], start: int = 0) -> Float[Tensor, "row pos d_model"]:
    """The stream that block 0 reads; `start` is the position of the first token."""
    return F.embedding(tokens, weights.W_E) + weights.W_pos[start : start + tokens.shape[1]]


def blocks_from(
    weights: Weights,
    resid: Float[Tensor, "row pos d_model"],
    first: int,
    visit: Visit,
    *,
    past: Past | None = None,
    asked: Int[Tensor, " row"] | None = None,
    projected: Projected | None = None,
) -> Float[Tensor, "row wanted d_model"]:
    """The stream after the last block, from the stream that block `first` reads.

    Args:
        weights: of the model.
        resid: the stream that block `first` reads.
        first: the first block to run; the number of blocks: run none.
        visit: called with each component's name, block, content and positions (one row of positions for each row, or
            one for all); what it returns replaces the content. Contents have the shapes of TransformerLens's hooks: q,
            k, v and z (row, pos, head, d_head), pattern (row, head, pos, key). Keys and values include the past's.
        past: of the positions before those of `resid`; None: there are no earlier positions.
        asked: the one wanted position of each row. The last block then computes only keys and values elsewhere, and the
            result has one position. None: all positions.
        projected: block `first`'s queries, keys and values, if they are known; its resid_pre is then not visited.
    """
    start = 0 if past is None else past.k[0].shape[1]
    positions = torch.arange(start, start + resid.shape[1], device=resid.device)[None]
    n_blocks = len(weights.blocks)
    if asked is not None and first == n_blocks:
        return at_columns(resid, asked - start)
    for number in range(first, n_blocks):
        before = None if past is None else (past.k[number], past.v[number])
        asked_in_block = asked if number == n_blocks - 1 else None
        known = projected if number == first else None
        resid = _block(weights, number, resid, positions, before, asked_in_block, visit, known)
    return resid


def project_heads(
    weights: Weights, number: int, resid: Float[Tensor, "*row d_model"], which: slice = slice(0, 3)
) -> tuple[Float[Tensor, "*row head d_head"], ...]:
    """Queries, keys and values of a block, or some of the three, from the stream that it reads."""
    width = len(weights.blocks[number].W_O)
    flat = project(weights.blocks[number], resid.flatten(0, -2), slice(which.start * width, which.stop * width))
    return flat.view(*resid.shape[:-1], -1, weights.n_heads, width // weights.n_heads).unbind(-3)


def unembed(weights: Weights, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
    """Logits of the last block's stream."""
    return torch.addmm(weights.b_U, normalize(weights.ln_final, resid), weights.W_U)


def _block(
    weights: Weights,
    number: int,
    resid: Float[Tensor, "row pos d_model"],
    all_positions: Int[Tensor, "one pos"],
    past: tuple[Tensor, Tensor] | None,
    asked: Int[Tensor, " row"] | None,
    visit: Visit,
    projected: Projected | None,
) -> Float[Tensor, "row wanted d_model"]:
    block, n, positions = weights.blocks[number], len(resid), all_positions if asked is None else asked[:, None]
    resid = resid if projected else visit("resid_pre", number, resid, all_positions)
    wanted = resid if asked is None else at_columns(resid, asked - all_positions[0, 0])
    if projected:
        q, k, v = projected
    elif asked is None:
        q, k, v = project_heads(weights, number, resid)
    else:
        (q,) = project_heads(weights, number, wanted, slice(0, 1))
        k, v = project_heads(weights, number, resid, slice(1, 3))
    if past is not None and not projected:
        past_k, past_v = past
        k, v = _after(past_k, k), _after(past_v, v)
    resid, key_positions = wanted, torch.arange(k.shape[1], device=k.device)
    q = visit("q", number, q, positions)
    k, v = visit("k", number, k, key_positions[None]), visit("v", number, v, key_positions[None])
    pattern = visit("pattern", number, _pattern(q, k, key_positions > positions[:, :, None]), positions)
    z = visit("z", number, _mixed(pattern, v), positions)
    attn_out = torch.addmm(block.b_O, z.flatten(2).flatten(0, 1), block.W_O).unflatten(0, (n, -1))
    resid = visit("resid_mid", number, resid + visit("attn_out", number, attn_out, positions), positions)
    hidden = torch.addmm(block.b_in, normalize(block.ln2, resid.flatten(0, 1)), block.W_in)
    mlp_out = torch.addmm(block.b_out, ACTIVATIONS[weights.act_fn](hidden), block.W_out).unflatten(0, (n, -1))
    return visit("resid_post", number, resid + visit("mlp_out", number, mlp_out, positions), positions)


def _after(past: Float[Tensor, "few before head d_head"], own: Float[Tensor, "row pos head d_head"]) -> Tensor:
    """The past's keys or values, then the block's own; the past's rows are repeated."""
    repeats = own.unflatten(0, (-1, len(past)))
    return torch.cat([past.expand(len(repeats), *past.shape), repeats], dim=2).flatten(0, 1)


def _pattern(
    q: Float[Tensor, "row pos head d_head"],
    k: Float[Tensor, "row key head d_head"],
    later: Bool[Tensor, "#row pos key"],
) -> Float[Tensor, "row head pos key"]:
    """Softmax of the scaled scores; elementwise products are fastest if there are few (benchmarks/RESULTS.md)."""
    scale = q.shape[-1] ** -0.5
    if q.is_cpu and q.shape[1] * k.shape[1] <= FEW_PAIRS:
        scores = ((q * scale)[:, :, None] * k[:, None]).sum(-1)
        return scores.masked_fill_(later[..., None], -torch.inf).softmax(2).movedim(3, 1)
    return (torch.einsum("rqhd,rkhd->rhqk", q, k) * scale).masked_fill_(later[:, None], -torch.inf).softmax(-1)


def _mixed(
    pattern: Float[Tensor, "row head pos key"], v: Float[Tensor, "row key head d_head"]
) -> Float[Tensor, "row pos head d_head"]:
    if v.is_cpu and pattern.shape[2] * pattern.shape[3] <= FEW_PAIRS:
        return (pattern.movedim(1, 3)[..., None] * v[:, None]).sum(2)
    return torch.einsum("rhqk,rkhd->rqhd", pattern, v)


def at_columns(content: Float[Tensor, "row pos *d"], column: Int[Tensor, " row"]) -> Float[Tensor, "row one *d"]:
    """One position of each row."""
    return at_rows(content, torch.arange(len(content), device=content.device), column)[:, None]


def at_rows(
    content: Float[Tensor, "row pos *d"], row: Int[Tensor, " some"], column: Int[Tensor, " some"]
) -> Float[Tensor, "some *d"]:
    """content[row, column], by index_select: twice as fast as indexing with two tensors."""
    return content.flatten(0, 1).index_select(0, row * content.shape[1] + column)
