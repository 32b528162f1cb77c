"""The added loss: its values in planted vectors, its gradient, which facts it joins, and that it is off by default."""

import signal
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from mechxl.config import RunConfig, TrainingConfig, as_toml_table, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.errors import InputError
from mechxl.model.hooked import build_model
from mechxl.model.weights import weights_of
from mechxl.training import loop
from mechxl.training.batches import STEPS_A_BLOCK
from mechxl.training.ensemble import train_together
from mechxl.training.loop import train_run
from mechxl.training.pull import Pull, added_loss, aligned, joined_facts
from mechxl.training.schedule import learning_rate
from tests.model.plain import contents, tiny

THREE = {"world": {"n_entities": 30, "n_unseen": 4}, "languages": {"count": 3}, "training": {"batch_size": 48}}


def config_of(**training: object) -> RunConfig:
    return parse_config(THREE | {"training": THREE["training"] | training})


def test_alignment_in_planted_vectors():
    rng = torch.Generator().manual_seed(0)
    code = torch.randn(1, 50, 1, 16, generator=rng, dtype=torch.float64)
    offset = 100 * torch.randn(1, 1, 2, 16, generator=rng, dtype=torch.float64)
    centred = code - code.mean(1, keepdim=True)
    shared = code.expand(1, 50, 2, 16)
    assert aligned(shared * 0.01 + offset).item() == pytest.approx(1)  # neither an offset nor shrinking changes it
    assert aligned(torch.cat([centred, -3 * centred], 2)).item() == pytest.approx(-1)
    other = torch.randn(1, 5000, 2, 16, generator=rng, dtype=torch.float64)
    assert abs(aligned(other).item()) < 0.02


def test_the_loss_is_its_definition_pair_by_pair():
    vectors = np.random.default_rng(0).normal(size=(2, 7, 3, 5))
    expected = []
    for member in vectors:
        centred = member - member.mean(axis=0)
        cosines = [
            f[a] @ f[b] / np.linalg.norm(f[a]) / np.linalg.norm(f[b])
            for f in centred
            for a, b in permutations(range(3), 2)
        ]
        expected.append(np.mean(cosines))
    found = added_loss(torch.tensor(vectors), torch.tensor([0.5, -2.0]))
    assert found.tolist() == pytest.approx([0.5 * (1 - expected[0]), 2 * expected[1] ** 2])


def test_its_gradient_is_that_of_finite_differences_and_its_vectors_are_the_hooked_models():
    config = config_of(pull=1.5, pull_layer=1)
    corpus = build_corpus(config)
    model = build_model(config.model, corpus.tokenizer, 8, 0, "float64")
    pull = Pull(corpus, config.training, 5, "cpu")
    loss = pull.loss(weights_of(model), 2)
    rows = pull.draw(0)[2]
    _, cache = model.run_with_cache(pull.tokens[rows])
    hooked = cache["resid_post", 0][torch.arange(len(rows)), pull.last[rows]].reshape(1, -1, 3, 64)
    assert loss.item() == pytest.approx(1.5 * (1 - aligned(hooked).item()))
    loss.backward()
    for name in ("embed.W_E", "blocks.0.mlp.W_out"):
        parameter = model.get_parameter(name)
        assert parameter.grad is not None
        place = np.unravel_index(int(parameter.grad.abs().argmax()), parameter.shape)
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter[place] += step
                values.append(pull.loss(weights_of(model), 2).item())
                parameter[place] -= step
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(parameter.grad[place].item(), rel=1e-5)
    assert model.get_parameter("blocks.1.mlp.W_out").grad is None  # what comes after the layer is left alone
    assert model.get_parameter("unembed.W_U").grad is None


@pytest.mark.parametrize("group", ["all", "mono", "parallel"])
def test_which_facts_it_joins(group: str):
    corpus = build_corpus(config_of(pull=1.0))
    mixture, world = corpus.mixture, corpus.world
    same, permuted = (joined_facts(corpus, group, pairs, 3) for pairs in ("same", "permuted"))
    chosen = mixture.told.any(axis=1) if group == "all" else mixture.group == group
    for relation, (right, wrong) in enumerate(zip(same, permuted, strict=True)):
        facts = np.flatnonzero(chosen & (world.relation == relation))
        assert (right == right[:, :1]).all()
        for column in (*right.T, *wrong.T):  # each fact once a language, in both
            assert sorted(column) == facts.tolist()
        assert all(len(set(row)) == 3 for row in world.entity[wrong])
        assert (mixture.group[wrong] == mixture.group[wrong[:, :1]]).all()


def test_draws_depend_on_seed_and_step_alone_and_are_not_those_of_batches():
    config = config_of(pull=1.0, pull_facts="mono")
    pull = Pull(build_corpus(config), config.training, 5, "cpu")
    draws = pull.draw(1)
    again = Pull(build_corpus(config), config.training, 5, "cpu")
    again.draw(0)
    assert (again.draw(1) == draws).all()
    assert not (Pull(build_corpus(config), config.training, 6, "cpu").draw(1) == draws).all()
    assert draws.shape == (STEPS_A_BLOCK, 3 * pull.n_facts)
    first = draws[0].reshape(-1, 3)
    assert (first % 3 == [0, 1, 2]).all()
    assert len(np.unique(first)) == first.size  # facts do not repeat where there are enough


def test_without_it_a_run_and_its_settings_are_as_if_there_were_none(tmp_path: Path):
    assert not [name for name in as_toml_table(RunConfig())["training"] if name.startswith("pull")]
    base = train_run(tiny(), tmp_path / "base", quiet=True)
    pulled = train_run(tiny(pull=1.0), tmp_path / "pulled", quiet=True)
    first, other = contents(base.path), contents(pulled.path)
    assert first["checkpoints/step-000000.safetensors"] == other["checkpoints/step-000000.safetensors"]
    last = max(name for name in first if name.startswith("checkpoints"))
    assert first[last] != other[last]


def test_it_does_what_it_says(tmp_path: Path):
    """Three runs of one seed, in two groups: a pull aligns the languages more than nothing, a push less."""
    settings = {"steps": 150, "batch_size": 64, "evaluate_every": 150, "checkpoints": 2, "learning_rate": 5e-3}
    found = {}
    for weight in (0.0, 3.0, -3.0):
        config = tiny(pull=weight, **settings)
        run = train_run(config, tmp_path / f"{weight}", quiet=True)
        probe = Pull(run.corpus, config.training.model_copy(update={"pull": 1.0}), 9, "cpu")
        found[weight] = 1 - np.mean([probe.loss(weights_of(run.model(-1)), step).item() for step in range(8)])
    assert found[3.0] > found[0.0] + 0.1
    assert abs(found[-3.0]) < found[0.0] - 0.1


def test_stopped_and_resumed_it_is_the_same_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config, asked = tiny(pull=-1.0, pull_facts="parallel"), list[int]()
    expected = contents(train_run(config, tmp_path / "whole", quiet=True).path)

    def rate(settings: TrainingConfig, step: int) -> float:
        if step == 6:
            signal.raise_signal(signal.SIGINT)
        return learning_rate(settings, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", rate)
        with pytest.raises(KeyboardInterrupt, match="stopped at step 7 of 12"):
            train_run(config, tmp_path / "run", quiet=True)
    assert contents(train_run(config, tmp_path / "run", resume=True, quiet=True).path) == expected

    def stopping() -> bool:
        asked.append(1)
        return len(asked) == 7

    members = [config, tiny(pull=1.0, order_seed=3)]
    for name, when in (("all", None), ("half", stopping)):
        runs = [(one, tmp_path / name / f"{number}") for number, one in enumerate(members)]
        if when:
            with pytest.raises(KeyboardInterrupt):
                train_together(runs, quiet=True, stopping=when)
        train_together(runs, quiet=True, resume=True)
    assert [contents(tmp_path / "half" / f"{n}") for n in (0, 1)] == [
        contents(tmp_path / "all" / f"{n}") for n in (0, 1)
    ]


def test_too_few_facts_are_refused_before_anything_is_written(tmp_path: Path):
    config = parse_config({"mixture": {"parallel_fraction": 1.0}, "training": {"pull": 1.0, "pull_facts": "mono"}})
    with pytest.raises(InputError, match=r"training\.pull_facts = mono: no relation has 4 facts of this group"):
        train_run(config, tmp_path / "run", quiet=True)
    assert not list(tmp_path.iterdir())
