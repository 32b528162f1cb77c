"""Trains many runs, a study's grid and seeds, on all cores. In a notebook: `sweep(read_study("study.toml"))`.

Names are imported on first use, so that `python -m mechxl.sweep --help` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mechxl.sweep.study import Study as Study
    from mechxl.sweep.study import parse_study as parse_study
    from mechxl.sweep.study import read_study as read_study
    from mechxl.sweep.sweeping import sweep as sweep

_MODULES = {
    "Study": "mechxl.sweep.study",
    "parse_study": "mechxl.sweep.study",
    "read_study": "mechxl.sweep.study",
    "sweep": "mechxl.sweep.sweeping",
}

__all__ = ["Study", "parse_study", "read_study", "sweep"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'mechxl.sweep' has no attribute {name!r}")
