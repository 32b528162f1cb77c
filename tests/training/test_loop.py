"""Training: the learning rate's closed form, and equal seeds give equal bytes."""

import math
from pathlib import Path

import pytest
import torch

from mechxl.config import TrainingConfig
from mechxl.errors import Failure, InputError
from mechxl.model.hooked import build_model
from mechxl.run import Run
from mechxl.training.batches import TrainingBatches
from mechxl.training.loop import train_run
from mechxl.training.schedule import learning_rate
from tests.model.plain import contents, tiny


@pytest.mark.parametrize(
    ("schedule", "warmup", "step", "expected"),
    [
        ("constant", 4, 0, 0.25),
        ("constant", 4, 2, 0.75),
        ("constant", 4, 3, 1.0),
        ("constant", 4, 19, 1.0),
        ("constant", 0, 0, 1.0),
        ("cosine", 4, 0, 0.25),
        ("cosine", 4, 4, 1.0),
        ("cosine", 4, 8, (1 + math.sqrt(0.5)) / 2),
        ("cosine", 4, 12, 0.5),
        ("cosine", 4, 20, 0.0),
        ("cosine", 0, 5, (1 + math.sqrt(0.5)) / 2),
        ("cosine", 0, 20, 0.0),
        ("cosine", 40, 19, 0.5),
        ("wsd", 4, 0, 0.25),
        ("wsd", 4, 4, 1.0),
        ("wsd", 4, 15, 1.0),
        ("wsd", 4, 16, 1.0),
        ("wsd", 4, 17, 0.75),
        ("wsd", 4, 19, 0.25),
        ("wsd", 40, 19, 0.5),
    ],
)
def test_learning_rate(schedule, warmup, step, expected):
    config = TrainingConfig(steps=20, learning_rate=3e-3, warmup_steps=warmup, schedule=schedule)
    assert learning_rate(config, step) == pytest.approx(3e-3 * expected, abs=1e-15)


@pytest.mark.parametrize(("share", "expected"), [(1.0, [1.0, 0.75, 0.5, 0.25]), (0.5, [1, 1, 1, 0.5]), (0.01, [1] * 4)])
def test_wsd_falls_in_its_share_of_the_steps(share, expected):
    config = TrainingConfig(steps=4, learning_rate=1.0, warmup_steps=0, schedule="wsd", decay_share=share)
    assert [learning_rate(config, step) for step in range(4)] == pytest.approx(expected)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(tiny(), tmp_path_factory.mktemp("first") / "run", quiet=True)


def test_equal_seeds_give_equal_bytes(first: Run, tmp_path: Path):
    again = contents(train_run(tiny(), tmp_path / "again", quiet=True).path)
    assert again == contents(first.path)
    names = {f"checkpoints/step-{step:06d}.safetensors" for step in tiny().training.checkpoint_steps()}
    assert again.keys() == {"config.toml", "facts.parquet", "tokenizer.json", "metrics.jsonl", "COMPLETE"} | names


@pytest.mark.parametrize(("seed", "from_the_start"), [("init_seed", True), ("order_seed", False)])
def test_another_seed_gives_another_run(first: Run, tmp_path: Path, seed, from_the_start):
    other = train_run(tiny(**{seed: 1}), tmp_path / "other", quiet=True)
    one, two = contents(first.path), contents(other.path)
    differ = {step for step in first.steps if one[key := f"checkpoints/step-{step:06d}.safetensors"] != two[key]}
    assert differ == set(first.steps) - (set() if from_the_start else {0})
    assert one["metrics.jsonl"] != two["metrics.jsonl"]
    assert one["facts.parquet"] == two["facts.parquet"]


def test_rows_stand_at_every_evaluation_and_checkpoint(first: Run):
    steps = first.metrics["step"].tolist()
    assert steps == sorted({0, 5, 10, *tiny().training.checkpoint_steps()})
    assert first.steps == tiny().training.checkpoint_steps()


@pytest.mark.parametrize("settings", [{}, {"schedule": "cosine", "weight_decay": 0.3, "betas": (0.8, 0.95)}])
def test_updates_are_those_of_a_plain_loop(tmp_path: Path, settings):
    """Hooked losses token by token, AdamW in its textbook form, on all parameters, without clipping."""
    config = tiny(precision="float64", batch_size=8, learning_rate=0.05, steps=6, evaluate_every=6, **settings)
    run = train_run(config, tmp_path / "run", quiet=True)
    training, batches = config.training, TrainingBatches(run.corpus, "answer", 8, 0, "cpu")
    model = build_model(config.model, run.corpus.tokenizer, run.environment["n_ctx"], 0, "float64")
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in model.named_parameters()}
    losses = []
    for step in range(6):
        batch = batches[step]
        assert isinstance(batch.positions, slice)  # words of one token, after prompts of one length
        model.zero_grad()
        log_p = model(batch.tokens)[:, -1].log_softmax(-1)
        loss = -torch.stack([log_p[row, target] for row, (target,) in enumerate(batch.targets.tolist())]).sum() / 8
        loss.backward()
        losses.append(loss.item())
        rate = learning_rate(training, step)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                mean, square = moments[name]
                gradient = torch.as_tensor(parameter.grad)
                for moment, beta, value in zip((mean, square), training.betas, (gradient, gradient**2), strict=True):
                    moment += (1 - beta) * (value - moment)
                unbiased = [m / (1 - b ** (step + 1)) for m, b in zip((mean, square), training.betas, strict=True)]
                parameter -= rate * training.weight_decay * parameter
                parameter -= rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    for (name, expected), found in zip(model.named_parameters(), run.model(-1).parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8, msg=name)
    last = run.metrics.iloc[-1]
    since = run.metrics["step"].iloc[-2]
    assert last["train_loss"] == pytest.approx(sum(losses[since:]) / (6 - since))
    assert last["train_answer_loss"] == pytest.approx(last["train_loss"])


def test_visits_are_draws_times_weight(first: Run):
    facts, rows = first.facts, first.metrics
    for group in ("mono", "parallel"):
        mean = facts.loc[facts["group"] == group, "weight"].mean()
        expected = (rows["step"] * 16 * mean).tolist()
        assert rows[f"{group}_visits"].tolist() == pytest.approx(expected)


def test_settings_of_the_process_are_put_back(tmp_path: Path):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train_run(tiny(threads=2, steps=2), tmp_path / "run", quiet=True)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_training_that_diverges_says_where_and_what_to_lower(tmp_path: Path):
    settings = {"steps": 400, "learning_rate": 10.0, "weight_decay": 10.0, "warmup_steps": 0, "evaluate_every": 50}
    with pytest.raises(Failure, match=r"diverged; lower training\.learning_rate \(10\)"):
        train_run(tiny(**settings), tmp_path / "run", quiet=True)
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    assert not (tmp_path / "run" / "COMPLETE").exists()


@pytest.mark.parametrize("device", ["nonsense", "meta", "cuda:99"])
def test_a_device_that_is_not_here_is_refused_before_anything_is_written(tmp_path: Path, device: str):
    with pytest.raises(InputError, match=f"training.device = {device}"):
        train_run(tiny(device=device), tmp_path / "run", quiet=True)
    assert list(tmp_path.iterdir()) == []
