"""The run that the notebooks look at: small, and trained on first use, in half a minute.

It learns what it is told, transfers some of it, and unifies: enough to see every instrument at work, too little to
claim anything. To look at a run of your own, write `Run("../../runs/default")` where a notebook says `small_run()`.
"""

from pathlib import Path

from filelock import FileLock

from mechxl import Run, train_run
from mechxl.config import RunConfig, TrainingConfig, WorldConfig

RUNS = Path(__file__).resolve().parents[2] / "runs"  # ignored by git

SETTINGS = RunConfig(
    world=WorldConfig(n_entities=200, n_unseen=32),
    training=TrainingConfig(steps=600, batch_size=256, warmup_steps=50, checkpoints=16, evaluate_every=25),
)


def small_run() -> Run:
    """runs/notebooks, trained if it is not there yet."""
    RUNS.mkdir(exist_ok=True)
    with FileLock(RUNS / "notebooks.lock"):  # two notebooks may be run at once
        return train_run(SETTINGS, RUNS / "notebooks", quiet=True, resume=True)
