"""`activations(run, ...)` on much data: python -m benchmarks.activations [--repeats 5]

It reads 30 checkpoints x all layers of 8,000 facts in two languages, at the prompt's last token. Three ways are timed:
a first call, which computes; a second call, which reads the cache; and a plain loop of `run_with_cache` over
`run.model(step)`. They alternate, and medians are shown. The memory of the first call is measured too.
"""

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import table
from mechxl.config import RunConfig
from mechxl.data.corpus import crossed
from mechxl.instruments.activations.store import activations
from mechxl.run import Run
from mechxl.training.loop import train_run

CONFIG = RunConfig(
    world={"n_entities": 2000, "n_relations": 4, "n_unseen": 0},  # pyright: ignore[reportArgumentType]
    languages={"name_syllables": 48},  # pyright: ignore[reportArgumentType]
    training={"steps": 300, "evaluate_every": 300, "checkpoints": 33},  # pyright: ignore[reportArgumentType]
)
BATCHES = (256, 512, 1024, 2048)  # batch sizes of the peer; the fastest one counts


def stored(run: Run) -> np.ndarray:
    """All checkpoints, layers, languages and facts."""
    return activations(run).load().values


def looped(run: Run, batch_size: int, steps: list[int]) -> np.ndarray:
    """The same numbers, (checkpoint, layer, fact x language, d_model), computed without the store."""
    n_layers, n_facts = run.config.model.n_layers, run.corpus.world.n_facts
    names = ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.hook_resid_post" for layer in range(n_layers))]
    sentences = run.corpus.sequences(*crossed(np.arange(n_facts), run.corpus.world.n_languages))
    tokens = torch.as_tensor(np.maximum(sentences.prompts(), 0))
    last = torch.as_tensor(sentences.prompt_length) - 1
    result = np.empty((len(steps), len(names), len(tokens), run.config.model.d_model), np.float32)
    for step_index, step in enumerate(steps):
        model = run.model(step)
        for start in range(0, len(tokens), batch_size):
            rows = slice(start, start + batch_size)
            with torch.no_grad():
                _, cache = model.run_with_cache(tokens[rows], names_filter=lambda name: name in names, return_type=None)
            row = torch.arange(len(tokens[rows]))
            for layer, name in enumerate(names):
                result[step_index, layer, rows] = cache[name][row, last[rows]].numpy()
    return result


def forget(run: Run) -> None:
    """Removes the cache."""
    shutil.rmtree(run.file("activations.zarr"), ignore_errors=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, result) of a function."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def memory(path: str) -> None:
    """Prints the bytes that a first call needs, without its result and without the memory of the imports."""
    resident = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    result = stored(Run(path))
    print(json.dumps({"above": _status("VmHWM") - resident - result.nbytes, "result": result.nbytes}))


def _status(field: str) -> int:
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure(repeats: int = 5) -> list[dict[str, str]]:
    """Rows with the quantity (what), its median and its bound."""
    with tempfile.TemporaryDirectory() as folder:
        run = train_run(CONFIG, Path(folder) / "run", quiet=True)
        few_steps = run.steps[:3]
        looped(run, 512, few_steps)  # warm-up
        seconds_of_size = {size: timed(lambda size=size: looped(run, size, few_steps))[0] for size in BATCHES}
        best = min(seconds_of_size, key=lambda size: seconds_of_size[size])
        seconds: dict[str, list[float]] = {"first": [], "second": [], "loop": []}
        largest = 0.0
        for _ in range(repeats):
            forget(run)
            first, one = timed(lambda: stored(run))
            second, two = timed(lambda: stored(run))
            loop, three = timed(lambda: looped(run, best, run.steps))
            for name, value in (("first", first), ("second", second), ("loop", loop)):
                seconds[name].append(value)
            assert np.array_equal(one, two)
            whole = one[:, :, :, :, 0].swapaxes(2, 3).reshape(three.shape)
            largest = max(largest, float(np.abs(whole - three).max()))
            del one, two, three, whole
        forget(run)
        command = [sys.executable, "-m", "benchmarks.activations", "--memory", str(run.path)]
        used = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    first, second, loop = (statistics.median(seconds[name]) for name in ("first", "second", "loop"))

    def spread(name: str) -> str:
        return f"{statistics.median(seconds[name]):.2f} s ({min(seconds[name]):.2f}-{max(seconds[name]):.2f})"

    worst = min(a / b for a, b in zip(seconds["loop"], seconds["first"], strict=True))
    return [
        {"what": f"loop of run_with_cache, batches of {best} (its quickest)", "median": spread("loop"), "bound": ""},
        {"what": "first call", "median": spread("first"), "bound": ""},
        {"what": "second call", "median": spread("second"), "bound": ""},
        {"what": "loop / first call", "median": f"{loop / first:.1f} (worst {worst:.1f})", "bound": "at least 3"},
        {"what": "first / second call", "median": f"{first / second:.1f}", "bound": "at least 5"},
        {"what": "the result", "median": f"{used['result'] / 1e6:.0f} MB", "bound": ""},
        {"what": "memory beyond it", "median": f"{used['above'] / 1e6:.0f} MB", "bound": "at most 300 MB"},
        {"what": "largest difference from the loop", "median": f"{largest:.1e}", "bound": "1e-6"},
    ]


def section(quick: bool) -> str:
    """The rows as a section of the results."""
    rows = [(row["what"], row["median"], row["bound"]) for row in measure(1 if quick else 3)]
    intro = "30 checkpoints x 3 layers of 8,000 facts in two languages, at the prompt's last token."
    return f"{intro}\n\n{table(('what', 'measured', 'bound'), rows)}"


def main() -> None:
    """Prints the rows as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory(options.memory)
        return
    print(f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, {options.repeats} repeats, median (range)\n")
    rows = measure(options.repeats)
    print("| what | measured | bound |\n|---|---|---|")
    for row in rows:
        print(f"| {row['what']} | {row['median']} | {row['bound']} |")


if __name__ == "__main__":
    main()
