"""The engines that can carry out the runs of a sweep, by name.

To add an engine (Slurm, Ray): write an `Engine` (see mechxl/sweep/engine.py) in a new file of this folder, and add a
row below. Then `sweep(study, engine="slurm")` uses it.
"""

from mechxl.sweep.engine import Engine
from mechxl.sweep.engines.gpu import gpu
from mechxl.sweep.engines.local import local

ENGINES: dict[str, Engine] = {
    "local": local,  # worker processes on this machine
    "gpu": gpu,  # many runs at once on this machine's GPU
}
