"""Processes that ask a run for its activations at once: one Python that has imported mechxl and forks them.

`python -m tests.instruments.activations.forked OUT WHAT=RUN ...`: each WHAT is a process that writes OUT/WHAT.npy and
OUT/WHAT.err.
One whose name begins with `killed` is killed in the middle of its fifth file; `other` is another user, who may read
alone.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from mechxl import Run, activations
from mechxl.instruments.activations import chunks


def die_in_the_fifth_file() -> None:
    """Half of a file is written under its temporary name, then the process is gone."""
    written = 0
    plain = chunks.write_bytes

    def write_bytes(path: Path, *content: bytes | memoryview) -> None:
        nonlocal written
        written += 1
        if written == 5:
            path.with_name(f".{path.name}.{'a' * 32}.partial").write_bytes(bytes(content[0])[: len(content[0]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        plain(path, *content)

    chunks.write_bytes = write_bytes


def answer(name: str, path: str, out: str) -> None:
    """What one process does."""
    with Path(out, f"{name}.npy").open("wb") as result, Path(out, f"{name}.err").open("w") as err:
        os.dup2(err.fileno(), 2)
        if name.startswith("killed"):
            die_in_the_fifth_file()
        if name == "other" and os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        np.save(result, activations(Run(path)).values)


def main(out: str, *what: str) -> None:
    """Forks, lets all begin at once, and prints how each ended."""
    asked = [one.split("=", 1) for one in what]
    activations(Run(asked[0][1])).isel(checkpoint=[])  # what is imported on first use
    waiting, starting = os.pipe()
    children = []
    for name, path in asked:
        if child := os.fork():
            children.append(child)
            continue
        status = 1
        try:
            os.close(starting)
            os.read(waiting, 1)
            answer(name, path, out)
            status = 0
        finally:
            os._exit(status)
    os.close(starting)
    print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


if __name__ == "__main__":
    main(*sys.argv[1:])
