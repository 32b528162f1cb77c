"""Checks whether the lean forward can compute a HookedTransformer: only those that mechxl's settings can describe."""

import dataclasses
from typing import TYPE_CHECKING

import torch.nn.functional as F

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu}

# Fields of HookedTransformerConfig. A field in neither set must have its default value.
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


def uncovered(model: "HookedTransformer") -> str:
    """The settings of a model that the lean forward does not compute, as `name = value`; empty if there are none."""
    cfg = model.cfg
    names = [
        field.name
        for field in dataclasses.fields(cfg)
        if field.name not in WITHOUT_EFFECT | COVERED and getattr(cfg, field.name) != field.default
    ]
    names += [] if cfg.act_fn in ACTIVATIONS else ["act_fn"]
    names += [] if cfg.normalization_type in ("LN", "RMS") else ["normalization_type"]
    names += [] if cfg.attn_scale == cfg.d_head**0.5 else ["attn_scale"]
    return ", ".join(f"{name} = {getattr(cfg, name)}" for name in names)
