"""The explorer: one run in a notebook, with controls, a map, a checkerboard, curves, attention, and patching by click.

choice.py   what can be chosen of a run, and what is
shown.py    pure: from (run, choice) to the numbers that are shown
drawn.py    figures and how they change
widgets.py  the controls, and what a click does
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mechxl.errors import InputError
from mechxl.run import Run

if TYPE_CHECKING:
    from mechxl.explorer.widgets import Explorer

__all__ = ["explore"]


def explore(run: Run) -> "Explorer":
    """A widget that shows one run: pick checkpoint, layer, role, languages, centring and facts; click a fact.

    All four figures follow the controls: the map (two principal components), the checkerboard (cosines), the score
    S - W over training, and the attention patterns of the fact that is picked. A click on a fact, in the map or the
    checkerboard, picks it and patches it: its activations in that language are put into another fact's run in the
    other language, at each layer and role, and the last figure says what the model then answers.

    Centring, the map's plane and the score are of the facts that the question `unification` samples (those of at most
    1,000 entities of the group), so that both show the same score. Intervals and nulls: `ask(run, "unification")`.

    Args:
        run: a run with checkpoints.

    Example:
        >>> seen = explore(run)
        >>> seen.controls["layer"].value = 1  # as by hand
        >>> seen  # in a notebook, the last line of a cell

    Raises:
        InputError: the run has no checkpoints, or ipywidgets or anywidget is not installed.
    """
    for needed in ("ipywidgets", "anywidget"):
        try:
            import_module(needed)
        except ImportError:
            raise InputError(
                f"explore needs {needed}, which is not installed here; pip install mechxl[notebook]"
            ) from None
    if not run.steps:
        raise InputError(f"{run.path}: has no checkpoints; train the run, or go on with --resume")
    from mechxl.explorer.widgets import Explorer

    return Explorer(run)
