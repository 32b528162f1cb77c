"""Default runs that train together in a temporary directory, and what they take: start-up and loop apart."""

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import wait_for
from mechxl.config import RunConfig, parse_config
from mechxl.errors import Failure, InputError
from mechxl.files import read_rows
from mechxl.training.ensemble import train_together

FIRST_SEED = 100  # the runs on the CPU that they are compared with have seeds 24 to 35: no world is in both samples


@dataclass(frozen=True)
class Case:
    """Default runs that train together.

    Attributes:
        runs: how many.
        steps: of each; fewer than the default's have evaluations and checkpoints in proportion.
        seconds: that it takes on an H100, start-up included, as expected from above.
        precision: `training.precision`.
        compiled: whether torch's compiler fuses the loss.
        bare: evaluate and save at the first and the last step only.
    """

    runs: int
    steps: int
    seconds: float
    precision: str = "float32"
    compiled: bool = False
    bare: bool = False

    def configs(self, base: RunConfig) -> list[RunConfig]:
        """The runs' settings."""
        training = base.training
        changed = {
            "steps": self.steps,
            "precision": self.precision,
            "checkpoints": 2 if self.bare else max(2, round(training.checkpoints * self.steps / training.steps)),
            "evaluate_every": self.steps if self.bare else training.evaluate_every,
        }
        settings = base.model_dump() | {"training": training.model_dump() | changed}
        return [parse_config(settings | {"seed": FIRST_SEED + number}) for number in range(self.runs)]


@dataclass(frozen=True)
class Timed:
    """What a case took.

    Attributes:
        case: what was trained.
        start_up: seconds until the first update is done: data, models, compiling, files of step 0.
        loop: seconds of the other updates, until all files are written.
        batch_size: sentences in each step of each run.
        ends: the last row of metrics of each run.
    """

    case: Case
    start_up: float
    loop: float
    batch_size: int
    ends: Sequence[Mapping[str, Any]]

    @property
    def model_steps(self) -> float:
        """Updates of single runs a second."""
        return self.case.runs * (self.case.steps - 1) / self.loop

    @property
    def examples(self) -> float:
        """Examples a second."""
        return self.model_steps * self.batch_size


class Clock:
    """Notes when the first update is done. `train_together` asks it after each update whether to stop; it never does.

    Args:
        device: of the training.
    """

    def __init__(self, device: str) -> None:
        self.device, self.first = device, 0.0

    def __call__(self) -> bool:
        """Says no."""
        if not self.first:
            wait_for(self.device)
            self.first = time.perf_counter()
        return False


def trained(case: Case, base: RunConfig) -> Timed:
    """Trains a case's runs in a temporary directory, and times them."""
    configs, clock = case.configs(base), Clock(base.training.device)
    with tempfile.TemporaryDirectory() as folder:
        runs = [(config, Path(folder) / str(config.seed)) for config in configs]
        started = time.perf_counter()
        endings = train_together(runs, quiet=True, compiled=case.compiled, stopping=clock)
        ended = time.perf_counter()
        for ending in endings:
            if ending.error:
                raise ending.error
        ends = [read_rows(path / "metrics.jsonl")[-1] for _, path in runs]
    return Timed(case, clock.first - started, ended - clock.first, base.training.batch_size, ends)


def tried(name: str, device: str, measure: Callable[[], Any]) -> Any:
    """What is measured, or why it could not be: the other rows are worth having. Frees the GPU's memory."""
    started = time.perf_counter()
    try:
        result = measure()
    except (RuntimeError, Failure, InputError) as error:
        reason = str(error).strip().partition("\n")[0]
        result = f"failed: {type(error).__name__}: {reason}"
    print(f"  {name}: {time.perf_counter() - started:.1f} s", file=sys.stderr)
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    return result
