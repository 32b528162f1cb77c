"""Starts `python -m mechxl.sweep` as a shell does, and looks at the processes that it starts."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

from mechxl.config import RunConfig, as_toml_table
from tests.model.plain import TINY
from tests.zygote import ENVIRONMENT, REPOSITORY, Zygote

PATIENCE = 120.0  # seconds; a machine that others use may be slow, and nothing waits so long unless it is wrong


def write_study(path: Path, **study: Any) -> Path:
    """A study of tiny runs."""
    path.write_bytes(tomli_w.dumps({"base": TINY} | study).encode())
    return path


def train_alone(zygote: Zygote, config: RunConfig, out: Path) -> Path:
    """The run that `mechxl.train` makes on one thread, in a process of its own."""
    settings = out.with_name(f"{out.name}.toml")
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(tomli_w.dumps(as_toml_table(config)))
    result = zygote.train("--config", settings, "--out", out, "--resume", "--quiet")
    assert result.status == 0, result.err
    settings.unlink()
    return out


class Sweep:
    """A sweep at work, the leader of a process group as it would be in a terminal.

    Args:
        arguments: of the command.
        terminal: whether its stderr is one.
    """

    def __init__(self, *arguments: str | Path, terminal: bool = False) -> None:
        reader, writer = os.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mechxl.sweep", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=writer,
            cwd=REPOSITORY,
            env=os.environ | ENVIRONMENT | {"TERM": "xterm"},
            text=True,
            start_new_session=True,
        )
        os.close(writer)
        self._shown: list[bytes] = []
        self._reader = threading.Thread(target=self._read, args=(reader,))
        self._reader.start()

    def _read(self, reader: int) -> None:
        try:
            while text := os.read(reader, 65_536):
                self._shown.append(text)
        except OSError:  # a terminal's end
            pass
        os.close(reader)

    def wait(self) -> tuple[int, str, str]:
        """(exit status, stdout, stderr)"""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            out = stdout.read()
        status = self.process.wait()
        self._reader.join()
        return status, out, b"".join(self._shown).decode()

    def workers(self) -> list[int]:
        """Process ids of its children."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == self.process.pid:
                found.append(int(directory.name))
        return found

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition while it runs."""
        started = time.monotonic()
        while not condition():
            if self.process.poll() is not None or time.monotonic() - started > PATIENCE:
                self.process.kill()
                raise AssertionError(self.wait())
            time.sleep(0.01)


def alive(process: int) -> bool:
    """Whether a process is there; one that has ended and waits to be reaped is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(processes: list[int]) -> bool:
    """Whether processes end within the time that they have."""
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE:
        if not any(map(alive, processes)):
            return True
        time.sleep(0.01)
    return False
