"""The HookedTransformer: its text methods work offline, its initial weights are seeded, its files are exact."""

import json
import os
import random
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open

from mechxl.config import ModelConfig
from mechxl.model.hooked import build_model, load_parameters, save_model
from mechxl.model.parameters import initial_parameters
from mechxl.run import Run
from tests.model.plain import encode, hooked_greedy, prompt_text, small_corpus, small_model
from tests.zygote import ENVIRONMENT, REPOSITORY

CORPUS = small_corpus()

# What a process may have set for these libraries, before and after it built a model; and what it asked the network.
NEWCOMER = """
import json, os, sys
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
ours = lambda: {name: os.environ[name] for name in os.environ if name.startswith(("HF_", "WANDB_", "TRANSFORMERS_"))}
before = ours()
from tests.model.plain import small_corpus, small_model
small_model(small_corpus())
import datasets, huggingface_hub
offline = [huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE]
print(json.dumps({"changed": before != ours(), "offline": offline, "asked": asked}))
"""


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something phones")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_building_a_model_fetches_nothing_and_leaves_hugging_face_as_the_user_set_it():
    """One library is set offline, the other is not."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= ENVIRONMENT | {"HF_DATASETS_OFFLINE": "1"}
    newcomer = [sys.executable, "-c", NEWCOMER]
    result = subprocess.run(newcomer, capture_output=True, text=True, cwd=REPOSITORY, env=environment, check=True)
    assert json.loads(result.stdout) == {"changed": False, "offline": [False, True], "asked": []}


@pytest.mark.usefixtures("offline")
def test_text_goes_in_and_comes_out(trained: Run):
    model = trained.model(-1)
    text = trained.corpus.text(0, 1)
    assert model.to_tokens(text).tolist() == [encode(trained.corpus, text)]
    assert model.to_tokens(text, prepend_bos=False).tolist() == [encode(trained.corpus, text)[1:]]
    assert model.to_string(model.to_tokens(text)[0, 1:]) == text
    assert model.to_str_tokens(text)[0] == "<bos>"
    assert model.to_single_token("<eos>") == 2


@pytest.mark.usefixtures("offline")
def test_it_generates_the_most_probable_tokens_and_caches_its_activations(trained: Run):
    model = trained.model(-1)
    text = prompt_text(trained.corpus, 5, 1, tag=True)
    prompt = encode(trained.corpus, text)
    logits, cache = model.run_with_cache(text)
    assert torch.equal(torch.as_tensor(logits), model(torch.tensor([prompt])))
    embedded = model.W_E[prompt] + model.W_pos[: len(prompt)]
    torch.testing.assert_close(cache["blocks.0.hook_resid_pre"][0], embedded)
    for fact in range(5):
        text = prompt_text(trained.corpus, fact, 0, tag=True)
        prompt = encode(trained.corpus, text)
        expected = hooked_greedy(model, prompt, 2)
        generated = model.generate(text, max_new_tokens=2, do_sample=False, stop_at_eos=False, verbose=False)
        assert generated == f"{text} {trained.tokenizer.decode(expected, skip_special_tokens=False)}"


def parameters(seed: int, **settings) -> dict[str, torch.Tensor]:
    model = build_model(ModelConfig(**settings), CORPUS.tokenizer, 16, seed)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def test_equal_seeds_give_equal_weights_and_others_give_others():
    one, again, other = parameters(3), parameters(3), parameters(4)
    assert all(torch.equal(one[name], again[name]) for name in one)
    drawn = {name for name in one if "W_" in name}
    assert {name for name in one if not torch.equal(one[name], other[name])} == drawn


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_layers": 3, "d_model": 12, "n_heads": 3, "d_mlp": 7, "init_std": 0.3},  # tensors of fewer than 16 numbers
        {"n_layers": 1, "normalization": "RMS", "act_fn": "relu"},
    ],
)
def test_training_begins_with_the_parameters_that_transformer_lens_draws(settings, precision):
    config = ModelConfig(**settings)
    for seed, n_ctx in ((0, 16), (7, 1)):
        expected = dict(build_model(config, CORPUS.tokenizer, n_ctx, seed, precision).named_parameters())
        drawn = initial_parameters(config, CORPUS.tokenizer.get_vocab_size(), n_ctx, seed, precision)
        assert list(drawn) == list(expected)
        for name, parameter in expected.items():
            assert drawn[name].dtype == parameter.dtype, name
            assert torch.equal(drawn[name], parameter), name


def test_global_generators_are_left_alone():
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    parameters(3)
    after = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    initial_parameters(ModelConfig(), 20, 16, 3)  # beartype draws from `random` which of its items to check
    assert torch.equal(before[0], torch.get_rng_state())


@pytest.mark.parametrize("init_std", [0.02, 0.1])
def test_initial_weights_have_the_deviation_asked_for(init_std):
    for name, parameter in parameters(0, d_model=128, d_mlp=512, init_std=init_std).items():
        if "W_" in name:  # the standard error of a deviation is 1 / sqrt(2 n) of it
            bound = 5 / np.sqrt(2 * parameter.numel())
            assert float(parameter.std()) == pytest.approx(init_std, rel=bound), name
            assert abs(float(parameter.mean())) < 5 * init_std / np.sqrt(parameter.numel())
        else:
            assert float((parameter - (1.0 if name.endswith(".w") else 0.0)).abs().max()) == 0, name


def test_settings_reach_the_model():
    config = ModelConfig(n_layers=3, d_model=24, n_heads=4, d_mlp=40, act_fn="relu", normalization="RMS")
    cfg = build_model(config, CORPUS.tokenizer, 11, 0, "float64").cfg
    assert (cfg.n_layers, cfg.d_model, cfg.n_heads, cfg.d_head, cfg.d_mlp) == (3, 24, 4, 6, 40)
    assert (cfg.n_ctx, cfg.d_vocab, cfg.act_fn, cfg.normalization_type) == (
        11,
        CORPUS.tokenizer.get_vocab_size(),
        "relu",
        "RMS",
    )
    assert cfg.dtype == torch.float64


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_files_hold_the_named_parameters_bit_by_bit(tmp_path, precision):
    model = small_model(CORPUS, 0, precision, n_layers=2)
    save_model(model, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert set(file.keys()) == dict(model.named_parameters()).keys()
    other = small_model(CORPUS, 1, precision, n_layers=2)
    load_parameters(other, tmp_path / "a.safetensors")
    for (name, saved), read in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(saved, read), name
    save_model(other, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("shape", [{"d_mlp": 33}, {"n_layers": 2}, {"normalization": "RMS"}, {"n_heads": 4}])
def test_parameters_of_another_model_are_refused(tmp_path, shape):
    save_model(small_model(CORPUS), tmp_path / "a.safetensors")
    other = small_model(CORPUS, **shape)
    before = [parameter.clone() for parameter in other.parameters()]
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        load_parameters(other, tmp_path / "a.safetensors")
    assert all(torch.equal(old, new) for old, new in zip(before, other.parameters(), strict=True))
