"""The section about the GPU: its quick way on the CPU, what it says without a GPU, and its numbers by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import gpu, peers
from benchmarks.together import Case, Timed
from mechxl.config import RunConfig, differences, parse_config


def test_it_runs_on_the_cpu_in_small(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(peers, "WARM_UP", 1)
    small = RunConfig().training.model_copy(update={"batch_size": 16})
    monkeypatch.setattr(peers, "CONFIG", RunConfig().model_copy(update={"training": small}))
    monkeypatch.setattr(peers, "SIZE", 16)
    assert command.main(["--only", "gpu", "--quick"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("## Many runs on a GPU\n\n")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    names = [row[0].removeprefix("| ") for row in rows]
    assert {"64 runs", gpu.TRAIN, gpu.GRAPHED, "recall", "transfer"} <= set(names)
    assert (
        len({len(row) for row in rows if row[0] not in ("| recall", "| transfer", "| at the last step", "| ---")}) == 1
    )
    assert "failed" not in text
    assert "not measured" not in text


def test_without_a_gpu_it_says_so_and_changes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(command, "HERE", tmp_path)
    assert command.main(["--only", "training", "gpu"]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("benchmarks: the section gpu needs a GPU, and torch sees none here")
    assert not list(tmp_path.iterdir())


def test_rates_ratios_and_the_share_of_the_limit_are_those_by_hand():
    timed = Timed(Case(64, 401, 0), start_up=2.0, loop=4.0, batch_size=512, ends=[])
    assert timed.model_steps == 64 * 400 / 4
    assert timed.examples == 64 * 400 / 4 * 512
    card = "NVIDIA H200"
    text = gpu.rates({gpu.TRAIN: timed.examples / 8, gpu.GRAPHED: "failed: no"}, {"64 runs": timed}, card)
    row = next(line for line in text.splitlines() if line.startswith("| 64 runs"))
    limit = 100 * 6400 * 512 * 1.73e6 / 67e12
    assert row == f"| 64 runs | 401 | 2.0 | 4.0 | 6,400 | 3,276,800 | 8.00 | - | {limit:.1f} % |"
    assert gpu.share(1e6, "NVIDIA T4") == "unknown"
    assert {len(line.split(" | ")) for line in text.splitlines()} == {9}


def test_fewer_steps_have_fewer_evaluations_and_checkpoints_in_proportion():
    whole, short = (Case(1, steps, 0).configs(RunConfig())[0] for steps in (3000, 300))
    assert not differences(whole, RunConfig(seed=whole.seed))
    assert (whole.training.checkpoints, short.training.checkpoints) == (30, 3)
    assert short.training.evaluate_every == whole.training.evaluate_every
    bare = Case(1, 300, 0, bare=True).configs(RunConfig())[0].training
    assert (bare.checkpoint_steps(), bare.evaluate_every) == ([0, 300], 300)


def test_equal_samples_have_p_1_and_shifted_ones_a_small_p():
    cpu = [{"recall": 1.0, "transfer": 0.7 + 0.001 * i} for i in range(12)]
    rng = np.random.default_rng(0)
    end = [{"recall_accuracy": 1.0, "transfer_accuracy": 0.9 + 0.01 * rng.random()} for _ in range(64)]
    recall, transfer = gpu.compared(end, cpu).splitlines()[-2:]
    assert recall.endswith("| +0.0000 | 1, all are equal |")
    assert float(transfer.split(" | ")[-1].removesuffix(" |")) < 1e-6
    assert "| 64 |" in transfer
    assert "| 12 | 0.7055 (sd 0.0036) |" in transfer


def test_the_runs_on_the_cpu_have_the_recipe_that_is_the_default():
    rows = gpu.cpu_runs()
    assert sorted(row["seed"] for row in rows) == list(range(24, 36))
    recipe = {"schedule": "cosine", "betas": (0.9, 0.99)}
    assert not differences(parse_config({"training": recipe}), RunConfig())
