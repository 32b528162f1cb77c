"""What several rooms' tests share: one small trained run, and training in processes that need not import torch."""

import pytest

from mechxl.config import RunConfig, TrainingConfig, WorldConfig
from mechxl.run import Run
from tests.training.zygote import Zygote


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small complete run: 60 entities, 24 unseen ones, 120 steps, 6 checkpoints. Leave it as it is."""
    from mechxl.training.loop import train_run

    config = RunConfig(
        world=WorldConfig(n_entities=60, n_unseen=24),
        training=TrainingConfig(steps=120, warmup_steps=20, checkpoints=6, batch_size=128, evaluate_every=40),
    )
    return train_run(config, tmp_path_factory.mktemp("runs") / "trained", quiet=True)


@pytest.fixture(scope="session")
def zygote():
    """`python -m mechxl.train`, forked from one process that has imported torch already."""
    with Zygote() as process:
        yield process
