"""Describes the machine, and runs measurements: in separate processes, alternating, with medians."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "transformer-lens", "numpy")


@dataclass(frozen=True)
class Finished:
    """A process that has ended.

    Attributes:
        out: its output on stdout.
        wall: seconds from start to end.
        cpu: seconds of processor time, its children's included.
        own: seconds of processor time, its children's left out.
        peak: peak memory in MB, its children's left out.
    """

    out: str
    wall: float
    cpu: float
    own: float
    peak: float


def finished(*command: str, threads: int = 0) -> Finished:
    """Runs a Python module to its end in a separate process.

    Args:
        command: the module and its arguments, as after `python -m`.
        threads: the value of OMP_NUM_THREADS; 0: leave it unchanged.

    Raises:
        RuntimeError: the module failed; the message has its stderr.
    """
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    arguments = [sys.executable, "-W", "ignore", "-m", "benchmarks.child", *command]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak, own = map(float, done.stderr.splitlines()[-1].split())
    return Finished(done.stdout, wall, cpu, own, peak)


def environment() -> dict[str, str]:
    """The machine, the versions and the commit, for a caption."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout
    versions = {name: version(name) for name in PACKAGES} | {"Python": platform.python_version()}
    shown = ", ".join(f"{name} {number}" for name, number in versions.items())
    load = f"{os.getloadavg()[0]:.2f}"
    return {
        "machine": f"{cpu or platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {load} at the start",
        "versions": shown,
        "commit": commit.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def alternating(measures: Mapping[str, Sequence[str]], repeats: int, threads: int) -> dict[str, list[float]]:
    """The numbers that each command prints; the commands alternate."""
    numbers: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(repeats):
        for name, command in measures.items():
            numbers[name].append(float(finished(*command, threads=threads).out.split()[-1]))
            print(f"  {turn + 1}/{repeats} {name}: {numbers[name][-1]:,.1f}", file=sys.stderr)
    return numbers


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, with the smallest and the largest value."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def ratio(over: Sequence[float], under: Sequence[float]) -> str:
    """The median and the range of the ratios, one ratio for each turn."""
    return spread([a / b for a, b in zip(over, under, strict=True)], 2)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log size by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [list(map(str, columns)), ["---"] * len(columns), *(list(map(str, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
