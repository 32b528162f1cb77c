"""Start-up times, and the default run and report, as commands of a user."""

import tempfile
from pathlib import Path

from benchmarks.machine import Finished, finished, spread, table


def start_up(quick: bool) -> str:
    """Time of commands that should answer at once, and of everything before the first training step."""
    repeats = 2 if quick else 3
    commands = {
        "`python -m mechxl.train --help`": ("mechxl.train", "--help"),
        "`python -m mechxl.report --help`": ("mechxl.report", "--help"),
        "`python -m mechxl.sweep --help`": ("mechxl.sweep", "--help"),
        "`python -m mechxl.train --describe`": ("mechxl.train", "--describe"),
        "`python -m mechxl.train --training.steps 1 --training.checkpoints 2`": ("mechxl.train", *ONE_STEP),
    }
    rows = []
    for name, command in commands.items():
        with tempfile.TemporaryDirectory() as folder:
            runs = [finished(*command, *_out(command, folder, turn)) for turn in range(repeats)]
        rows.append((name, spread([run.wall for run in runs], 2), spread([run.cpu for run in runs], 2)))
    return table(("command", "seconds", "seconds of processor time"), rows)


ONE_STEP = ("--training.steps", "1", "--training.checkpoints", "2", "--quiet")


def _out(command: tuple[str, ...], folder: str, turn: int) -> tuple[str, ...]:
    return ("--out", f"{folder}/{turn}") if ONE_STEP[0] in command else ()


def default(quick: bool) -> str:
    """Time and memory of `mechxl.train` and `mechxl.report` at their defaults, processes and imports included."""
    steps = ("--training.steps", "100", "--training.checkpoints", "6") if quick else ()
    trained: list[Finished] = []
    reported: list[Finished] = []
    again: list[Finished] = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(1 if quick else 3):
            run = Path(folder) / f"run-{turn}"
            trained.append(finished("mechxl.train", "--quiet", "--out", str(run), *steps))
            report = ("mechxl.report", str(run), "--quiet", "--out", f"{folder}/page.html")
            reported.append(finished(*report))
            again.append(finished(*report))
    names = ("train", "report", "report again, from kept findings")
    rows = [
        (name, spread([run.wall for run in runs], 1), spread([run.cpu for run in runs], 1), _peak(runs))
        for name, runs in zip(names, (trained, reported, again), strict=True)
    ]
    return table(("command", "seconds", "seconds of processor time", "peak memory, MB"), rows)


def _peak(runs: list[Finished]) -> str:
    return spread([run.peak for run in runs])
