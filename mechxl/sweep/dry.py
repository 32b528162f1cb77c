"""What a sweep would do: how many runs, in which groups, how long, and how much disk. Nothing is written."""

from pathlib import Path

from mechxl.config import RunConfig
from mechxl.cores import cores
from mechxl.sweep.cost import cost
from mechxl.sweep.engine import Engine, Job
from mechxl.sweep.engines.automatic import CLEAR, MANY, TOGETHER, automatic, gain_together
from mechxl.sweep.engines.gpu import gpu
from mechxl.sweep.engines.local import local
from mechxl.sweep.engines.orders import work_of
from mechxl.sweep.engines.slurm import Slurm
from mechxl.sweep.machine import allot
from mechxl.sweep.results import Results
from mechxl.sweep.study import Study
from mechxl.sweep.twins import is_complete
from mechxl.training.device import pick_device
from mechxl.training.ensemble import shape_key
from mechxl.training.room import room


def dry_run(study: Study, out: Path, engine: Engine, workers: int | None = None) -> str:
    """The plan of a sweep in words, with times by the rate of this machine, which is measured for each shape."""
    runs_at_once, threads = allot([run.config for run in study.runs], workers, cores())
    jobs = [Job(run.name, run.config, out / run.name, n) for run, n in zip(study.runs, threads, strict=True)]
    kept = Results(out)
    left = [job for job in jobs if not kept.of(job.name, job.config) and not is_complete(job)]
    lines = [f"{out}: {len(jobs):,} runs, {len(jobs) - len(left):,} complete, {len(left):,} to train"]
    by_shape: dict[object, list[Job]] = {}
    for job in left:
        by_shape.setdefault(shape_key(job.config), []).append(job)
    seconds = longest = megabytes = in_one_process = 0.0
    for same in by_shape.values():
        config, together = same[0].config, 1
        if engine is gpu:
            most = room(config, pick_device(config.training.device, config.training.precision))
            count = -(-len(same) // most)
            together = -(-len(same) // count)
        found = cost(config, together)
        each = found.seconds / together + found.setup
        group = f", together in {-(-len(same) // together)} groups of at most {together}" if engine is gpu else ""
        costs = f"{each:,.1f} s and {found.megabytes:.2f} MB each"
        lines.append(f"  {len(same):,} runs of {_shape(config)}{group}: {costs}")
        seconds, megabytes = seconds + each * len(same), megabytes + found.megabytes * len(same)
        longest = max(longest, each)
        if engine is automatic and len(same) >= MANY:
            gain = gain_together(same[0], runs_at_once)
            seconds -= each * len(same) * (1 - 1 / gain) if gain >= CLEAR else 0.0
        if engine is local:  # which trains small models one by one: its runs are those of `mechxl.train` to the bit
            n = min(TOGETHER, len(same))
            in_one_process += len(same) * (cost(config, n).seconds / n + found.setup)
    if not left:
        return "\n".join([*lines, "nothing is to be done"])
    lines += [_time(engine, left, seconds, longest, runs_at_once), f"disk: {megabytes:,.0f} MB"]
    if engine is local and in_one_process < seconds / runs_at_once:
        lines.append(f"quicker: --engine gpu trains runs together on the CPU too, about {_clock(in_one_process)}")
    return "\n".join(lines)


def _shape(config: RunConfig) -> str:
    model, training = config.model, config.training
    steps = f"{training.steps:,} steps x {training.batch_size:,} sentences"
    return f"{steps}, {model.n_layers} layers, d_model {model.d_model}"


def _time(engine: Engine, left: list[Job], seconds: float, longest: float, runs_at_once: int) -> str:
    """How long all runs take."""
    if engine is gpu:
        return f"time: about {_clock(seconds)} on this machine's device"
    if engine in (local, automatic):
        clock = _clock(max(seconds / runs_at_once, longest))
        return f"time: about {clock}, {runs_at_once} runs at a time on this machine"
    whole = f"time: about {seconds / 3600:,.1f} core-hours, at the rate of this machine"
    if isinstance(engine, Slurm):
        shares = engine.shares(left)
        largest = max(sum(work_of(job.config) for job in share) for share in shares)
        part = largest / sum(work_of(job.config) for job in left)
        return f"{whole}; {len(shares):,} tasks, the longest about {_clock(part * seconds / engine.cpus)}"
    return whole


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"
