"""mechxl: watch small Transformers learn the same facts in several languages, and see when they unify.

These are the names for notebooks. Each is imported on first use, so that `import mechxl` is quick.

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

_PUBLIC = {
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
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mechxl' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What tab completion offers: the public names and the subpackages imported so far, not this file's own imports."""
    subpackages = [name for name, value in globals().items() if isinstance(value, ModuleType)]
    return sorted({*__all__, *subpackages, *(name for name in globals() if name.startswith("__"))})
