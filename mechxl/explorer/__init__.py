"""The explorer shows one run in a notebook: a map, a checkerboard, curves, attention, and patching by a click.

choice.py   the options that a run offers, and the current choice
shown.py    the numbers to show, from a run and a choice
drawn.py    the figures of these numbers
figures.py  the widget that draws them in the page (figures.js), with one plotly for all
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
    """A widget that shows one run. Choose checkpoint, layer, role, languages, centring and facts; click a fact.

    Four figures follow the controls: the map (two principal components), the checkerboard (cosines), the score S - W
    over training, and the attention patterns of the picked fact. Heads are named as in TransformerLens (L0H1); layer l
    is the output of block l - 1. A click on a fact in the map or the checkerboard picks the fact and patches it: its
    activations in that language are put into another fact's run in the other language, at each layer and role. The
    fifth figure shows what the model then answers.

    Centring, components and scores use the facts that the question `unification` samples (those of at most 1,000
    entities of the group), so that both show the same score. For intervals and nulls, see `ask(run, "unification")`.

    Args:
        run: the run to show; it needs checkpoints.

    Example:
        >>> seen = explore(run)
        >>> seen.controls["layer"].value = 1  # like choosing it by hand
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
        raise InputError(f"{run.path}: has no checkpoints; train the run, or continue it with --resume")
    from mechxl.explorer.widgets import Explorer

    return Explorer(run)
