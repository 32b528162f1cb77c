"""Runs on a Ray cluster, or on a local one: one Ray task for each run, or with GPUs for each group of runs.

A task is sent settings and a directory, and the directory holds the results. If its worker or its node dies, the runs
are taken up again elsewhere, from their saved states. The directory must be on a file system that all nodes share.
"""

import logging
import os
import platform
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechxl.errors import Failure, InputError
from mechxl.files import write_text
from mechxl.sweep.engine import Job, Outcome
from mechxl.sweep.engines.orders import job_of, order_of, threads_on_a_cluster

ATTEMPTS = 5  # of a run whose worker dies: memory may run out each time
GROUP = 64  # most runs that train together on a GPU
WAKE = 0.2  # seconds between two calls of `stopping`


@dataclass(frozen=True)
class Ray:
    """An Engine that uses a Ray cluster: the one at `address`, else the one that is at hand, else a local one."""

    address: str = ""

    def __call__(
        self,
        jobs: Sequence[Job],
        workers: int,
        began: Callable[[Job], None],
        stopping: Callable[[], bool],
        say: Callable[[str], None],
    ) -> Generator[Outcome, None, None]:
        """Trains the jobs; `workers` is of no effect."""
        if not jobs:
            return
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is reported to anybody
        try:
            import ray
        except ImportError:
            raise InputError("--engine ray: Ray is not installed; install mechxl[ray]") from None
        joins = not ray.is_initialized()
        if joins:
            try:
                ray.init(self.address or None, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise InputError(f"--ray-address {self.address}: no Ray cluster answers there ({reason})") from None
        try:
            _require_shared(jobs[0].out.absolute().parent)
            placed = [Job(job.name, job.config, job.out, threads_on_a_cluster(job.config)) for job in jobs]
            gpus = int(ray.cluster_resources().get("GPU", 0))
            cpus = int(ray.cluster_resources().get("CPU", 0))
            say(f"Ray: {len(jobs)} runs on {len(_nodes())} nodes with {cpus} cores" + (f", {gpus} GPUs" * bool(gpus)))
            yield from _Tasks(_groups(placed, gpus), began, stopping, say).outcomes()
        finally:
            if joins:
                ray.shutdown()


class _Tasks:
    """The tasks of a sweep: waiting, and at work on the cluster."""

    def __init__(
        self,
        groups: Sequence[Sequence[Job]],
        began: Callable[[Job], None],
        stopping: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self.waiting = deque((list(group), 1) for group in groups)
        self.at_work: dict[Any, tuple[list[Job], int]] = {}  # by Ray's reference to the answer
        self.begun: set[str] = set()
        self.began, self.stopping, self.say = began, stopping, say

    def outcomes(self) -> Iterator[Outcome]:
        """Outcomes as the tasks end; on `stopping`, tasks save their runs and stop."""
        import ray

        stopped = False
        try:
            while self.at_work or (self.waiting and not stopped):
                if self.stopping() and not stopped:
                    stopped = True
                    for reference in self.at_work:
                        ray.cancel(reference, force=False)
                while self.waiting and not stopped and len(self.at_work) < self._most():
                    self._begin(*self.waiting.popleft())
                ended, _ = ray.wait(list(self.at_work), timeout=WAKE)
                for reference in ended:
                    yield from self._ended(reference, *self.at_work.pop(reference), stopped)
            for group, _ in self.waiting:
                yield from (Outcome(job, "stopped", f"{job.out}: not started") for job in group)
        finally:
            for reference in self.at_work:
                ray.cancel(reference, force=True)

    def _most(self) -> int:
        """How many tasks the cluster has room for; one more waits there, so that a cluster that can grow does."""
        import ray

        resources = ray.cluster_resources()
        job = self.waiting[0][0][0]
        return 1 + int(resources.get("GPU", 0) or resources.get("CPU", 0) // job.threads)

    def _begin(self, group: list[Job], attempt: int) -> None:
        import ray

        on_gpu = len(group) > 1 or bool(ray.cluster_resources().get("GPU", 0))
        asked: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1} if on_gpu else {"num_cpus": group[0].threads}
        remote = ray.remote(max_retries=0, max_calls=0, **asked)(train)
        self.at_work[remote.remote([order_of(job) for job in group])] = group, attempt
        for job in group:
            if job.name not in self.begun:
                self.begun.add(job.name)
                self.began(job)

    def _ended(self, reference: Any, group: list[Job], attempt: int, stopped: bool) -> Iterator[Outcome]:
        """What became of a task. A worker that died is no reason to give up its runs."""
        import ray
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError

        try:
            answers = ray.get(reference)
        except TaskCancelledError:
            yield from (Outcome(job, "stopped", f"{job.out}: stopped, everything saved") for job in group)
        except RayTaskError as error:
            reason = str(error).strip().rpartition("\n")[2]
            yield from (Outcome(job, "failed", f"{job.out}: {reason}") for job in group)
        except RayError as error:
            how = f"its worker died ({type(error).__name__})"
            if stopped:
                yield from (Outcome(job, "stopped", f"{job.out}: {how}") for job in group)
            elif attempt < ATTEMPTS:
                self.waiting.appendleft((group, attempt + 1))
                self.say(f"{', '.join(str(job.out) for job in group)}: {how}; taken up again")
            else:
                reason = f"{how}, {ATTEMPTS} times; perhaps it needs more memory than a node has"
                yield from (Outcome(job, "failed", f"{job.out}: {reason}") for job in group)
        else:
            for job, (status, reason) in zip(group, answers, strict=True):
                yield Outcome(job, status, reason)


def train(orders: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Trains runs in a worker of Ray, and says how each ended: its status and the reason.

    Raises:
        KeyboardInterrupt: Ray cancelled the task; everything is saved.
    """
    import sys

    import torch

    from mechxl.errors import Busy, Failure, InputError
    from mechxl.sweep.engines.gpu import gpu
    from mechxl.training.interrupt import interrupts
    from mechxl.training.loop import train_run

    sys.argv = orders[0]["command"]  # a run's environment.json records the command
    jobs = [job_of(order) for order in orders]
    if len(jobs) > 1 or torch.cuda.is_available():
        with interrupts() as interrupted:
            ends = list(gpu(jobs, 1, lambda job: None, lambda: bool(interrupted), lambda text: None))
        by_name = {outcome.job.name: (outcome.status, outcome.reason) for outcome in ends}
        return [by_name[job.name] for job in jobs]
    (job,) = jobs
    torch.set_num_threads(job.threads)
    try:
        train_run(job.config, job.out, resume=True, quiet=True)
    except Busy as error:
        return [("elsewhere", str(error))]
    except (InputError, Failure) as error:
        return [("failed", str(error))]
    return [("complete", "")]


def _groups(jobs: Sequence[Job], gpus: int) -> list[list[Job]]:
    """The runs of each task: one, or with GPUs as many of one shape as train together on each."""
    if not gpus:
        return [[job] for job in jobs]
    from mechxl.training.ensemble import shape_key

    by_shape: dict[object, list[Job]] = {}
    for job in jobs:
        by_shape.setdefault(shape_key(job.config), []).append(job)
    groups: list[list[Job]] = []
    for same in by_shape.values():
        count = max(-(-len(same) // GROUP), min(gpus, len(same)))
        groups += [same[first::count] for first in range(count)]
    return groups


def _nodes() -> list[tuple[str, str]]:
    """Id and address of each node that is alive."""
    import ray

    return [(node["NodeID"], node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]]


def _answered(reference: Any) -> str:
    """What a node says; one that has died meanwhile is no obstacle."""
    import ray
    from ray.exceptions import RayError

    try:
        return ray.get(reference)
    except RayError as error:
        return type(error).__name__


def sees(path: str, token: str) -> str:
    """The host's name if a file with this content is at a path, else empty; runs on each node."""
    try:
        return platform.node() if Path(path).read_text(encoding="utf-8") == token else ""
    except OSError:
        return ""


def _require_shared(out: Path) -> None:
    """Makes sure that all nodes see a file that is written here.

    Raises:
        Failure: some do not.
    """
    if blind := blind_nodes(out):
        raise Failure(
            f"{out}: nodes of the Ray cluster do not see this directory ({', '.join(blind)}); choose an --out on a "
            "file system that they share with this machine"
        )


def blind_nodes(out: Path, seen_at: Path | None = None) -> list[str]:
    """Addresses of the nodes that do not see a directory; `seen_at` is where they look for it, if elsewhere."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = uuid.uuid4().hex
    probe = out / f".{token}.probe"
    write_text(probe, token)
    try:
        look, path = ray.remote(sees), str((seen_at or out) / probe.name)
        answers = {
            node: look.options(
                num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(path, token)
            for node, _ in _nodes()
        }
        return [address for node, address in _nodes() if node in answers and not _answered(answers[node])]
    finally:
        probe.unlink()
