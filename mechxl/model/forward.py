"""The lean forward: logits on the HookedTransformer's own parameters, without its hooks.

In the last block, queries, attention output, MLP and unembedding are computed only at the positions asked for.
Sequences are right-padded, so the causal mask alone keeps padding out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

Model = Any  # a HookedTransformer; its class is known to model/hooked.py alone

Positions = slice | Int[Tensor, "batch asked"]


def lean_logits(
    model: Model, tokens: Int[Tensor, "batch pos"], positions: Positions
) -> Float[Tensor, "batch asked d_vocab"]:
    """The model's logits at some positions, equal to those of its hooked forward.

    Args:
        model: a HookedTransformer (standard positions, LN or RMS, no gated MLP).
        tokens: right-padded.
        positions: a slice if the same for all sequences, else an index per sequence.
    """
    resid = F.embedding(tokens, model.embed.W_E) + model.pos_embed.W_pos[: tokens.shape[1]]
    here = torch.arange(tokens.shape[1], device=tokens.device)
    last = len(model.blocks) - 1
    for layer, block in enumerate(model.blocks):
        normed = _normalize(block.ln1, resid)
        if layer < last:
            mixed = _attention(block.attn, normed, normed, None)
        else:
            asked = here[positions] if isinstance(positions, slice) else positions
            mask = here <= asked[..., None] if asked.ndim == 1 else (here <= asked[..., None])[:, None]
            resid = _pick(resid, positions)
            mixed = _attention(block.attn, _pick(normed, positions), normed, mask)
        resid = resid + mixed
        mlp = block.mlp
        hidden = F.linear(_normalize(block.ln2, resid), mlp.W_in.T, mlp.b_in)
        hidden = F.gelu(hidden) if model.cfg.act_fn == "gelu" else F.relu(hidden)
        resid = resid + F.linear(hidden, mlp.W_out.T, mlp.b_out)
    return F.linear(_normalize(model.ln_final, resid), model.unembed.W_U.T, model.unembed.b_U)


def _pick(x: Float[Tensor, "batch pos d"], positions: Positions) -> Float[Tensor, "batch asked d"]:
    if isinstance(positions, slice):
        return x[:, positions]
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[2]))


def _normalize(norm: Any, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
    if hasattr(norm, "b"):
        return F.layer_norm(x, x.shape[-1:], norm.w, norm.b, norm.eps)
    return F.rms_norm(x, x.shape[-1:], norm.w, norm.eps)


def _attention(
    attn: Any,
    queries: Float[Tensor, "batch asked d"],
    keys: Float[Tensor, "batch pos d"],
    mask: Bool[Tensor, "..."] | None,
) -> Float[Tensor, "batch asked d"]:
    """Causal self-attention where mask is None (queries are keys), else attention of some queries to all keys."""
    heads = attn.W_Q.shape[0]

    def project(x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> list[Tensor]:
        weight = torch.cat([rearrange(w, "head d d_head -> (head d_head) d") for w in weights])
        bias = torch.cat([rearrange(b, "head d_head -> (head d_head)") for b in biases])
        parts = F.linear(x, weight, bias).chunk(len(weights), dim=-1)
        return [rearrange(part, "batch pos (head d_head) -> batch head pos d_head", head=heads) for part in parts]

    if mask is None:
        q, k, v = project(keys, [attn.W_Q, attn.W_K, attn.W_V], [attn.b_Q, attn.b_K, attn.b_V])
    else:
        (q,) = project(queries, [attn.W_Q], [attn.b_Q])
        k, v = project(keys, [attn.W_K, attn.W_V], [attn.b_K, attn.b_V])
    z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    out = rearrange(attn.W_O, "head d_head d -> d (head d_head)")
    return F.linear(rearrange(z, "batch head pos d_head -> batch pos (head d_head)"), out, attn.b_O)
