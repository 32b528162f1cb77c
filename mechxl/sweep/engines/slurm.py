"""Runs on a Slurm cluster: one job array, each of whose tasks trains a share of the runs (`shard.py`).

A submission is a folder OUT/slurm/TOKEN: plan.json (the settings of all runs), id, task-N.jsonl (what task N notes) and
task-N.out (what it prints). The runs' directories hold the results. OUT must be on a file system that all nodes share.
"""

import difflib
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mechxl.errors import Failure, InputError
from mechxl.files import write_json, write_text
from mechxl.sweep.engine import Job, Outcome
from mechxl.sweep.engines.array import Array, asked, remove, states_of
from mechxl.sweep.engines.orders import order_of, threads_on_a_cluster, work_of

ENOUGH = 18_000_000  # examples that make a task worth its start-up: about ten minutes of a core at the default run
SHARE_OF_A_GPU = 64  # runs of a task with a GPU, where they train together
ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")
BROKEN = ("COMPLETED", "FAILED", "OUT_OF_MEMORY")  # a run that such a task leaves has failed; else it was stopped
FILE_MAY_LAG = 60  # seconds until a network file system shows a new file to all nodes
SCRIPT = """#!/bin/sh
# A task of a sweep by mechxl. Slurm sends it SIGTERM before the time limit; the runs then save their states.
for second in $(seq {lag}); do [ -e {plan} ] && break; sleep 1; done
if ! [ -e {plan} ]; then
    echo "mechxl: $(hostname) does not see {out}; choose an --out on a file system that all nodes share" >&2
    exit 1
fi
{before}
exec {python} -m mechxl.sweep.engines.shard {plan} "$SLURM_ARRAY_TASK_ID"
"""


class Slurm(BaseModel):
    """An Engine that submits runs to Slurm. Its fields are what a task asks for: the [slurm] table of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    on_stop: ClassVar[str] = "the tasks go on without this command"

    partition: str = Field(default="", description="Slurm's partition")
    time: str = Field(default="", description="time limit of a task, as sbatch takes it: 02:00:00")
    memory: str = Field(default="", description="memory of a task, as sbatch takes it: 4G")
    cpus: int = Field(default=1, ge=1, description="cores of a task; it trains as many runs at a time")
    gpus: int = Field(default=0, ge=0, le=1, description="GPUs of a task; with one, the task's runs train together")
    modules: tuple[str, ...] = Field(default=(), description="modules that a task loads")
    prologue: str = Field(default="", description="shell lines that a task runs first")
    sbatch: tuple[str, ...] = Field(default=(), description="further options of sbatch: --account=lab")
    max_array: int = Field(default=1000, ge=1, description="most tasks of the array")
    pack: int = Field(default=0, ge=0, description="most runs of a task; 0: so many that a task has minutes of work")
    wait: bool = Field(default=False, description="follow the tasks until they end")

    def __call__(
        self,
        jobs: Sequence[Job],
        workers: int,
        began: Callable[[Job], None],
        stopping: Callable[[], bool],
        say: Callable[[str], None],
    ) -> Generator[Outcome, None, None]:
        """Submits the jobs that no earlier submission has at work; `workers` is of no effect."""
        if not jobs:
            return
        if shutil.which("sbatch") is None:
            raise InputError("--engine slurm: there is no sbatch here; run this on a machine that submits to Slurm")
        out = jobs[0].out.absolute().parent
        arrays = list(self._earlier(out))
        taken = {name for array, live in arrays for task in live for name in array.shards[task]}
        followed = [array for array, live in arrays if live]
        if rest := [job for job in jobs if job.name not in taken]:
            followed.append(self._submit(rest, out))
        names = {job.name for job in jobs}
        for array in followed:
            runs = sum(name in names for shard in array.shards for name in shard)
            say(
                f"array {array.id}: {runs} runs in {len(array.shards)} tasks; look with squeue --job {array.id}, or "
                f"with this command and --wait; tasks print to {array.folder}"
            )
        if self.wait:
            yield from _Followed(followed, jobs, began, stopping).outcomes()
        else:
            yield from (Outcome(job, "submitted", f"{job.out}: is Slurm's") for job in jobs)

    def _earlier(self, out: Path) -> Iterator[tuple[Array, list[int]]]:
        """Earlier submissions, each with the numbers of its tasks that have not ended; ended ones are removed.

        Raises:
            Failure: the tasks of one of them did not see the directory.
        """
        for folder in sorted(path.parent for path in (out / "slurm").glob("*/plan.json")):
            array = Array.of(folder)
            states = states_of([array])
            if states is None:
                raise Failure(f"{out}: squeue does not answer, so it can't be told what is at work; try again later")
            live = [
                task for task in range(len(array.shards)) if states.get((array.token, task), "") not in ("", *ENDED)
            ]
            unseen = [task for task in range(len(array.shards)) if array.unseen(task)]
            if not live:
                remove(array)
                if len(unseen) == len(array.shards):
                    raise Failure(_not_shared(out, array))
            yield array, live

    def _submit(self, jobs: Sequence[Job], out: Path) -> Array:
        """Submits jobs as a new array."""
        token = f"mechxl-{uuid.uuid4().hex[:12]}"
        folder = out / "slurm" / token
        folder.mkdir(parents=True)
        placed = [Job(job.name, job.config, job.out, threads_on_a_cluster(job.config)) for job in jobs]
        shards = [[order_of(job) for job in share] for share in self.shares(placed)]
        write_json(folder / "plan.json", {"token": token, "shards": shards})
        write_text(folder / "script.sh", self.script(folder))
        array = Array(folder, token, "?", [[order["run"] for order in shard] for shard in shards])
        try:
            array.id = asked(["sbatch", *self.options(array), str(folder / "script.sh")]).strip().split(";")[0]
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
            remove(array)
            reason = " ".join((getattr(error, "stderr", "") or str(error)).split())
            raise InputError(f"--engine slurm: sbatch did not take the array ({reason})") from None
        write_text(folder / "id", array.id)
        return array

    def shares(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """The runs of each task: of equal work, or, with a GPU, of equal shape so that they train together."""
        if self.gpus:
            from mechxl.training.ensemble import shape_key

            by_shape: dict[object, list[Job]] = {}
            for job in jobs:
                by_shape.setdefault(shape_key(job.config), []).append(job)
            size = self.pack or SHARE_OF_A_GPU
            groups = [same[at : at + size] for same in by_shape.values() for at in range(0, len(same), size)]
            count = min(self.max_array, len(groups))
            return [[job for group in groups[first::count] for job in group] for first in range(count)]
        work = sum(work_of(job.config) for job in jobs)
        count = -(-len(jobs) // self.pack) if self.pack else -(-work // (ENOUGH * self.cpus))
        count = min(self.max_array, count, len(jobs))
        ordered = sorted(jobs, key=lambda job: work_of(job.config), reverse=True)
        return [ordered[first::count] for first in range(count)]

    def script(self, folder: Path) -> str:
        """The shell script of a task."""
        before = [f"module load {' '.join(map(shlex.quote, self.modules))}"] if self.modules else []
        before += [self.prologue] if self.prologue else []
        quoted = {"plan": shlex.quote(str(folder / "plan.json")), "python": shlex.quote(sys.executable)}
        return SCRIPT.format(lag=FILE_MAY_LAG, out=folder.parents[1], before="\n".join(before), **quoted)

    def options(self, array: Array) -> list[str]:
        """What sbatch is asked for."""
        asked = {
            "partition": self.partition,
            "time": self.time,
            "mem": self.memory,
            "gres": f"gpu:{self.gpus}" if self.gpus else "",
        }
        return [
            "--parsable",
            f"--job-name={array.token}",
            f"--array=0-{len(array.shards) - 1}",
            f"--output={array.folder}/task-%a.out",
            "--open-mode=append",
            f"--cpus-per-task={self.cpus}",
            "--signal=B:TERM@90",
            *(f"--{name}={value}" for name, value in asked.items() if value),
            *self.sbatch,
        ]


def parse_slurm(raw: Mapping[str, Any]) -> Slurm:
    """The engine that a [slurm] table or the command's options describe.

    Raises:
        InputError: one sentence that names the option, its value and the reason.
    """
    for name in raw:
        if name not in Slurm.model_fields:
            near = difflib.get_close_matches(name, Slurm.model_fields, n=1, cutoff=0.5) or list(Slurm.model_fields)
            raise InputError(f"slurm.{name}: there is no such option; did you mean {' or '.join(near)}")
    try:
        return Slurm.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"slurm.{first['loc'][0]} = {first['input']!r}: {first['msg']}") from None


class _Followed:
    """Arrays that this process follows until all their runs have ended."""

    LOOK = 1.0  # seconds between two looks at the notes of a hundred tasks
    ASK = 5.0  # least seconds between two calls of squeue

    def __init__(
        self,
        arrays: Sequence[Array],
        jobs: Sequence[Job],
        began: Callable[[Job], None],
        stopping: Callable[[], bool],
    ) -> None:
        self.arrays, self.left, self.began, self.stopping = arrays, {job.name: job for job in jobs}, began, stopping
        self.started: set[str] = set()
        self.gone: dict[tuple[str, int], int] = {}  # how often a task was found to have ended
        self.good = True  # all runs that have ended are complete

    def outcomes(self) -> Iterator[Outcome]:
        """Outcomes, as the tasks note them; on `stopping`, those that are left are the cluster's."""
        every = self.LOOK * max(1.0, sum(len(array.shards) for array in self.arrays) / 100)
        asked = -self.ASK
        while self.left:
            for array in self.arrays:
                for task in range(len(array.shards)):
                    yield from self._noted(array, task)
            if self.left and time.monotonic() - asked >= self.ASK:
                asked = time.monotonic()
                yield from self._ended(states_of(self.arrays))
            until = time.monotonic() + every
            while self.left and time.monotonic() < until:
                if self.stopping():
                    yield from (Outcome(job, "submitted", f"{job.out}: is Slurm's") for job in self.left.values())
                    return
                time.sleep(0.1)
        for array in self.arrays if self.good else ():  # else what the tasks printed stays until the next submission
            remove(array)

    def _noted(self, array: Array, task: int) -> Iterator[Outcome]:
        for line in array.news(task):
            job = self.left.get(line.get("run", ""))
            if job is None:
                continue
            if "status" in line:
                yield self._out(job, line["status"], line["reason"])
            elif job.name not in self.started:
                self.started.add(job.name)
                self.began(job)

    def _out(self, job: Job, status: Any, reason: str) -> Outcome:
        del self.left[job.name]
        self.good &= status == "complete"
        return Outcome(job, status, reason)

    def _ended(self, states: dict[tuple[str, int], str] | None) -> Iterator[Outcome]:
        """The runs of tasks that have ended without a word about them. Seen twice: their notes may come late."""
        for array in self.arrays if states is not None else ():
            for task, names in enumerate(array.shards):
                state = (states or {}).get((array.token, task), "")
                if state not in ("", *ENDED):
                    continue
                self.gone[array.token, task] = self.gone.get((array.token, task), 0) + 1
                left = [self.left[name] for name in names if name in self.left]
                if not left or self.gone[array.token, task] < 2:
                    continue
                if array.unseen(task):
                    if all(array.unseen(other) for other in range(len(array.shards))):
                        asked(["scancel", "--name", array.token])
                        remove(array)
                        raise Failure(_not_shared(left[0].out.parent, array))
                    reason = f"its node does not see {left[0].out.parent}"
                else:
                    reason = f"Slurm task {array.id}_{task} ended before it did ({state or 'no longer known'})"
                    reason += f": {printed}" if state in BROKEN and (printed := array.printed(task)) else ""
                for job in left:
                    status = "complete" if _complete(job) else "failed" if state in BROKEN else "stopped"
                    why = "" if status == "complete" else f"{job.out}: {reason}; run the same command again"
                    yield self._out(job, status, why)


def _complete(job: Job) -> bool:
    from mechxl.run import Run  # slow to import, and --help imports this file

    try:
        return Run(job.out).complete
    except InputError:
        return False


def _not_shared(out: Path, array: Array) -> str:
    return (
        f"{out}: the cluster's nodes do not see this directory (array {array.id} ended without a sign); choose an "
        "--out on a file system that they share with this machine"
    )
