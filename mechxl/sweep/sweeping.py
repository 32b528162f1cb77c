"""Carries a study out: what is complete is skipped, the rest handed to an engine, and what came out put in a table."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from mechxl.config import differences
from mechxl.errors import InputError
from mechxl.run import Run
from mechxl.sweep.engine import Engine, Job, Outcome
from mechxl.sweep.engines.local import local
from mechxl.sweep.machine import allot, cores
from mechxl.sweep.study import Study
from mechxl.sweep.table import runs_table, write_table
from mechxl.sweep.view import View

TABLE = "sweep.parquet"


def sweep(
    study: Study,
    out: str | Path | None = None,
    *,
    workers: int | None = None,
    engine: Engine = local,
    quiet: bool = False,
) -> pd.DataFrame:
    """Trains a study's runs and returns its table (`runs_table`), which is kept as OUT/sweep.parquet.

    Every run is a run directory OUT/NAME. Complete ones are left as they are, interrupted ones resumed. A run that
    fails is a row with its reason, and the others carry on.

    Args:
        study: the runs.
        out: their directory; None: runs/ and the study's name.
        workers: runs at a time, at most; None: as many as fill the cores.
        engine: what carries the runs out.
        quiet: say nothing but failures.

    Example:
        >>> from mechxl.sweep import parse_study, sweep
        >>> base = {"world.n_entities": 60, "training.steps": 60, "training.warmup_steps": 10}
        >>> study = parse_study({"base": base, "grid": {"tokenization.kind": ["word", "character"]}}, "tiny")
        >>> table = sweep(study, quiet=True)  # in runs/tiny
        >>> table[["tokenization.kind", "recall_accuracy", "transfer_accuracy"]]

    Raises:
        InputError: `out` can't be a study's directory.
        KeyboardInterrupt: stopped by Ctrl-C, with everything saved and the table written; the same call goes on. After
            a second Ctrl-C all runs were killed, and go on from their newest checkpoint.
    """
    out = Path("runs") / study.name if out is None else Path(out)
    _make(out)
    together, threads = allot([run.config for run in study.runs], workers, cores())
    jobs = [Job(run.name, run.config, out / run.name, n) for run, n in zip(study.runs, threads, strict=True)]
    outcomes = {job.name: Outcome(job, "complete") for job in jobs if _is_complete(job)}
    waiting = [job for job in jobs if job.name not in outcomes]
    with (
        View(waiting, len(outcomes), quiet) as view,
        _stopping(view.stop) as stopping,
        closing(engine(waiting, together, view.began, stopping)) as ends,  # a second Ctrl-C may come outside of it
    ):
        for outcome in ends:
            outcomes[outcome.job.name] = outcome
            view.ended(outcome)
    table = runs_table(study, outcomes)
    write_table(table, out / TABLE)
    if stopped := sum(outcome.status == "stopped" for outcome in outcomes.values()):
        raise KeyboardInterrupt(
            f"{out}: stopped with everything saved, {stopped} of {len(jobs)} runs not finished; the same command goes "
            f"on; {out / TABLE} has what is complete"
        )
    return table


def _make(out: Path) -> None:
    if (out / "config.toml").is_file():
        raise InputError(f"{out}: is a run, and a study's directory holds runs; choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); choose another --out") from None


def _is_complete(job: Job) -> bool:
    """Whether there is nothing to do. What is damaged, or another run, is left to training to refuse."""
    try:
        run = Run(job.out)
        return run.complete and not differences(run.config, job.config)
    except InputError:
        return False


@contextmanager
def _stopping(told: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Yields what tells whether Ctrl-C was pressed, and calls `told` then; a second Ctrl-C raises KeyboardInterrupt."""
    pressed: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt("stopped at once: every run goes on from its newest checkpoint")
        pressed.append(number)
        told()

    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread: signals are not ours
        yield lambda: False
        return
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
