"""The engines that can carry out the runs of a sweep, by name.

To add one (Slurm, Ray): write an `Engine` (mechxl/sweep/engine.py says what it must do) in a file of this folder, and
give it a row here. Then `sweep(study, engine="slurm")` uses it.
"""

from mechxl.sweep.engine import Engine
from mechxl.sweep.engines.local import local

ENGINES: dict[str, Engine] = {
    "local": local,  # worker processes on this machine
}
