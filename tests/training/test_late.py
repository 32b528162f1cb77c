"""What changes late in training: nothing before, the named parts afterwards, and which facts are drawn."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mechxl.config import RunConfig, TrainingConfig, as_toml_table, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.run import Run
from mechxl.training import loop
from mechxl.training.batches import TrainingBatches
from mechxl.training.late import weight_decay
from mechxl.training.loop import train_run
from mechxl.training.schedule import learning_rate
from tests.model.plain import contents, tiny

STEPS = {"steps": 20, "evaluate_every": 5, "checkpoints": 6}  # checkpoints at 8 and 14, among others
PARTS = {"embeddings": ("embed.W_E", "embed.W_pos"), "attention": (".attn.", ".ln1."), "mlp": (".mlp.", ".ln2.")}


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(tiny(**STEPS), tmp_path_factory.mktemp("plain") / "run", quiet=True)


def parameters(run: Run, step: int) -> dict[str, torch.Tensor]:
    return load_file(run.checkpoint(step))


@pytest.mark.parametrize("part", PARTS)
def test_a_frozen_part_stays_and_the_rest_goes_on(part: str, plain_run: Run, tmp_path: Path):
    late = plain_run.steps[-3]
    run = train_run(tiny(**STEPS, late_step=late, late_frozen=part), tmp_path / "run", quiet=True)
    for step in run.steps[:-2]:  # until then it is the run without
        assert run.checkpoint(step).read_bytes() == plain_run.checkpoint(step).read_bytes()
    moved, otherwise = (
        {
            name
            for name, old in parameters(one, late).items()
            if not torch.equal(old, parameters(one, one.steps[-1])[name])
        }
        for one in (run, plain_run)
    )
    assert moved == {name for name in otherwise if not any(one in name for one in PARTS[part])}


def test_weight_decay_is_another_one_from_then_on(tmp_path: Path):
    """Without gradients, AdamW multiplies by 1 - rate x decay: here those of token embeddings that nothing reads."""
    config = tiny(**STEPS, late_step=8, late_weight_decay=0.0, schedule="constant", learning_rate=0.05)
    assert [weight_decay(config.training, step) for step in (7, 8)] == [0.1, 0.0]
    run = train_run(config, tmp_path / "run", quiet=True)
    pad = [parameters(run, step)["embed.W_E"][0] for step in (0, run.steps[-1])]
    rates = [learning_rate(config.training, step) for step in range(8)]
    torch.testing.assert_close(pad[1], pad[0] * float(np.prod([1 - 0.1 * rate for rate in rates])))


def test_only_mono_facts_are_told_from_then_on():
    corpus = build_corpus(parse_config({"world": {"n_entities": 50}}))
    fact, _ = corpus.tellings
    plain = TrainingBatches(corpus, "answer", 200, 3, "cpu")
    late = TrainingBatches(corpus, "answer", 200, 3, "cpu", mono_from=70)
    assert (late.draw(0) == plain.draw(0)).all()
    assert (late.draw(1)[:6] == plain.draw(1)[:6]).all()
    mono = corpus.mixture.mono[fact[late.draw(1)[6:].ravel()]]
    assert mono.all()
    assert corpus.mixture.mono[fact[late.draw(2)]].all()
    counts = np.bincount(late.draw(2).ravel(), minlength=len(fact))[corpus.mixture.mono[fact]]
    assert counts.std() < 1.3 * np.sqrt(counts.mean())  # each as often as any other


def test_visits_count_what_is_told(tmp_path: Path):
    run = train_run(tiny(**STEPS, late_step=10, late_facts="mono"), tmp_path / "run", quiet=True)
    last, facts = run.metrics.iloc[-1], run.facts
    batch, mono = run.config.training.batch_size, facts["group"] == "mono"
    weight = facts.loc[mono, "weight"]
    expected = batch * 10 * weight.mean() + batch * 10 / mono.sum()
    assert last["mono_visits"] == pytest.approx(expected)
    assert last["parallel_visits"] == pytest.approx(
        batch * 10 * facts.loc[facts["group"] == "parallel", "weight"].mean()
    )


def test_interrupted_before_and_after_it_is_the_same_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = tiny(late_step=6, late_weight_decay=1.0, late_frozen="mlp", late_facts="mono")
    expected = contents(train_run(config, tmp_path / "whole", quiet=True).path)
    for last in (3, 8):

        def rate(settings: TrainingConfig, step: int, last: int = last) -> float:
            if step == last:
                signal.raise_signal(signal.SIGINT)
            return learning_rate(settings, step)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "learning_rate", rate)
            with pytest.raises(KeyboardInterrupt):
                train_run(config, tmp_path / f"{last}", quiet=True)
        assert contents(train_run(config, tmp_path / f"{last}", resume=True, quiet=True).path) == expected


def test_without_it_the_settings_are_as_if_there_were_none():
    assert not [name for name in as_toml_table(RunConfig())["training"] if name.startswith("late")]
    kept = as_toml_table(tiny(late_step=6, late_facts="mono"))["training"]
    assert {name: value for name, value in kept.items() if name.startswith("late")} == {
        "late_step": 6,
        "late_frozen": "none",
        "late_facts": "mono",
    }
