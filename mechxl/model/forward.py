"""The lean forward: logits on the HookedTransformer's own parameters, without its hooks.

In the last block, queries, attention output, MLP and unembedding are computed only at the positions asked for, and
beginnings that sequences share are computed once. Sequences are right-padded, so the causal mask alone keeps padding
out. Attention is two batched products: on the few tokens of a sentence PyTorch's fused attention is slower on the CPU
(benchmarks/RESULTS.md).
"""

import dataclasses
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.model.prefixes import Prefixes, no_prefixes

Model = Any  # a HookedTransformer; its class is known to model/hooked.py alone

Positions = slice | Int[Tensor, "batch asked"]

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu}

# Fields of HookedTransformerConfig; one that is in neither set must have its default.
COVERED = {
    *("d_model", "d_head", "n_layers", "n_ctx", "n_heads", "d_mlp", "d_vocab", "d_vocab_out", "dtype", "act_fn"),
    *("normalization_type", "attn_scale", "eps"),
}
WITHOUT_EFFECT = {
    *("device", "n_devices", "model_name", "tokenizer_name", "n_params", "seed"),
    *("tokenizer_prepends_bos", "default_prepend_bos", "init_mode", "init_weights", "initializer_range"),
    *("checkpoint_index", "checkpoint_label_type", "checkpoint_value", "from_checkpoint", "tie_word_embeddings"),
    *("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in", "use_hook_tokens"),
}


def lean_logits(
    model: Model, tokens: Int[Tensor, "batch pos"], positions: Positions, prefixes: Prefixes | None = None
) -> Float[Tensor, "batch asked d_vocab"]:
    """The model's logits at some positions, equal to those of its hooked forward.

    A model with hooks attached is run with them; one of another kind than mechxl builds too, and that is said once.

    Args:
        model: a HookedTransformer.
        tokens: right-padded.
        positions: a slice if the same for all sequences, else an index per sequence; none lies inside the prefixes.
        prefixes: what the sequences begin with; None: nothing is shared.
    """
    if foreign := _foreign(model):
        warnings.warn(f"the lean forward does not know {foreign}: the hooked forward runs instead", stacklevel=2)
    if foreign or any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values()):
        return _pick(model(tokens), positions)
    shared = no_prefixes(tokens) if prefixes is None else prefixes
    n, k = shared.tokens.shape
    batch, length = len(tokens), tokens.shape[1]

    def own(flat: Float[Tensor, "row *d"]) -> Float[Tensor, "batch own *d"]:
        """Rows hold the beginnings' positions, then the sequences' own: this is the second part."""
        return flat[n * k :].unflatten(0, (batch, length - k))

    def keys(flat: Float[Tensor, "row *d"]) -> Float[Tensor, "batch pos *d"]:
        """All positions of each sequence, its beginning's included."""
        if k == 0:
            return own(flat)
        begun = F.embedding(shared.of, rearrange(flat[: n * k], "(prefix pos) ... -> prefix (pos ...)", prefix=n))
        return torch.cat([begun.unflatten(1, (k, *flat.shape[1:])), own(flat)], dim=1)

    here = torch.arange(length, device=tokens.device)
    asked = here[positions] if isinstance(positions, slice) else positions
    within = slice(int(asked[0]) - k, int(asked[-1]) + 1 - k) if isinstance(positions, slice) else positions - k
    starts = torch.cat([shared.tokens.flatten(), tokens[:, k:].flatten()])
    places = torch.cat([here[:k].repeat(n), here[k:].repeat(batch)])
    resid = F.embedding(starts, model.embed.W_E) + F.embedding(places, model.pos_embed.W_pos)
    last = len(model.blocks) - 1
    for layer, block in enumerate(model.blocks):
        normed, attn = _normalize(block.ln1, resid), block.attn
        if layer < last:
            qkv = _project(attn, normed, "QKV")
            z = _attend(own(qkv[:, 0]), *keys(qkv[:, 1:]).unbind(2), _bias(here[k:], here, resid)).flatten(0, 1)
            if k:
                begun = qkv[: n * k].unflatten(0, (n, k)).unbind(2)
                z = torch.cat([_attend(*begun, _bias(here[:k], here[:k], resid)).flatten(0, 1), z])
        else:
            kv = _project(attn, normed, "KV")
            q = _project(attn, _pick(own(normed), within).flatten(0, 1), "Q")[:, 0]
            resid = _pick(own(resid), within).flatten(0, 1)
            q = q.unflatten(0, (batch, asked.shape[-1]))
            z = _attend(q, *keys(kv).unbind(2), _bias(asked, here, resid)).flatten(0, 1)
        resid = resid + F.linear(z.flatten(1), rearrange(attn.W_O, "head d_head d -> d (head d_head)"), attn.b_O)
        mlp = block.mlp
        hidden = ACTIVATIONS[model.cfg.act_fn](F.linear(_normalize(block.ln2, resid), mlp.W_in.T, mlp.b_in))
        resid = resid + F.linear(hidden, mlp.W_out.T, mlp.b_out)
    logits = F.linear(_normalize(model.ln_final, resid), model.unembed.W_U.T, model.unembed.b_U)
    return logits.unflatten(0, (batch, asked.shape[-1]))


def _foreign(model: Model) -> str:
    """What the lean forward does not cover in a HookedTransformer; empty for all that the settings can describe."""
    cfg = model.cfg
    found = [
        field.name
        for field in dataclasses.fields(cfg)
        if field.name not in WITHOUT_EFFECT | COVERED and getattr(cfg, field.name) != field.default
    ]
    found += [] if cfg.act_fn in ACTIVATIONS else ["act_fn"]
    found += [] if cfg.normalization_type in ("LN", "RMS") else ["normalization_type"]
    found += [] if cfg.attn_scale == cfg.d_head**0.5 else ["attn_scale"]
    return ", ".join(f"{name} = {getattr(cfg, name)}" for name in found)


def _pick(x: Float[Tensor, "batch pos d"], positions: Positions) -> Float[Tensor, "batch asked d"]:
    if isinstance(positions, slice):
        return x[:, positions]
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[2]))


def _normalize(norm: Any, x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
    if hasattr(norm, "b"):
        return F.layer_norm(x, x.shape[-1:], norm.w, norm.b, norm.eps)
    return F.rms_norm(x, x.shape[-1:], norm.w, norm.eps)


def _project(attn: Any, x: Float[Tensor, "row d"], names: str) -> Float[Tensor, "row name head d_head"]:
    """Queries, keys or values (Q, K, V) of all heads, in one product."""
    weight = torch.cat([rearrange(getattr(attn, f"W_{name}"), "head d d_head -> (head d_head) d") for name in names])
    bias = torch.cat([rearrange(getattr(attn, f"b_{name}"), "head d_head -> (head d_head)") for name in names])
    return F.linear(x, weight, bias).unflatten(1, (len(names), attn.W_Q.shape[0], -1))


def _bias(queries: Int[Tensor, "*batch i"], keys: Int[Tensor, " j"], like: Tensor) -> Float[Tensor, "*batch i j"]:
    """What is added to attention scores: -inf where a key comes after the query, else 0."""
    later = keys > queries[..., None]
    return torch.zeros(later.shape, dtype=like.dtype, device=like.device).masked_fill_(later, -torch.inf)


def _attend(
    q: Float[Tensor, "batch i head d_head"],
    k: Float[Tensor, "batch j head d_head"],
    v: Float[Tensor, "batch j head d_head"],
    bias: Float[Tensor, "*batch i j"],
) -> Float[Tensor, "batch i head d_head"]:
    """Attention of the queries to the keys."""
    q, k, v = (rearrange(x, "batch pos head d_head -> batch head pos d_head") for x in (q, k, v))
    scores = (q @ k.mT) * q.shape[-1] ** -0.5 + (bias if bias.ndim == 2 else bias[:, None])
    return rearrange(scores.softmax(-1) @ v, "batch head pos d_head -> batch pos head d_head")
