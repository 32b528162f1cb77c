"""The model block by block, with a place to patch every component: what the patching engine runs.

Plain products on all positions, from any block on. The same numbers as the hooked forward (tests hold each component to
it), without its hooks, so that a batch may hold many patches of one model at once.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.model.forward import ACTIVATIONS, normalize
from mechxl.model.weights import Block, Weights

COMPONENTS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pattern")
BY_HEAD = ("q", "k", "v", "z", "pattern")
Visit = Callable[[str, int, Tensor], Tensor]  # (component, layer, content) -> what goes on instead


def embed(weights: Weights, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
    """The stream that block 0 reads."""
    return weights.W_E[tokens] + weights.W_pos[: tokens.shape[1]]


def blocks_from(
    weights: Weights, resid: Float[Tensor, "row pos d_model"], first: int, visit: Visit
) -> Float[Tensor, "row pos d_model"]:
    """The stream after the last block, from the stream that block `first` reads.

    Args:
        weights: of the model.
        resid: what block `first` reads.
        first: of the blocks run; their number: none.
        visit: called with each component's name, layer and content; what it returns goes on. Contents are laid out as
            TransformerLens's hooks: q, k, v and z (row, pos, head, d_head), pattern (row, head, pos, key).
    """
    for layer in range(first, len(weights.blocks)):
        resid = _block(weights, weights.blocks[layer], layer, resid, visit)
    return resid


def unembed(
    weights: Weights, resid: Float[Tensor, "row pos d_model"], positions: Int[Tensor, " row"]
) -> Float[Tensor, "row d_vocab"]:
    """Logits at one position a row."""
    last = resid[torch.arange(len(resid), device=resid.device), positions]
    return torch.addmm(weights.b_U, normalize(weights.ln_final, last), weights.W_U)


def _block(
    weights: Weights, block: Block, layer: int, resid: Float[Tensor, "row pos d_model"], visit: Visit
) -> Float[Tensor, "row pos d_model"]:
    resid = visit("resid_pre", layer, resid)
    n_rows, n_pos = resid.shape[:2]
    qkv = torch.addmm(block.b_QKV, normalize(block.ln1, resid.flatten(0, 1)), block.W_QKV)
    heads = rearrange(
        qkv, "(row pos) (name head d_head) -> name row pos head d_head", row=n_rows, name=3, head=weights.n_heads
    )
    q, k, v = (visit(name, layer, content) for name, content in zip("qkv", heads, strict=True))
    scores = torch.einsum("rqhd,rkhd->rhqk", q, k) / q.shape[-1] ** 0.5
    later = torch.ones(n_pos, n_pos, dtype=torch.bool, device=resid.device).triu(1)
    pattern = visit("pattern", layer, scores.masked_fill(later, -torch.inf).softmax(-1))
    z = visit("z", layer, torch.einsum("rhqk,rkhd->rqhd", pattern, v))
    attn_out = torch.addmm(block.b_O, rearrange(z, "row pos head d_head -> (row pos) (head d_head)"), block.W_O)
    resid = visit("resid_mid", layer, resid + visit("attn_out", layer, attn_out.unflatten(0, (n_rows, n_pos))))
    hidden = torch.addmm(block.b_in, normalize(block.ln2, resid.flatten(0, 1)), block.W_in)
    mlp_out = torch.addmm(block.b_out, ACTIVATIONS[weights.act_fn](hidden), block.W_out)
    return visit("resid_post", layer, resid + visit("mlp_out", layer, mlp_out.unflatten(0, (n_rows, n_pos))))
