"""Runs on this machine's GPU, many at once: runs of equal shape train together. Without a GPU it uses the CPU."""

from collections import deque
from collections.abc import Callable, Generator, Sequence

from mechxl.sweep.engine import Job, Outcome


def gpu(
    jobs: Sequence[Job],
    workers: int,
    began: Callable[[Job], None],
    stopping: Callable[[], bool],
    say: Callable[[str], None],
) -> Generator[Outcome, None, None]:
    """An Engine that trains groups of runs, each as large as memory allows; `workers` is of no effect.

    If memory runs out all the same, a group is halved and tried again.
    """
    import torch

    from mechxl.errors import Busy, InputError
    from mechxl.training.device import pick_device
    from mechxl.training.ensemble import shape_key, train_together
    from mechxl.training.room import room

    by_shape: dict[object, list[Job]] = {}
    for job in jobs:
        by_shape.setdefault(shape_key(job.config), []).append(job)
    waiting: deque[list[Job]] = deque()
    for same in by_shape.values():
        try:
            most = room(same[0].config, pick_device(same[0].config.training.device))
        except InputError as error:
            yield from (Outcome(job, "failed", str(error)) for job in same)
            continue
        count = -(-len(same) // most)
        waiting.extend(same[number::count] for number in range(count))
        say(f"{len(same)} runs of one shape, in groups of at most {-(-len(same) // count)}")
    while waiting:
        group = waiting.popleft()
        if stopping():
            yield from (Outcome(job, "stopped", f"{job.out}: not started") for job in group)
            continue
        for job in group:
            began(job)
        try:
            runs = [(job.config, job.out) for job in group]
            endings = train_together(runs, resume=True, quiet=True, stopping=stopping)
        except KeyboardInterrupt as interrupt:
            yield from (Outcome(job, "stopped", str(interrupt)) for job in group)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            if len(group) == 1:
                yield Outcome(group[0], "failed", f"{group[0].out}: the GPU's memory is too small for this run")
            else:
                waiting.extendleft([group[::2], group[1::2]])
        except Exception as error:  # an engine yields outcomes, whatever happens
            yield from (Outcome(job, "failed", f"{job.out}: {type(error).__name__}: {error}") for job in group)
        else:
            for job, ending in zip(group, endings, strict=True):
                status = "elsewhere" if isinstance(ending.error, Busy) else "failed" if ending.error else "complete"
                yield Outcome(job, status, str(ending.error or ""))
