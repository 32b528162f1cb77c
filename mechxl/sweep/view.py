"""A sweep's progress on stderr: bars on a terminal, otherwise lines as runs end."""

import json
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from mechxl.files import kind_of
from mechxl.sweep.engine import Job, Outcome

TAIL = 65_536  # bytes read from the end of a metrics file; they hold its newest row
BARS = 12  # most runs at work that have a bar of their own
LOOKED_AT = 50  # most runs whose files are read for one look
LINES = 100  # of a larger sweep, not every run that ends has a line
EVERY = 30.0  # seconds between two lines of such a sweep
STOPPING = "stopping: each run saves its state; press Ctrl-C again to kill them at once"


class View:
    """One view of all runs. It reads the progress of each run from the run's directory.

    Args:
        jobs: the runs to train.
        complete: how many runs were complete before.
        quiet: show failures only.
        on_stop: what is said when Ctrl-C is pressed.
    """

    def __init__(self, jobs: Sequence[Job], complete: int, quiet: bool, on_stop: str = STOPPING) -> None:
        self.total, self.complete, self.failed, self.quiet = len(jobs) + complete, complete, 0, quiet
        self.on_stop = on_stop
        self.console = Console(stderr=True)
        self.shown = (self.console.is_terminal or self.console.is_jupyter) and not quiet
        self.steps = {job.name: _steps(newest_row(job.out)) for job in jobs}
        self.whole_steps = sum(job.config.training.steps for job in jobs)
        self.before, self.since, self.stopping = sum(self.steps.values()), time.monotonic(), False
        self.told = time.monotonic()
        name = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self.sum = Bar(TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[rate]}"))
        self.whole = self.sum.add_task("", total=self.whole_steps, rate="")
        self.runs = Bar(
            TextColumn("{task.description}", table_column=name, markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
            expand=True,
        )
        self.lock = threading.Lock()
        self.at_work: dict[str, tuple[Job, TaskID]] = {}
        self.turns: deque[str] = deque()  # names of runs at work, the one that was looked at longest ago first
        self.live = Live(get_renderable=self._look, console=self.console, refresh_per_second=2)

    def __enter__(self) -> "View":
        if self.shown:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self.live.stop()

    def began(self, job: Job) -> None:
        """Adds a run's bar."""
        steps = job.config.training.steps
        with self.lock:
            task = self.runs.add_task(job.name, total=steps, completed=self.steps[job.name], metrics="starting")
            self.at_work[job.name] = job, task
            self.turns.append(job.name)

    def ended(self, outcome: Outcome) -> None:
        """Counts a run that has ended. Prints a line if there are no bars; a failure is always printed."""
        job, row = outcome.job, newest_row(outcome.job.out)
        with self.lock:
            if at_work := self.at_work.pop(job.name, None):
                self.runs.remove_task(at_work[1])
                self.turns.remove(job.name)
            self.complete += outcome.status == "complete"
            self.failed += outcome.status == "failed"
            self.steps[job.name] = _steps(row)
            if outcome.status == "failed":  # its missing steps count neither as time left nor as speed
                self.before += job.config.training.steps - _steps(row)
                self.steps[job.name] = job.config.training.steps
        if outcome.status == "failed":
            self._print(f"mechxl: {outcome.reason}")
        if outcome.status != "complete" or self.shown or self.quiet:
            return
        if self.total <= LINES:
            self._print(f"{self.complete + self.failed}/{self.total} {job.name}: complete, {_metrics(row)}")
        elif time.monotonic() - self.told > EVERY or self.complete + self.failed == self.total:
            self.told = time.monotonic()
            self._read()
            done = sum(self.steps.values())
            self._print(f"{self._counts()}; {self._rate(done)}")

    def say(self, sentence: str) -> None:
        """Tells what else an engine has to say, above the bars."""
        if not self.quiet:
            self._print(f"mechxl: {sentence}")

    def stop(self) -> None:
        """Shows that runs are being stopped; called in a signal handler."""
        self.stopping = True
        if not (self.shown or self.quiet):
            self._print(self.on_stop)

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _look(self) -> Group:
        """The line of all runs, and bars of those at work where they are few; called in a separate thread."""
        self._read()
        with self.lock:
            done = sum(self.steps.values())
            self.sum.update(self.whole, description=self._counts(), completed=done, rate=self._rate(done))
            return Group(self.sum, self.runs) if len(self.at_work) <= BARS else Group(self.sum)

    def _read(self) -> None:
        """Reads how far runs at work are; of many, some in turn."""
        with self.lock:
            for _ in range(min(LOOKED_AT, len(self.turns))):
                job, task = self.at_work[self.turns[0]]
                self.turns.rotate(-1)
                if row := newest_row(job.out):
                    self.steps[job.name] = _steps(row)
                    self.runs.update(task, completed=_steps(row), metrics=_metrics(row))

    def _counts(self) -> str:
        counts = [f"{self.complete:,} of {self.total:,} runs", f"{len(self.at_work):,} at work"]
        counts += [f"{self.failed:,} failed"] if self.failed else []
        stopping = "stopping, press Ctrl-C again to kill" if self.on_stop == STOPPING else self.on_stop
        return ", ".join(counts) + (f"; {stopping}" if self.stopping else "")

    def _rate(self, done: int) -> str:
        """The steps per second of all runs together since the first step, and the time left at that rate."""
        if done <= self.before:
            self.since = time.monotonic()
            return ""
        rate = (done - self.before) / max(time.monotonic() - self.since, 1e-9)
        left = int((self.whole_steps - done) / rate)
        return f"{rate:,.0f} steps/s, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"


def newest_row(run: Path) -> dict[str, Any] | None:
    """The last whole row of a run's metrics.jsonl; None if there is none."""
    path = run / "metrics.jsonl"
    try:
        if kind_of(path) != "file":
            return None
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            row = json.loads(file.read().split(b"\n")[-2])
    except (OSError, IndexError, ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _steps(row: dict[str, Any] | None) -> int:
    return row["step"] if row else 0


def _metrics(row: dict[str, Any] | None) -> str:
    shown = {"loss": "loss", "recall_accuracy": "recall", "transfer_accuracy": "transfer"}
    values = {short: (row or {}).get(name) for name, short in shown.items()}
    return "  ".join(f"{short} {'-' if value is None else f'{value:.3f}'}" for short, value in values.items())
