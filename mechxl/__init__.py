"""mechxl: watch small Transformers learn the same facts in several languages, and see when they unify.

The notebook face. Names are imported on first use, so that `import mechxl` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mechxl.config import RunConfig as RunConfig
    from mechxl.instruments.patch import patch as patch
    from mechxl.instruments.store import activations as activations
    from mechxl.model.training import train_run as train_run
    from mechxl.questions.ask import ask as ask
    from mechxl.run import Run as Run

_FACE = {
    "Run": "mechxl.run",
    "RunConfig": "mechxl.config",
    "activations": "mechxl.instruments.store",
    "ask": "mechxl.questions.ask",
    "patch": "mechxl.instruments.patch",
    "train_run": "mechxl.model.training",
}

__all__ = ["Run", "RunConfig", "activations", "ask", "patch", "train_run"]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        return getattr(import_module(_FACE[name]), name)
    raise AttributeError(f"module 'mechxl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
