"""Draws inputs of every kind and counts what comes of them.

python -m tests.fuzz --minutes N [--inputs N] [--seed S] [--only KIND]
"""

import argparse
import mmap
import os
import pickle  # noqa: TID251  between this process and its own children
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.judge import Defect, little_memory, outcome
from tests.fuzz.kinds import Kind, kinds

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]
LONGEST = 4000  # letters of an input that are shown


@dataclass
class Counts:
    """What came of the inputs of one kind; defects with the smallest input that shows each."""

    outcomes: Counter[str] = field(default_factory=Counter)
    defects: dict[str, tuple[int, str]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, other: "Counts") -> None:
        self.outcomes += other.outcomes
        self.seconds += other.seconds
        for defect, (n, text) in other.defects.items():
            self.defect(defect, text, n)

    def defect(self, defect: str, text: str, n: int = 1) -> None:
        before, smallest = self.defects.get(defect, (0, text))
        self.defects[defect] = before + n, min(smallest, text, key=len)


def batch(kind: Kind, number: int, inputs: int, last: mmap.mmap | None = None) -> Counts:
    """Draws inputs of one kind; the last one is written down before it is read."""
    counts, started = Counts(), time.process_time()

    @seed(number)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=SLOW,
    )
    @given(kind.inputs)
    def draw(drawn: Any) -> None:
        if last is not None:
            text = repr(drawn).encode(errors="backslashreplace")[: len(last) - 8]
            last[: 8 + len(text)] = len(text).to_bytes(8, "little") + text
        try:
            counts.outcomes[outcome(lambda: kind.read(drawn), kind.folder)] += 1
        except Defect as defect:
            counts.outcomes["defect"] += 1
            counts.defect(str(defect), repr(drawn))

    draw()
    counts.seconds = time.process_time() - started
    return counts


def isolated(kind: Kind, number: int, inputs: int) -> Counts:
    """A batch in a process of its own: one that dies is a defect of its last input."""
    last = mmap.mmap(-1, 2**20)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            with little_memory():
                found = batch(kind, number, inputs, last)
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(found, pipe)
            os._exit(0)
        finally:  # whatever happens, the parent's folder is not cleared here
            traceback.print_exc()
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if content and not status:
        return pickle.loads(content)
    counts = Counts(Counter({"defect": 1}))
    length = int.from_bytes(last[:8], "little")
    counts.defect(f"the process ended with {status}", last[8 : 8 + length].decode(errors="replace"))
    return counts


def report(found: dict[str, Counts]) -> str:
    """The counts as a table, and the defects."""
    lines = ["| kind | inputs | taken | refused | failed | defects | ms each |", "|---|---:|---:|---:|---:|---:|---:|"]
    total = Counts()
    for name, counts in [*found.items(), ("all", total)]:
        n = counts.outcomes.total()
        shown = [counts.outcomes[key] for key in ("taken", "refused", "failed", "defect")]
        lines.append(
            f"| {name} | {n:,} | "
            + " | ".join(f"{x:,}" for x in shown)
            + f" | {1000 * counts.seconds / max(n, 1):.1f} |"
        )
        if counts is not total:
            total.add(counts)
    for name, counts in found.items():
        lines += [f"{name}: {n} times: {defect}\n    {text[:LONGEST]}" for defect, (n, text) in counts.defects.items()]
    return "\n".join(lines)


def main() -> int:
    """Returns 1 if there was a defect."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="end after so many minutes (10)")
    parser.add_argument("--inputs", type=int, default=10**9, help="end after so many inputs")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (0)")
    parser.add_argument("--only", help="one kind")
    options = parser.parse_args()
    torch.set_num_threads(1)  # processes that are forked share no threads
    ends = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="mechxl-fuzz-") as name:
        folder = Path(name)
        all_kinds = {key: kind for key, kind in kinds(folder).items() if options.only in (None, key)}
        found = {key: Counts() for key in all_kinds}
        tempfile.tempdir = str(folder)
        rng, drawn, shown = random.Random(options.seed), 0, time.monotonic()
        while time.monotonic() < ends and drawn < options.inputs:
            (key,) = rng.choices([*all_kinds], [kind.share for kind in all_kinds.values()])
            inputs = min(all_kinds[key].batch, options.inputs - drawn)
            found[key].add(isolated(all_kinds[key], rng.getrandbits(64), inputs))
            drawn = sum(counts.outcomes.total() for counts in found.values())
            if time.monotonic() > shown + 60:
                print(report(found), flush=True)
                shown = time.monotonic()
    print(f"seed {options.seed}\n{report(found)}")
    return int(any(counts.defects for counts in found.values()))


if __name__ == "__main__":
    sys.exit(main())
