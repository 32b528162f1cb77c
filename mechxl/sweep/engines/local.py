"""Runs on this machine, in worker processes. A worker trains many runs, since importing torch takes seconds."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import IO

from mechxl.config import as_toml_table
from mechxl.files import kind_of, write_text
from mechxl.sweep.engine import Job, Outcome

LOG_BEGINS = "mechxl: the last output of a process that died\n"
WAKE = 0.2  # seconds between two calls of `stopping`
WORKER = """
import sys
from importlib import machinery, util

spec = machinery.PathFinder.find_spec("mechxl", [sys.argv.pop()])
sys.modules["mechxl"] = util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["mechxl"])
from mechxl.sweep.engines import worker

worker.main()
"""  # the sweep's own mechxl, found by its folder: with -P the working directory is not on the path


class _Worker:
    """A process with one job at a time.

    It has its own session, so that Ctrl-C reaches only the sweep, which then asks its workers to stop.
    """

    def __init__(self, threads: int) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-P", "-c", WORKER, str(Path(__file__).parents[3])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            start_new_session=True,
            env=os.environ
            | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads), "PYTHONPATH": _python_path()},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.orders, self.answers = self.process.stdin, self.process.stdout
        self.job: Job | None = None

    def begin(self, job: Job) -> None:
        """Gives it a job. If the process has died, its answers end, and `outcome` sees that."""
        self.job = job
        if _is_log(_log(job)):
            _log(job).unlink(missing_ok=True)
        order = {
            "settings": as_toml_table(job.config),
            "out": str(job.out),
            "threads": job.threads,
            "command": sys.argv,
        }
        with contextlib.suppress(BrokenPipeError):
            self.orders.write((json.dumps(order) + "\n").encode())

    def outcome(self, stopping: bool) -> Outcome | None:
        """How its job ended, once there is an answer to read; None if the process ended without a job."""
        line = self.answers.readline()
        job, self.job = self.job, None
        if line.endswith(b"\n"):
            assert job is not None
            return Outcome(job, **json.loads(line))
        self.process.wait()
        if job is None:
            return None
        if stopping and self.process.returncode == 0:  # it was still importing
            return Outcome(job, "stopped", f"{job.out}: stopped before it started")
        return Outcome(job, "failed", self._how_it_died(job))

    def _how_it_died(self, job: Job) -> str:
        status = self.process.returncode
        if status == -signal.SIGKILL:
            return f"{job.out}: its process was killed, perhaps for lack of memory; run the same command again"
        self.errors.seek(0)
        if not (text := self.errors.read().decode(errors="replace").strip()):
            return f"{job.out}: its process ended with status {status}; run the same command again"
        log, how = _log(job), f"{job.out}: its process ended with status {status} ({text.splitlines()[-1]})"
        if kind_of(log) != "nothing" and not _is_log(log):
            return f"{how}; {log} is not mechxl's, so the whole output is not kept"
        try:
            write_text(log, LOG_BEGINS + text + "\n")
        except OSError as error:  # a full disk, say
            return f"{how}; its whole output can't be written ({error.strerror})"
        return f"{how}; see {log}"

    def dismiss(self) -> None:
        """Lets it save its run and end; a second call does nothing."""
        self.orders.close()

    def kill(self) -> None:
        """Kills it and waits until it has ended."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.orders, self.answers, self.errors):
            pipe.close()


def _python_path() -> str:
    """PYTHONPATH without the working directory, which an empty part of it stands for."""
    parts, here = os.environ.get("PYTHONPATH", "").split(os.pathsep), Path.cwd()
    return os.pathsep.join(part for part in parts if part and Path(part).resolve() != here)


def _log(job: Job) -> Path:
    """The file, next to the run's directory, for the last output of a process that died."""
    return job.out.with_name(f"{job.out.name}.log")


def _is_log(path: Path) -> bool:
    """Whether a file is such a log, by its first line."""
    if kind_of(path) != "file":
        return False
    with path.open("rb") as file:
        return file.read(len(LOG_BEGINS)) == LOG_BEGINS.encode()


def local(
    jobs: Sequence[Job],
    workers: int,
    began: Callable[[Job], None],
    stopping: Callable[[], bool],
    say: Callable[[str], None],
) -> Generator[Outcome, None, None]:
    """An Engine of local processes. If one dies, only its run fails, and a new process replaces it."""
    waiting, crew = deque(jobs), set[_Worker]()
    threads = max((job.threads for job in jobs), default=1)

    def begin_next(worker: _Worker) -> None:
        worker.begin(job := waiting.popleft())
        began(job)

    with selectors.DefaultSelector() as selector:

        def hire() -> None:
            crew.add(worker := _Worker(threads))
            selector.register(worker.answers, selectors.EVENT_READ, worker)
            begin_next(worker)

        try:
            while len(crew) < min(workers, len(jobs)):
                hire()
            while selector.get_map():
                if stop := stopping():
                    for worker in crew:
                        worker.dismiss()
                for key, _ in selector.select(WAKE):
                    worker: _Worker = key.data
                    outcome = worker.outcome(stop)
                    ended = worker.process.returncode is not None
                    if ended:
                        selector.unregister(worker.answers)
                        crew.remove(worker)
                        worker.kill()
                    if not waiting or stop:
                        worker.dismiss()
                    elif ended:
                        hire()
                    else:
                        begin_next(worker)
                    if outcome is not None:
                        yield outcome
            for job in waiting:
                yield Outcome(job, "stopped", f"{job.out}: not started")
        finally:
            for worker in crew:
                worker.kill()
