"""mechxl: watch small Transformers learn the same facts in several languages, and see when they unify.

The notebook face. Names are imported on first use, so that `import mechxl` is quick.

Example:
    >>> from mechxl import Run, activations, ask, explore, patch
    >>> run = Run("runs/default")
    >>> run.metrics, run.facts, run.steps  # pandas, and the checkpoints' steps
    >>> activations(run, "resid_post", steps=-1, n=100)  # xarray
    >>> patch(run, donor="A", receiver="B")  # xarray
    >>> ask(run, "learning").summary
    >>> explore(run)  # a widget
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mechxl.config import RunConfig as RunConfig
    from mechxl.explorer import explore as explore
    from mechxl.instruments.activations.store import activations as activations
    from mechxl.instruments.patching.patch import patch as patch
    from mechxl.questions.ask import ask as ask
    from mechxl.run import Run as Run
    from mechxl.training.loop import train_run as train_run

_FACE = {
    "Run": "mechxl.run",
    "RunConfig": "mechxl.config",
    "activations": "mechxl.instruments.activations.store",
    "ask": "mechxl.questions.ask",
    "explore": "mechxl.explorer",
    "patch": "mechxl.instruments.patching.patch",
    "train_run": "mechxl.training.loop",
}

__all__ = ["Run", "RunConfig", "activations", "ask", "explore", "patch", "train_run"]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        return getattr(import_module(_FACE[name]), name)
    raise AttributeError(f"module 'mechxl' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What tab completion offers: the face and the rooms that were imported, not what this file needs for itself."""
    rooms = [name for name, value in globals().items() if isinstance(value, ModuleType)]
    return sorted({*__all__, *rooms, *(name for name in globals() if name.startswith("__"))})
