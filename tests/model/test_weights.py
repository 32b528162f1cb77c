"""Packed parameters are the model's own: the hooked forward, its gradients and its files do not notice."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformer_lens import HookedTransformer

from mechxl.model.forward import logits
from mechxl.model.hooked import load_parameters, save_model
from mechxl.model.weights import pack, weights_of
from mechxl.training.batches import TrainingBatches
from mechxl.training.loop import batch_losses
from tests.model.hooked import CORPORA, MODELS, assume_off_the_kink, gap, hooked_at
from tests.model.plain import small_corpus, small_model

FEW = settings(max_examples=25, deadline=None)
CORPUS = {name: small_corpus(**sections) for name, sections in CORPORA.items()}


def values(model: HookedTransformer) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@FEW
@given(st.fixed_dictionaries(MODELS), st.integers(0, 10**6))
def test_packing_changes_no_parameter_and_keeps_them_the_models(shape, seed):
    model = small_model(CORPUS["syllable"], seed, **shape)
    before, tokens = values(model), torch.randint(3, 20, (5, 7), generator=torch.Generator().manual_seed(seed))
    expected = model(tokens)
    packed = pack(model)
    assert packed.vector.numel() == sum(parameter.numel() for parameter in before.values())
    after = values(model)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert gap(model(tokens), expected) < 1e-12
    with torch.no_grad():
        packed.vector.mul_(0.9)
    changed = values(model)
    for name, value in before.items():
        torch.testing.assert_close(changed[name], 0.9 * value, rtol=0, atol=0)
    everywhere = slice(0, 7)
    assert gap(logits(packed.weights, tokens, everywhere), model(tokens)) < 1e-12


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@FEW
@given(
    st.fixed_dictionaries(MODELS),
    st.sampled_from(list(CORPORA)),
    st.sampled_from(["answer", "all"]),
    st.integers(0, 99),
)
def test_a_step_on_the_vector_is_a_step_on_every_parameter(precision, tolerance, shape, name, objective, seed):
    """Loss and gradients of a batch, each parameter's own: those of the hooked forward."""
    corpus = CORPUS[name]
    batch = TrainingBatches(corpus, objective, 32, seed, "cpu")[seed % 7]
    model = small_model(corpus, seed, precision, **shape)
    assume_off_the_kink(model, batch.tokens)
    hooked = hooked_at(model, batch.tokens, batch.positions).log_softmax(-1)
    picked = hooked.gather(2, batch.targets[..., None])[..., 0]
    expected = -(picked * (batch.targets != 0)).sum() / len(batch.tokens)
    gradients = dict(zip(values(model), torch.autograd.grad(expected, list(model.parameters())), strict=True))

    before, packed = values(model), pack(model)
    loss, _ = batch_losses(packed.weights, batch)
    assert gap(loss, expected) < tolerance
    loss.backward()
    assert packed.vector.grad is not None
    with torch.no_grad():
        packed.vector.copy_(packed.vector.grad)  # the model's parameters are now its gradients
    largest = max(1.0, *(float(gradient.abs().max()) for gradient in gradients.values()))
    found = values(model)
    assert found.keys() == before.keys()
    for key, gradient in gradients.items():
        assert float((found[key] - gradient).abs().max()) < tolerance * largest, key


def test_a_packed_model_is_saved_and_read_like_any_other(tmp_path: Path):
    corpus = CORPUS["syllable"]
    plain, packed, read = (small_model(corpus, seed, n_layers=2, n_heads=4) for seed in (0, 0, 1))
    pack(packed)
    save_model(plain, tmp_path / "plain")
    save_model(packed, tmp_path / "packed")
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "packed").read_bytes()
    pack(read)
    load_parameters(read, tmp_path / "plain")
    assert all(torch.equal(a, b) for a, b in zip(values(read).values(), values(plain).values(), strict=True))


def test_weights_of_a_model_pass_gradients_to_its_own_parameters():
    model = small_model(CORPUS["syllable"], n_layers=2)
    logits(weights_of(model), torch.tensor([[1, 5, 9]]), slice(0, 3)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
