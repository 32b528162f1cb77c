"""What several rooms' tests share: one small trained run, its findings, and training in processes of their own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER" in os.environ:
    # What a module of mechxl imports first is compiled anew, since jaxtyping's plugin gives its bytecode another name:
    # about 1,000 modules in 10 s where bytecode may not be written. A worker needs all of these anyway.
    import beartype  # noqa: F401
    import ipywidgets  # noqa: F401
    import plotly.graph_objects  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import statsmodels.stats.multitest  # noqa: F401
    import transformer_lens  # noqa: F401
    import xarray  # noqa: F401

import jaxtyping

from tests.checked import checked_once

jaxtyping.jaxtyped = checked_once(jaxtyping.jaxtyped)  # before anything imports mechxl: the plugin decorates by it

# ruff: noqa: E402
from mechxl.config import RunConfig, TrainingConfig, WorldConfig
from mechxl.findings import Finding
from mechxl.run import Run
from tests.zygote import Zygote


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this session share: one makes what the others read, under a lock beside it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def trained(shared_folder: Path) -> Run:
    """A small complete run: 60 entities, 24 unseen ones, 120 steps, 6 checkpoints. Leave it as it is.

    Another worker may write findings and activations in it at any time: copy it by `tests.runs.copied`.
    """
    from mechxl.training.loop import train_run

    training = {"steps": 120, "warmup_steps": 20, "checkpoints": 6, "batch_size": 128, "evaluate_every": 40}
    learns = {"schedule": "constant", "betas": (0.9, 0.98)}  # so short a cosine learns too little
    config = RunConfig(world=WorldConfig(n_entities=60, n_unseen=24), training=TrainingConfig(**training, **learns))
    with FileLock(shared_folder / "trained.lock"):
        return train_run(config, shared_folder / "runs" / "trained", quiet=True)


@pytest.fixture(scope="session")
def paired(trained: Run, shared_folder: Path) -> Run:
    """The small run with its trained null. Leave both as they are."""
    from mechxl.null import null_config
    from mechxl.training.loop import train_run

    place = shared_folder / "runs" / "shares no fact"  # not beside it by name: `trained` itself has no null
    with FileLock(shared_folder / "null.lock"):
        null = train_run(null_config(trained.config), place, quiet=True)
    return Run(trained.path, null=null)


@pytest.fixture(scope="session")
def answered(trained: Run, shared_folder: Path) -> Callable[[str], Finding]:
    """Gives the finding of a question of the small run; the worker that needs it first computes it."""
    from mechxl import ask

    def answer(question: str) -> Finding:
        with FileLock(shared_folder / f"{question}.lock"):
            return ask(trained, question)

    return answer


@pytest.fixture(scope="session")
def zygote():
    """`python -m mechxl.train`, forked from one process that has imported torch already."""
    with Zygote() as process:
        yield process
