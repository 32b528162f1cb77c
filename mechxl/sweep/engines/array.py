"""A job array of Slurm that was submitted: its folder, what its tasks note there, and what Slurm says of them."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mechxl.files import kind_of


@dataclass
class Array:
    """A job array that was submitted.

    Attributes:
        folder: of the submission.
        token: the array's name in Slurm.
        id: its number.
        shards: names of the runs of each task.
        read: how much of each task's notes was read.
    """

    folder: Path
    token: str
    id: str
    shards: list[list[str]]
    read: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Array":
        """The array of a submission's folder."""
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        names = [[order["run"] for order in shard] for shard in plan["shards"]]
        number = folder / "id"  # missing if the submitting process was killed just then
        return cls(folder, plan["token"], number.read_text(encoding="utf-8") if number.exists() else "?", names)

    def news(self, task: int) -> Iterator[dict[str, Any]]:
        """The whole lines that a task has noted since the last call."""
        path = self.folder / f"task-{task}.jsonl"
        if kind_of(path) != "file":
            return
        with path.open("rb") as file:
            file.seek(self.read.get(task, 0))
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self.read[task] = self.read.get(task, 0) + len(whole) + 1
            yield from map(json.loads, whole.split(b"\n"))

    def printed(self, task: int) -> str:
        """The last line that a task printed."""
        path = self.folder / f"task-{task}.out"
        text = path.read_text(encoding="utf-8", errors="replace") if kind_of(path) == "file" else ""
        return text.strip().rpartition("\n")[2]

    def unseen(self, task: int) -> bool:
        """Whether a task that has ended left nothing: it did not see the folder."""
        return not any((self.folder / f"task-{task}.{ending}").exists() for ending in ("jsonl", "out"))


def states_of(arrays: Sequence[Array]) -> dict[tuple[str, int], str] | None:
    """Slurm's state of each task, by the array's token and the task's number; None if Slurm does not answer."""
    names = ",".join(array.token for array in arrays)
    command = ["squeue", "--noheader", "--array", "--states=all", f"--name={names}", "--format=%j %K %T"]
    try:
        rows = [line.split() for line in asked(command).splitlines()]
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError):
        return None
    return {(name, int(task)): state for name, task, state in rows if task.isdecimal()}


def asked(command: Sequence[str]) -> str:
    """What one of Slurm's commands prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def remove(array: Array) -> None:
    """Removes the folder of a submission, but for what is not mechxl's."""
    for path in array.folder.iterdir():
        if path.name in ("plan.json", "script.sh", "id") or path.stem.startswith("task-"):
            path.unlink()
    for folder in (array.folder, array.folder.parent):
        if not any(folder.iterdir()):
            folder.rmdir()
