"""`run.model(step)` in the hands of who knows TransformerLens: caches, hooks, its generic patching."""

from typing import Any

import pytest
import torch
from transformer_lens import ActivationCache, HookedTransformer, patching

from mechxl.run import Run
from tests.model.plain import encode, prompt_text

pytestmark = pytest.mark.filterwarnings("ignore")  # TransformerLens's own, of libraries that it uses


@pytest.fixture(scope="module")
def model(trained: Run) -> HookedTransformer:
    return trained.model(-1)


def prompts(run: Run, facts: list[int], language: int) -> torch.Tensor:
    return torch.tensor([encode(run.corpus, prompt_text(run.corpus, fact, language, True)) for fact in facts])


def test_run_with_cache(trained: Run, model: HookedTransformer):
    tokens = prompts(trained, [0, 1, 2], 0)
    logits, cache = model.run_with_cache(tokens)
    assert isinstance(cache, ActivationCache)
    assert cache["resid_post", 1].shape == (*tokens.shape, 64)
    assert cache["pattern", 0].shape == (3, 2, tokens.shape[1], tokens.shape[1])
    parts, labels = cache.decompose_resid(return_labels=True)
    assert labels[0] == "embed"
    torch.testing.assert_close(parts.sum(0), cache["resid_post", 1])
    final = model.ln_final(cache["resid_post", 1])
    torch.testing.assert_close(model.unembed(final), logits)
    names = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_z"))[1]
    assert set(names) == {"blocks.0.attn.hook_z", "blocks.1.attn.hook_z"}


def test_run_with_hooks(trained: Run, model: HookedTransformer):
    """Without both blocks' outputs, the answer is read off the embeddings; afterwards no hook is left."""
    tokens = prompts(trained, [0, 1, 2], 1)
    before = model(tokens)

    def nothing(value, hook):
        return torch.zeros_like(value)

    hooks: list[Any] = [
        (f"blocks.{layer}.hook_{name}", nothing) for name in ("attn_out", "mlp_out") for layer in (0, 1)
    ]
    changed = model.run_with_hooks(tokens, fwd_hooks=hooks)
    embedded = model.W_E[tokens] + model.W_pos[: tokens.shape[1]]
    torch.testing.assert_close(changed, model.unembed(model.ln_final(embedded)))
    assert torch.equal(model(tokens), before)
    seen = []
    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", lambda value, hook: seen.append(hook.name))]):
        model(tokens)
    assert seen == ["blocks.0.hook_resid_post"]


def test_generic_patching(trained: Run, model: HookedTransformer):
    """The grid of resid_pre: the whole effect at the embeddings, all of it at the last position in the end."""
    corpus = trained.corpus
    same = corpus.world.relation == corpus.world.relation[0]
    other = next(fact for fact in range(1, corpus.world.n_facts) if same[fact])
    clean, corrupted = prompts(trained, [other], 0), prompts(trained, [0], 0)
    _, cache = model.run_with_cache(clean)
    corrupted_logits = model(corrupted)
    answer = int(model(clean)[0, -1].argmax())

    def metric(logits):
        return logits[0, -1, answer]

    grid = patching.get_act_patch_resid_pre(model, corrupted, cache, metric)
    assert grid.shape == (2, clean.shape[1])
    differ = (clean != corrupted)[0]
    unmoved = grid[0, ~differ]
    torch.testing.assert_close(unmoved, metric(corrupted_logits).expand_as(unmoved))
    assert differ.sum() >= 1
    by_head = patching.get_act_patch_attn_head_out_all_pos(model, corrupted, cache, metric)
    assert by_head.shape == (2, 2)
    blocks = patching.get_act_patch_block_every(model, corrupted, cache, metric)
    torch.testing.assert_close(blocks[0], grid)
