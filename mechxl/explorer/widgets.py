"""The explorer's controls, and what a click does. All of it happens in Python; the page draws (figures.js)."""

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets
import plotly.graph_objects as go
from IPython.display import DisplayHandle, display

from mechxl.errors import InputError
from mechxl.explorer import drawn
from mechxl.explorer.choice import SHOWN, Available, Choice
from mechxl.explorer.figures import Figures
from mechxl.explorer.shown import Patched, Renderings, attention, curves, patched, renderings
from mechxl.run import Run

ALL = "all"  # of the relations: a menu shows no choice whose value is None
BEFORE_A_CLICK, NO_RECEIVER = "Patching: click a fact", "Patching: no receiver for this fact"
# In JupyterLab an output is hidden: the picture while the widget lives, the widget's error message when it does not.
STYLE = """<style class="mechxl-explorer">
.jp-OutputArea-child:has(.mechxl-explorer),
.jp-OutputArea-child:has(.mechxl-explorer) + .jp-OutputArea-child:has(.mechxl-figures) + .jp-OutputArea-child,
.jp-OutputArea-child:has(.mechxl-explorer) + .jp-OutputArea-child:not(:has(.mechxl-figures)) { display: none }
</style>"""


class Explorer(ipywidgets.VBox):
    """Controls over linked figures.

    Attributes:
        run: the run that is shown.
        available: what the run offers to choose from.
        names: the languages' names.
        controls: by the fields of Choice; setting a `value` acts like setting it by hand.
        figures: map, board, curves, attention, patch, as plotly figures.
        picked: the fact and the language that are picked.
        shown: the numbers of the map and the checkerboard.
        patched: the result of the last click; None before the first click, and if there was no receiver.
        message: the line below the controls.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.available = run, Available.of(run)
        self.names = run.corpus.lexicon.language_names
        self.controls = _controls(self.available, self.available.first(), self.names)
        self.figures: dict[str, go.Figure] = {}
        self.drawn = Figures(self.clicked, self._keep)
        self.message = ipywidgets.HTML()
        self.shown: Renderings
        self.patched: Patched | None = None
        self.picked = (-1, -1)
        self.without_patch = BEFORE_A_CLICK
        self.stills: list[DisplayHandle] = []
        self._draw()
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        wrap = ipywidgets.Layout(flex_flow="row wrap")
        super().__init__([ipywidgets.Box(list(self.controls.values()), layout=wrap), self.message, self.drawn])

    @property
    def choice(self) -> Choice:
        """The state of the controls."""
        values: dict[str, Any] = {name: control.value for name, control in self.controls.items()}
        if values["relation"] == ALL:
            values["relation"] = None
        return Choice(**values)

    def pick(self, fact: int, language: int) -> None:
        """Picks a rendering and patches it into another fact's run in the other language, as a click does."""
        self.picked, self.without_patch = (fact, language), NO_RECEIVER
        self.patched = patched(self.run, self.choice, fact, language)
        self._draw()

    def clicked(self, figure: str, trace: int, point: int | tuple[int, int]) -> None:
        """What a click on a point does: on a fact, it picks it; on a curve, it chooses its layer and checkpoint.

        Args:
            figure: its name.
            trace: its number in the figure.
            point: its number in the trace; of a heat map its row and column.
        """
        n = len(self.shown.fact) // 2
        if figure == "map" and trace and isinstance(point, int):
            self._told(lambda: self._pick_rendering(point + (trace - 1) * n))
        elif figure == "board" and isinstance(point, tuple):
            self._told(lambda: self._pick_rendering(point[0]))
        elif figure == "curves" and trace in self.available.layer and isinstance(point, int):
            self.controls["layer"].value = trace
            self.controls["step"].value = self.available.step[point]

    def _pick_rendering(self, rendering: int) -> None:
        self.pick(int(self.shown.fact[rendering]), int(self.shown.language[rendering]))

    def _told(self, action: Callable[[], None]) -> None:
        """Carries out what was asked by hand; an error is told below the controls, where a notebook shows none."""
        try:
            action()
        except InputError as error:
            self.message.value = f"<b>{escape(str(error))}</b>"

    def _draw(self) -> None:
        choice, names = self.choice, self.names
        self.shown = renderings(self.run, choice)
        if self.picked[0] not in self.shown.fact or self.picked[1] not in choice.pair:
            self.picked, self.patched = (int(self.shown.fact[0]), choice.pair[0]), None
            self.without_patch = BEFORE_A_CLICK
        patterns = [attention(self.run, choice, self.picked[0], language) for language in choice.pair]
        layers, roles = self.available.layer, self.available.role
        self._show(
            map=drawn.draw_map(self.shown, names, self.picked),
            board=drawn.draw_board(self.shown, names, self.picked),
            attention=drawn.draw_attention(patterns, choice.layer, [names[a] for a in choice.pair]),
            patch=drawn.draw_patch(self.patched, layers, roles, self.without_patch),
        )
        self.message.value = self._sentence(choice)
        # The curves come last: for new facts or a new role they need all checkpoints, which takes seconds.
        self._show(curves=drawn.draw_curves(curves(self.run, choice), choice, self.shown.facts))

    def _show(self, **figures: go.Figure) -> None:
        self.figures |= figures
        self.drawn.draw(figures)

    def _sentence(self, choice: Choice) -> str:
        corpus, (fact, language) = self.run.corpus, self.picked
        picked = f"{self.names[language]}: {corpus.text(fact, language)} ({corpus.mixture.group[fact]})"
        if self.patched is None:
            return f"Picked {escape(picked)}. Click a fact to patch it."
        receiver_fact, other = self.patched.receiver
        receiver = f"{self.names[other]}: {corpus.text(receiver_fact, other)}"
        return (
            f"Donor {escape(picked)}; receiver {escape(receiver)}. Without a patch the receiver is answered "
            f"{escape(self.patched.before or 'with no value')}. With the donor's stream at layer "
            f"{layer_label(choice.layer)}, {escape(choice.role)}, it is answered "
            f"<b>{escape(self.patched.describe(choice.layer, choice.role))}</b>."
        )

    def _changed(self, change: Any) -> None:
        def again() -> None:
            if change["owner"] is self.controls["step"] and self.patched is not None:
                self.patched = patched(self.run, self.choice, *self.picked)  # another model, another answer
            self._draw()

        self._told(again)

    def _ipython_display_(self) -> None:
        """Shows the widget, and beside it a picture for those who open the saved notebook without a kernel."""
        display({"text/html": STYLE, "text/plain": ""}, raw=True)
        display(self._repr_mimebundle_(), raw=True)
        instead = {"text/plain": f"The explorer of {self.run.path} needs a live notebook: run this cell."}
        handle = display(instead, raw=True, display_id=True)
        if handle is not None:  # None where there is no notebook
            self.stills.append(handle)

    def _keep(self, png: str) -> None:
        for still in self.stills:
            still.update({"image/png": png, "text/plain": f"The explorer of {self.run.path}"}, raw=True)


def layer_label(layer: int) -> str:
    """Our layer, with the block of TransformerLens that writes it."""
    return f"{layer} (block {layer - 1})" if layer else "0 (embeddings)"


def _controls(available: Available, first: Choice, names: list[str]) -> dict[str, Any]:
    """A control for each field of Choice, in the order in which they are shown."""

    def pick(label: str, values: list[Any], value: Any, label_of: Callable[[Any], str] = str) -> ipywidgets.Dropdown:
        return ipywidgets.Dropdown(
            options=[(label_of(choice), choice) for choice in values], value=value, description=label
        )

    slider = ipywidgets.SelectionSlider(
        options=[(f"{step:,}", step) for step in available.step],
        value=first.step,
        description="step",
        continuous_update=False,
    )
    return {
        "step": slider,
        "layer": pick("layer", available.layer, first.layer, layer_label),
        "role": pick("role", available.role, first.role),
        "pair": pick("languages", available.pair, first.pair, lambda pair: " and ".join(names[a] for a in pair)),
        "centring": pick("centring", available.centring, first.centring, lambda how: how.replace("_", " ")),
        "group": pick("facts", available.group, first.group),
        "relation": pick("relation", [ALL if r is None else r for r in available.relation], ALL),
        "shown": ipywidgets.IntSlider(
            value=first.shown, min=2, max=2 * SHOWN, description="shown", continuous_update=False
        ),
    }
