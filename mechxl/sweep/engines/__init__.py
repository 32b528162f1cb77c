"""The engines that can carry out the runs of a sweep, by name.

To add an engine: write an `Engine` (see mechxl/sweep/engine.py) in a new file of this folder, and add a row below. Then
`sweep(study, engine="its name")` uses it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mechxl.errors import InputError
from mechxl.sweep.engine import Engine
from mechxl.sweep.engines.automatic import automatic
from mechxl.sweep.engines.gpu import gpu
from mechxl.sweep.engines.local import local
from mechxl.sweep.engines.ray import Ray
from mechxl.sweep.engines.slurm import Slurm, parse_slurm

ENGINES: dict[str, Engine] = {
    "local": local,  # worker processes on this machine
    "gpu": gpu,  # many runs at once on this machine's GPU
    "slurm": Slurm(),  # a job array on a cluster
    "ray": Ray(),  # tasks of a Ray cluster
}

DRIVER = Path("/proc/driver/nvidia")  # where there is none, torch need not be imported to ask


def pick_engine(name: str, slurm: Mapping[str, Any] | None = None) -> Engine:
    """The engine of a name; `auto` is gpu where torch sees a GPU, else `automatic`. `slurm` are options of that engine.

    Raises:
        InputError: there is no such engine, or no such option.
    """
    if name == "auto":
        return gpu if _sees_a_gpu() else automatic
    if name not in ENGINES:
        raise InputError(f"engine = {name}: there is no such engine; there are: auto, {', '.join(ENGINES)}")
    return parse_slurm(slurm) if name == "slurm" and slurm else ENGINES[name]


def _sees_a_gpu() -> bool:
    if not DRIVER.exists():
        return False
    import torch

    return torch.cuda.is_available()
