"""Runs Python commands in processes of their own without importing torch anew, and stops them at a chosen moment.

A server process imports what others wrote (torch, scikit-learn ...) once, and forks a child for every command: the
child imports mechxl itself, perhaps a changed copy of it. TransformerLens and what else training does without are
imported before the first command that is not a training. For `mechxl.train`, of which tests need hundreds, the server
forks a second server that has imported mechxl too. Only a server, whose children they are, sends signals to them.
`python zygote.py` is that server; `Zygote` talks to it.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "NO_COLOR": "1", "COLUMNS": "200"}


EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")  # open: to write


@dataclass(frozen=True)
class Result:
    """How a command ended: its exit status (-9: killed), what it printed, and the file operations it did if watched."""

    status: int
    out: str
    err: str
    operations: int


class Zygote:
    """The server's other end."""

    def __enter__(self) -> "Zygote":
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | ENVIRONMENT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()

    def train(
        self,
        *argv: str | Path,
        kill_after: float | None = None,
        interrupt_when: Path | None = None,
        watch: Path | None = None,
        kill_at: int | None = None,
        events: Sequence[str] = EVENTS,
    ) -> Result:
        """`python -m mechxl.train ARGV`.

        Args:
            argv: the command line.
            kill_after: SIGKILL after so many seconds.
            interrupt_when: SIGINT, as from Ctrl-C, once this file is there.
            watch: count the operations that change something in this directory.
            kill_at: SIGKILL just before the watched operation of this number.
            events: Python's names of the operations that are watched.
        """
        return self._carry_out(
            {
                "train": True,
                "argv": [str(argument) for argument in argv],
                "kill_after": kill_after,
                "interrupt_when": interrupt_when and str(interrupt_when),
                "watch": watch and str(watch),
                "kill_at": kill_at,
                "events": list(events),
            }
        )

    def python(
        self, *arguments: str | Path, cwd: Path = REPOSITORY, environment: Mapping[str, str] | None = None
    ) -> Result:
        """`python -m MODULE ARGUMENTS` or `python -c CODE`, with the mechxl of the working directory.

        Args:
            arguments: as on the command line.
            cwd: the working directory, where modules are looked for first.
            environment: variables to set.
        """
        order = {"argv": [str(argument) for argument in arguments], "cwd": str(cwd)}
        return self._carry_out(order | {"environment": dict(environment or {})})

    def _carry_out(self, order: dict[str, Any]) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            assert self.server.stdin is not None
            assert self.server.stdout is not None
            self.server.stdin.write(json.dumps(order | {"folder": folder}) + "\n")
            self.server.stdin.flush()
            status = int(self.server.stdout.readline())
            out, err, operations = (Path(folder, name).read_text() for name in ("out", "err", "operations"))
            return Result(status, out, err, len(operations))


def serve() -> None:
    """Reads orders from stdin, a line each, and answers with exit statuses."""
    import pandas  # noqa: F401  what others wrote and training needs
    import torch  # noqa: F401
    import tyro  # noqa: F401

    _forget()
    trainer: tuple[Any, Any] | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if not order.get("train"):
            if order["argv"][:2] != ["-m", "mechxl.train"] and order["argv"][0] != "-c":
                _import_the_rest()
            print(_carried_out(order, _python), flush=True)
            continue
        trainer = trainer or _trainer()
        orders, statuses = trainer
        orders.write(line)
        orders.flush()
        print(statuses.readline(), end="", flush=True)


def _import_the_rest() -> None:
    """What most other commands need, 8 s of it; what is there already costs nothing."""
    if "transformer_lens" in sys.modules:
        return
    import plotly.graph_objects  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import transformer_lens  # noqa: F401
    import xarray  # noqa: F401

    _forget()


def _forget() -> None:
    """Garbage collections in children leave out what is here now: they would touch, and so copy, all of it."""
    gc.collect()
    gc.freeze()


def _trainer() -> tuple[Any, Any]:
    """Forks a server of `mechxl.train`; where it takes orders, and where it answers."""
    (order_reader, order_writer), (status_reader, status_writer) = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(order_writer)
        os.close(status_reader)
        _serve_training(os.fdopen(order_reader), os.fdopen(status_writer, "w"))
        os._exit(0)
    os.close(order_reader)
    os.close(status_writer)
    return os.fdopen(order_writer, "w"), os.fdopen(status_reader)


def _serve_training(orders: Iterable[str], statuses: Any) -> None:
    sys.path.insert(0, str(REPOSITORY))
    from mechxl.train import main

    def train(order: dict[str, Any]) -> int:
        sys.argv = ["python -m mechxl.train", *order["argv"]]
        return main(order["argv"])

    with tempfile.TemporaryDirectory() as folder:  # what is done for the first time here, no child does anew
        warm = main(["--out", f"{folder}/warm", "--quiet", "--world.n_entities", "20", "--training.steps", "2"])
        assert warm == 0
    _forget()
    for line in orders:
        print(_carried_out(json.loads(line), train), file=statuses, flush=True)


def _python(order: dict[str, Any]) -> int:
    """As the interpreter does: the working directory comes first, and the rest of the command line is sys.argv."""
    os.chdir(order["cwd"])
    os.environ.update(order["environment"])
    kind, target, *rest = order["argv"]
    sys.path[0:1] = [order["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [target if kind == "-m" else "-c", *rest]
    if kind == "-m":
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        exec(compile(target, "<string>", "exec"), {"__name__": "__main__"})
    return 0


def _carried_out(order: dict[str, Any], command: Callable[[dict[str, Any]], int]) -> int:
    """Does an order in a child and gives its exit status."""
    for name in ("out", "err", "operations"):
        Path(order["folder"], name).touch()
    child = os.fork()
    if child == 0:
        _obey(command, order)
    return _wait(child, order)


def _obey(command: Callable[[dict[str, Any]], int], order: dict[str, Any]) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(order["folder"], name), os.O_WRONLY), number)
    if order.get("watch"):
        _watch(order, os.open(Path(order["folder"], "operations"), os.O_WRONLY))
    status = 1
    try:
        status = command(order)
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _watch(order: dict[str, Any], tally: int) -> None:
    """Counts what changes the directory, a byte each in the tally; kills this process before operation `kill_at`."""
    directory, kill_at, events = order["watch"], order["kill_at"], set(order["events"])
    seen = 0

    def hook(event: str, arguments: Sequence[Any]) -> None:
        nonlocal seen
        if event not in events or (event == "open" and not _writes(arguments)):
            return
        if os.fspath(arguments[0]).startswith(directory):
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1
            os.write(tally, b".")

    sys.addaudithook(hook)


def _writes(opened: Sequence[Any]) -> bool:
    return isinstance(opened[0], (str, os.PathLike)) and bool(opened[2] & (os.O_WRONLY | os.O_RDWR))


def _wait(child: int, order: dict[str, Any]) -> int:
    started, sent = time.monotonic(), False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if not sent and order.get("kill_after") is not None and time.monotonic() - started > order["kill_after"]:
            os.kill(child, signal.SIGKILL)
            sent = True
        if not sent and order.get("interrupt_when") and Path(order["interrupt_when"]).exists():
            os.kill(child, signal.SIGINT)
            sent = True
        time.sleep(0.002)


if __name__ == "__main__":
    serve()
