"""Which models the lean forward computes, which it refuses, and when hooks take part."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint

from mechxl.errors import InputError
from mechxl.model.forward import lean_logits
from mechxl.model.streams import stream_weights
from mechxl.model.weights import weights_of
from tests.model.hooked import gap, hooked_at, other_model, some_question


def moved(tensor: Tensor, *, hook: HookPoint) -> Tensor:
    """Not along the ones, nor by a factor, which LayerNorm would undo."""
    return tensor + torch.linspace(-1, 2, tensor.shape[-1], dtype=tensor.dtype) ** 2


FOREIGN: dict[str, dict[str, Any]] = {  # by the field that is named
    "act_fn": {"act_fn": "silu"},
    "attention_dir": {"attention_dir": "bidirectional"},
    "attn_only": {"attn_only": True},
    "attn_scale": {"attn_scale": 1.5},
    "attn_scores_soft_cap": {"attn_scores_soft_cap": 0.5},
    "final_rms": {"final_rms": True, "normalization_type": "RMS"},
    "gated_mlp": {"gated_mlp": True},
    "n_key_value_heads": {"n_key_value_heads": 1},
    "normalization_type": {"normalization_type": None},
    "num_experts": {"num_experts": 2, "experts_per_token": 1, "dtype": torch.float32},
    "original_architecture": {"original_architecture": "Olmo2ForCausalLM", "n_heads": 3},
    "output_logits_soft_cap": {"output_logits_soft_cap": 0.5},
    "parallel_attn_mlp": {"parallel_attn_mlp": True},
    "positional_embedding_type": {"positional_embedding_type": "rotary"},
    "post_embedding_ln": {"post_embedding_ln": True},
    "scale_attn_by_inverse_layer_idx": {"scale_attn_by_inverse_layer_idx": True},
    "use_attn_scale": {"use_attn_scale": False},
    "use_attention_sinks": {"use_attention_sinks": True},
    "use_local_attn": {"use_local_attn": True, "window_size": 2, "attn_types": ["local", "global"]},
    "use_normalization_before_and_after": {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
    "use_qk_norm": {"use_qk_norm": True},
}
ALSO_FOREIGN: list[tuple[str, dict[str, Any]]] = [
    ("normalization_type", {"normalization_type": "LNPre"}),
    ("normalization_type", {"normalization_type": "RMSPre"}),
    ("act_fn", {"act_fn": "gelu_new"}),
    ("positional_embedding_type", {"positional_embedding_type": "shortformer"}),
]


EVERY_FOREIGN = pytest.mark.parametrize(("field", "fields"), [*FOREIGN.items(), *ALSO_FOREIGN])


@EVERY_FOREIGN
def test_another_architecture_is_refused_and_the_setting_named(field, fields):
    model, question = other_model(**fields), some_question()
    for positions in (question.positions, slice(3, 6)):
        with pytest.raises(InputError, match=rf"\b{field} = "):
            lean_logits(model, question.tokens, positions, question.common)
    with pytest.raises(InputError, match=rf"\b{field} = "):
        weights_of(model)


@EVERY_FOREIGN
def test_another_architecture_with_hooks_attached_gives_its_own_logits(field, fields):
    model, question = other_model(**fields), some_question()
    with model.hooks(fwd_hooks=[("hook_embed", moved)]):
        logits = lean_logits(model, question.tokens, question.positions, question.common)
        assert gap(logits, hooked_at(model, question.tokens, question.positions)) < 1e-6


@EVERY_FOREIGN
def test_the_streams_of_another_architecture_are_left_to_transformer_lens(field, fields):
    names = ["blocks.0.hook_resid_post"]
    assert stream_weights(other_model(**fields), names) is None
    assert stream_weights(other_model(), names) is not None


# which activations there are hooks for
SWITCHES = ["set_use_attn_result", "set_use_split_qkv_input", "set_use_attn_in", "set_use_hook_mlp_in"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"eps": 0.5},
        {"eps": 0.5, "normalization_type": "RMS"},
        {"d_vocab_out": 7},
        {"d_head": 5, "n_heads": 3},
        {"d_head": 5, "attn_scale": 5**0.5},
        {"initializer_range": 0.7, "init_mode": "xavier_uniform", "model_name": "mine", "default_prepend_bos": False},
    ],
    ids=str,
)
def test_a_model_of_the_same_kind_is_computed_without_its_hooks(fields, monkeypatch):
    model, question = other_model(**fields), some_question()
    given = question.tokens, question.positions
    for switch in SWITCHES:
        getattr(model, switch)(True)
        hooked = hooked_at(model, *given)
        with monkeypatch.context() as patch:
            patch.setattr(HookedTransformer, "forward", None)
            found = lean_logits(model, *given, question.common)
        assert gap(found, hooked) < 1e-12
        getattr(model, switch)(False)


@pytest.mark.parametrize(
    "name",
    [
        "hook_embed",
        "blocks.0.hook_resid_pre",
        "blocks.0.attn.hook_z",
        "blocks.1.mlp.hook_post",
        "ln_final.hook_normalized",
    ],
)
def test_hooks_take_part_while_they_are_attached(name):
    model, question = other_model(), some_question()
    given = question.tokens, question.positions

    def lean() -> Tensor:
        return lean_logits(model, *given, question.common)

    plain = hooked_at(model, *given)
    model.add_hook(name, moved)
    hooked = hooked_at(model, *given)
    assert gap(hooked, plain) > 1e-3
    assert gap(lean(), hooked) < 1e-12
    model.reset_hooks()
    assert gap(lean(), plain) < 1e-12
    with model.hooks(fwd_hooks=[(name, moved)]):
        assert gap(lean(), hooked) < 1e-12
    assert gap(lean(), plain) < 1e-12
    model.add_perma_hook(name, moved)
    model.reset_hooks()
    assert gap(lean(), hooked) < 1e-12
    model.reset_hooks(including_permanent=True)
    assert gap(lean(), plain) < 1e-12


def test_backward_hooks_see_the_gradients():
    model, question = other_model(), some_question()
    seen = []
    with model.hooks(bwd_hooks=[("blocks.0.hook_resid_post", lambda gradient, hook: seen.append(gradient.clone()))]):
        for logits in (
            lean_logits(model, question.tokens, question.positions, question.common),
            hooked_at(model, question.tokens, question.positions),
        ):
            logits.square().sum().backward()
    assert len(seen) == 2
    assert gap(seen[0], seen[1]) < 1e-12
