"""mechxl: watch small Transformers learn the same facts in several languages, and see when they unify.

These are the names for notebooks. Each is imported on first use, so that `import mechxl` is quick.

Example:
    >>> from mechxl import Run, activations, ask, explore, patch, runs
    >>> run = Run("runs/default")
    >>> run.metrics, run.facts, run.steps  # pandas, and the checkpoints' steps
    >>> activations(run, "resid_post", steps=-1, n=100)  # xarray
    >>> patch(run, donor="A", receiver="B")  # xarray
    >>> ask(run, "learning").summary
    >>> explore(run)  # a widget
    >>> runs("runs")  # all runs in a directory, a row each
"""

import os
import sys


def _leave_out_working_directory() -> None:
    """Takes the working directory off the path of `python -m mechxl...`, before anything else is imported.

    `python -m` puts it first, and so does an empty part of PYTHONPATH: its scipy.py would be imported for scipy. The
    modules of mechxl are found by their package, also where that lies in the working directory.
    """
    if sys.argv[:1] != ["-m"]:  # so it is while Python looks for the module that it runs
        return
    before, name, after = sys.orig_argv[-len(sys.argv)].partition("mechxl")  # the module, perhaps with "-m" before it
    if not name or before[:1] not in ("", "-") or after[:1] not in ("", "."):
        return
    library = os.path.dirname(os.__file__)  # noqa: PTH120  pathlib is not imported yet
    until = sys.path.index(library) if library in sys.path else 1
    try:
        here = os.path.realpath(os.curdir)
    except OSError:  # it was removed
        return
    sys.path[:until] = [entry for entry in sys.path[:until] if os.path.realpath(entry) != here]


_leave_out_working_directory()

from importlib import import_module  # noqa: E402
from types import ModuleType, TracebackType  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from mechxl.config import RunConfig as RunConfig
    from mechxl.explorer import explore as explore
    from mechxl.instruments.activations.store import activations as activations
    from mechxl.instruments.patching.patch import patch as patch
    from mechxl.questions.ask import ask as ask
    from mechxl.run import Run as Run
    from mechxl.sweep.opened import runs as runs
    from mechxl.training.loop import train_run as train_run

_PUBLIC = {
    "Run": "mechxl.run",
    "RunConfig": "mechxl.config",
    "activations": "mechxl.instruments.activations.store",
    "ask": "mechxl.questions.ask",
    "explore": "mechxl.explorer",
    "patch": "mechxl.instruments.patching.patch",
    "runs": "mechxl.sweep.opened",
    "train_run": "mechxl.training.loop",
}

__all__ = ["Run", "RunConfig", "activations", "ask", "explore", "patch", "runs", "train_run"]

if os.path.basename((sys.argv or [""])[0]) in ("-m", "mechxl"):  # noqa: PTH119  a command starts: pathlib is slow
    _before = sys.excepthook

    def _say_interrupted(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        """Ctrl-C while a command still imports ends in a sentence too; `mechxl.cli.command` sees to later ones."""
        if issubclass(kind, KeyboardInterrupt):
            print("mechxl: interrupted", file=sys.stderr)
        else:
            _before(kind, error, traceback)

    sys.excepthook = _say_interrupted


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mechxl' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What tab completion offers: the public names and the subpackages imported so far, not this file's own imports."""
    subpackages = [name for name, value in globals().items() if isinstance(value, ModuleType)]
    return sorted({*__all__, *subpackages, *(name for name in globals() if name.startswith("__"))})
