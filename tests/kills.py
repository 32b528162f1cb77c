"""Kills a tiny training at random moments, resumes it, and compares it with the training that was never stopped.

python -m tests.kills [--times 100] [--seed 0]
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from mechxl.train import main as train
from tests.model.plain import command_line, contents, tiny

HOW = {"SIGKILL": [signal.SIGKILL], "SIGTERM": [signal.SIGTERM], "Ctrl-C twice": [signal.SIGINT, signal.SIGINT]}


def started(argv: list[str]) -> int:
    """The process of a training."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(train(argv))
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, killed, equal, too_late = random.Random(options.seed), Counter[str](), Counter[str](), 0
    settings = [*command_line(tiny(steps=120, checkpoints=20, evaluate_every=7)), "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        assert train(["--out", f"{folder}/warm", *settings]) == 0
        began = time.monotonic()
        assert ended(started(["--out", f"{folder}/whole", *settings])) == 0
        seconds, expected = time.monotonic() - began, contents(Path(folder, "whole"))
        while sum(killed.values()) < options.times:
            how = list(HOW)[sum(killed.values()) % len(HOW)]
            out = Path(folder, "runs", str(sum(killed.values()) + too_late), "run")
            argv = ["--out", str(out), "--resume", *settings]
            child = started(argv)
            time.sleep(rng.uniform(0, 1.1 * seconds))
            for number in HOW[how]:
                os.kill(child, number)  # a process that has ended is there until it is waited for
                time.sleep(rng.uniform(0, 0.01))
            if ended(child) == 0:
                too_late += 1
                continue
            killed[how] += 1
            same = (
                ended(started(argv)) == 0
                and {name: content for name, content in contents(out).items() if not Path(name).name.startswith(".")}
                == expected
            )
            left = [path.name for path in out.parent.iterdir()]
            equal[how] += same and left == ["run"]
            if not (same and left == ["run"]):
                print(f"{how}, number {sum(killed.values())}: differs; {left}", file=sys.stderr)
    for how in HOW:
        print(f"{how}: {killed[how]} killed, {equal[how]} equal after --resume")
    print(f"{sum(killed.values())} killed, {sum(equal.values())} equal; {too_late} ended before the signal came")
    return int(killed != equal)


if __name__ == "__main__":
    sys.exit(main())
