"""What the lean forward is compared with: the hooked forward, at positions; and models beyond mechxl's settings."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig

from mechxl.model.forward import Positions
from mechxl.model.sharing import Shared, shared

MODELS = {
    "n_layers": st.integers(1, 3),
    "n_heads": st.sampled_from([1, 2, 4]),
    "act_fn": st.sampled_from(["gelu", "relu"]),
    "normalization": st.sampled_from(["LN", "RMS"]),
}
# answers of one token at one place; of several; and prompts and answers of many lengths
CORPORA = {
    "syllable": {},
    "character": {"tokenization": {"kind": "character"}, "languages": {"word_length": 2}},
    "hidden tags": {"languages": {"cue": "tag", "cue_dropout": 0.5}},
    "bpe": {"tokenization": {"kind": "bpe", "vocab_size": 90}, "languages": {"word_length": 2}},
}


def hooked_at(model: HookedTransformer, tokens: Tensor, positions: Positions) -> Tensor:
    logits = model(tokens)
    if isinstance(positions, slice):
        return logits[:, positions]
    return logits[torch.arange(len(tokens))[:, None], positions]


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the second's largest entry where that is above 1."""
    return float((one - other).detach().abs().max() / max(1.0, float(other.detach().abs().max())))


def assume_off_the_kink(model: HookedTransformer, tokens: Tensor) -> None:
    """Passes over a draw where rounding may change a gradient for good: a ReLU's input next to 0, on either side."""
    if model.cfg.act_fn == "relu":
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("mlp.hook_pre"))
        assume(all(float(value.abs().min()) > 3e-6 for value in cache.values()))


@dataclass(frozen=True)
class Asked:
    """What the lean forward is given."""

    tokens: Tensor
    positions: Positions
    common: Shared | None


OTHER: dict[str, Any] = {
    "n_layers": 2,
    "d_model": 12,
    "n_ctx": 10,
    "d_head": 4,
    "n_heads": 2,
    "d_mlp": 20,
    "d_vocab": 30,
    "act_fn": "gelu",
    "normalization_type": "LN",
    "dtype": torch.float64,
    "device": "cpu",
}


def other_model(**fields: Any) -> HookedTransformer:
    """A model that mechxl's own settings need not be able to describe; all its parameters take part."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HookedTransformer(HookedTransformerConfig(**OTHER | fields))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def another_architecture(model: HookedTransformer, **fields: Any) -> HookedTransformer:
    """A model with these fields of the configuration and all others as in a model that mechxl built."""
    return HookedTransformer(replace(model.cfg, **fields))


def some_question() -> Asked:
    """Six rows with two beginnings of two tokens, each asked at two positions."""
    tokens = torch.randint(3, 30, (6, 8), generator=torch.Generator().manual_seed(2))
    tokens[:, :2] = torch.tensor([[1, 5], [1, 6]])[torch.arange(6) % 2]
    at = torch.tensor([[2, 4], [3, 7], [5, 2], [2, 2], [7, 6], [4, 5]])
    common = shared(tokens, 2, 8)
    assert common.tokens.shape == (2, 2)
    return Asked(tokens, at, common)
