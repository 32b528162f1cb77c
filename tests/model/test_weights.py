"""Packed parameters go by the model's names: as parameters of a HookedTransformer they give its forward."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformer_lens import HookedTransformer

from mechxl.config import TrainingConfig
from mechxl.model.forward import lean_logits, logits
from mechxl.model.hooked import copy_parameters, save_model
from mechxl.model.parameters import save_parameters
from mechxl.model.weights import named, pack, weights_of
from mechxl.training.batches import TrainingBatches
from mechxl.training.loop import adamw_step, batch_losses
from tests.model.hooked import CORPORA, MODELS, assume_off_the_kink, gap, hooked_at
from tests.model.plain import small_corpus, small_model

FEW = settings(max_examples=25, deadline=None)
CORPUS = {name: small_corpus(**sections) for name, sections in CORPORA.items()}


def values(model: HookedTransformer) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@FEW
@given(st.fixed_dictionaries(MODELS), st.integers(0, 10**6))
def test_packed_parameters_go_by_the_models_names(shape, seed):
    model = small_model(CORPUS["syllable"], seed, **shape)
    before, tokens = values(model), torch.randint(3, 20, (5, 7), generator=torch.Generator().manual_seed(seed))
    packed = pack(weights_of(model))
    assert packed.vector.numel() == sum(parameter.numel() for parameter in before.values())
    after = named(packed.weights)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    with torch.no_grad():
        packed.vector.mul_(0.9)
    for name, value in before.items():
        torch.testing.assert_close(after[name], 0.9 * value, rtol=0, atol=0)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    copy_parameters(model, after)
    everywhere = slice(0, 7)
    assert gap(lean_logits(packed.weights, tokens, everywhere), model(tokens)) < 1e-12


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

    packed = pack(weights_of(model))
    loss, _ = batch_losses(packed.weights, batch)
    assert gap(loss, expected) < tolerance
    loss.backward()
    packed.vector.data.copy_(packed.gradient)  # the parameters are now their gradients
    largest = max(1.0, *(float(gradient.abs().max()) for gradient in gradients.values()))
    found = named(packed.weights)
    assert found.keys() == gradients.keys()
    for key, gradient in gradients.items():
        assert float((found[key] - gradient).abs().max()) < tolerance * largest, key


def test_packed_parameters_are_saved_as_those_of_a_model(tmp_path: Path):
    model = small_model(CORPUS["syllable"], n_layers=2, n_heads=4)
    save_model(model, tmp_path / "model")
    save_parameters(named(pack(weights_of(model)).weights), tmp_path / "packed")
    assert (tmp_path / "model").read_bytes() == (tmp_path / "packed").read_bytes()


def test_a_step_of_training_is_one_of_torchs_optimizer():
    packed, theirs = (pack(weights_of(small_model(CORPUS["syllable"], precision="float32"))) for _ in range(2))
    training = TrainingConfig(betas=(0.7, 0.95), weight_decay=0.2)
    optimizer = torch.optim.AdamW([theirs.vector], betas=training.betas, weight_decay=0.2, fused=True)
    moments: dict[str, Tensor] = {}
    for step in range(4):
        for one in (packed, theirs):
            logits(one.weights, torch.tensor([[1, 5, 9 + step]]), slice(0, 3)).square().sum().backward()
        optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
        optimizer.step()
        adamw_step(packed, moments, training, 0.01 * (step + 1))
        assert torch.equal(packed.vector, theirs.vector)
        state = optimizer.state[theirs.vector]
        assert state.keys() == moments.keys()
        assert all(torch.equal(state[name], moments[name]) for name in moments)


def test_weights_of_a_model_pass_gradients_to_its_own_parameters():
    model = small_model(CORPUS["syllable"], n_layers=2)
    logits(weights_of(model), torch.tensor([[1, 5, 9]]), slice(0, 3)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
