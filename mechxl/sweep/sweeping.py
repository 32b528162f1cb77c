"""Trains the runs of a study: skips complete runs, hands the others to an engine, and writes a table of all runs."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import pandas as pd

from mechxl.cores import cores
from mechxl.errors import InputError
from mechxl.files import check_path
from mechxl.sweep.engine import Engine, Job, Outcome
from mechxl.sweep.engines import pick_engine
from mechxl.sweep.machine import allot
from mechxl.sweep.study import Study
from mechxl.sweep.table import TABLE, Table, is_table
from mechxl.sweep.twins import beside_twins, is_complete
from mechxl.sweep.view import STOPPING, View


def sweep(
    study: Study,
    out: str | Path | None = None,
    *,
    workers: int | None = None,
    engine: str | Engine = "auto",
    quiet: bool = False,
) -> pd.DataFrame:
    """Trains a study's runs and returns their table (`Table`), which it also writes to OUT/sweep.parquet.

    Every run is a run directory OUT/NAME. Complete runs are left as they are; interrupted ones are resumed. If a run
    fails, its row in the table gives the reason, and the other runs continue.

    Args:
        study: the runs to train.
        out: the directory for the runs; None: runs/ and the study's name.
        workers: most runs to train at once; None: as many as fill the cores.
        engine: what carries out the runs: auto (gpu where there is one, else `automatic`), another name of
            `mechxl.sweep.engines.ENGINES`, or a function: `Slurm(partition="long", wait=True)`, `Ray("auto")`.
        quiet: print failures only.

    Example:
        >>> from mechxl.sweep import parse_study, sweep
        >>> base = {"world.n_entities": 60, "training.steps": 60, "training.warmup_steps": 10}
        >>> study = parse_study({"base": base, "grid": {"tokenization.kind": ["word", "character"]}}, "tiny")
        >>> table = sweep(study, quiet=True)  # in runs/tiny
        >>> table[["tokenization.kind", "recall_accuracy", "transfer_accuracy"]]

    Raises:
        InputError: there is no such engine, or `out` can't be a study's directory.
        KeyboardInterrupt: stopped by Ctrl-C. Every run's state is saved and the table is written; call it again to
            continue. A second Ctrl-C kills all runs; a later call continues them from their newest checkpoint.
    """
    carry_out = pick_engine(engine, study.slurm) if isinstance(engine, str) else engine
    out = Path("runs") / study.name if out is None else Path(out)
    _make(out)
    runs_at_once, threads = allot([run.config for run in study.runs], workers, cores())
    jobs = [Job(run.name, run.config, out / run.name, n) for run, n in zip(study.runs, threads, strict=True)]
    table = Table(study, out)
    waiting: list[Job] = []
    for job in jobs:
        if table.results.of(job.name, job.config) or is_complete(job):
            table.add(Outcome(job, "complete"))
        else:
            waiting.append(job)
    with (
        View(waiting, len(jobs) - len(waiting), quiet, getattr(carry_out, "on_stop", STOPPING)) as view,
        _stopping(view.stop) as stopping,
        closing(
            beside_twins(carry_out)(waiting, runs_at_once, view.began, stopping, view.say)
        ) as outcomes_as_they_end,  # a second Ctrl-C may come outside the generator
    ):
        for outcome in outcomes_as_they_end:
            view.ended(table.add(outcome))
    ended = table.write()
    if stopped := int((ended["status"] == "stopped").sum()):
        raise KeyboardInterrupt(
            f"{out}: stopped with everything saved, {stopped} of {len(jobs)} runs not finished; run the same command "
            f"again to continue; {out / TABLE} has a row for every run"
        )
    return ended


def _make(out: Path) -> None:
    check_path(out, "--out")
    if (out / "config.toml").is_file():
        raise InputError(
            f"{out}: is the directory of one run, and a study needs a directory for many; choose another --out"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); choose another --out") from None
    if not is_table(out / TABLE):
        raise InputError(f"{out / TABLE}: is not a sweep's table, and is not replaced; move it away")


@contextmanager
def _stopping(on_press: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C was pressed; the first press calls `on_press`, a second one raises."""
    pressed: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt("stopped at once; a later sweep continues each run from its newest checkpoint")
        pressed.append(number)
        on_press()

    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:  # only the main thread may handle signals
        yield lambda: False
        return
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
