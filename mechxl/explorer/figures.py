"""The widget that draws the explorer's figures: their JSON goes to the page, clicks and a still picture come back.

figures.js draws; it is loaded with the widget. plotly's script goes to the page once, however many explorers there are.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import anywidget
import ipywidgets
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

from mechxl.plots import DARK

NAMES = ("map", "board", "curves", "attention", "patch")


class Library(ipywidgets.Widget):
    """plotly's script, for every figure of this kernel."""

    script = traitlets.Unicode().tag(sync=True)


@cache
def library() -> Library:
    """The one that all explorers share."""
    return Library(script=get_plotlyjs())


class Figures(anywidget.AnyWidget):
    """The five figures.

    Attributes:
        map, board, curves, attention, patch: a figure's JSON; a change is drawn at once.
        library: where the page finds plotly's script.
        dark: what replaces the colours of a light page on a dark one.
        clicked: called with a figure's name, the trace and the point (of a heat map: row and column) of each click.
        pictured: called with a still picture of all figures (a PNG in base64), after they were drawn.
    """

    _esm = (files("mechxl.explorer") / "figures.js").read_text(encoding="utf-8")
    _css = (files("mechxl.explorer") / "figures.css").read_text(encoding="utf-8")
    map, board, curves, attention, patch = (traitlets.Unicode().tag(sync=True) for _ in NAMES)
    library = traitlets.Unicode().tag(sync=True)
    dark = traitlets.Dict(DARK).tag(sync=True)

    def __init__(
        self,
        clicked: Callable[[str, int, int | tuple[int, int]], None],
        pictured: Callable[[str], None],
    ) -> None:
        self.clicked, self.pictured = clicked, pictured
        super().__init__(library=f"IPY_MODEL_{library().model_id}")
        self.on_msg(self._told)

    def draw(self, figures: Mapping[str, go.Figure]) -> None:
        """Shows figures by name, in place of those before."""
        with self.hold_sync():
            for name, figure in figures.items():
                setattr(self, name, figure.to_json())

    def _told(self, widget: object, content: Mapping[str, Any], buffers: object) -> None:
        """What the page says."""
        if content["kind"] == "still":
            self.pictured(content["png"])
        else:
            point = content["point"]
            self.clicked(content["figure"], content["trace"], tuple(point) if isinstance(point, list) else point)
