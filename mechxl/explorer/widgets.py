"""The explorer's controls, and what a click does. All of it happens in Python; there is no JavaScript."""

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from mechxl.explorer import drawn
from mechxl.explorer.choice import SHOWN, Available, Choice
from mechxl.explorer.shown import Patched, Renderings, attention, curves, patched, renderings
from mechxl.run import Run


class Explorer(ipywidgets.VBox):
    """Controls over linked figures.

    Attributes:
        run: the run that is shown.
        available: what the run offers to choose from.
        names: the languages' names.
        controls: by the fields of Choice; setting a `value` acts like setting it by hand.
        figures: map, board, curves, attention, patch.
        picked: the fact and the language that are picked.
        shown: the numbers of the map and the checkerboard.
        patched: the result of the last click; None before the first click, and if there was no receiver.
        message: the line below the controls.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.available = run, Available.of(run)
        self.names = run.corpus.lexicon.language_names
        first = self.available.first()
        self.controls = _controls(self.available, first, self.names)
        roles, layers = self.available.role, self.available.layer
        self.figures = {
            "map": drawn.map_figure(self.names[:2]),
            "board": drawn.board_figure(),
            "curves": drawn.curves_figure(self.available.step, layers[-1]),
            "attention": drawn.attention_figure(),
            "patch": drawn.patch_figure(layers, roles),
        }
        self.message = ipywidgets.HTML()
        self.shown: Renderings
        self.patched: Patched | None = None
        self.picked = (-1, -1)
        self._draw()
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        for trace in drawn.traces(self.figures["map"])[1:]:
            trace.on_click(self._map_clicked)
        drawn.traces(self.figures["board"])[0].on_click(self._board_clicked)
        for trace in drawn.traces(self.figures["curves"])[:-1]:
            trace.on_click(self._curve_clicked)
        wrap = ipywidgets.Layout(flex_flow="row wrap")
        panels = ipywidgets.Box(list(self.figures.values()), layout=wrap)
        super().__init__([ipywidgets.Box(list(self.controls.values()), layout=wrap), self.message, panels])

    @property
    def choice(self) -> Choice:
        """The state of the controls."""
        return Choice(**{name: control.value for name, control in self.controls.items()})

    def pick(self, fact: int, language: int) -> None:
        """Picks a rendering and patches it into another fact's run in the other language, as a click does."""
        self.picked = fact, language
        self.patched = patched(self.run, self.choice, fact, language)
        self._draw()

    def _draw(self) -> None:
        choice, names = self.choice, self.names
        self.shown = renderings(self.run, choice)
        if self.picked[0] not in self.shown.fact or self.picked[1] not in choice.pair:
            self.picked, self.patched = (int(self.shown.fact[0]), choice.pair[0]), None
        figures = self.figures
        drawn.draw_map(figures["map"], self.shown, names, self.picked)
        drawn.draw_board(figures["board"], self.shown, names, self.picked)
        patterns = [attention(self.run, choice, self.picked[0], language) for language in choice.pair]
        drawn.draw_attention(figures["attention"], patterns, choice.layer, [names[a] for a in choice.pair])
        drawn.draw_patch(figures["patch"], self.patched)
        self.message.value = self._sentence(choice)
        # The curves come last: for new facts or a new role they need all checkpoints, which takes seconds.
        drawn.draw_curves(figures["curves"], curves(self.run, choice), choice, self.shown.facts)

    def _sentence(self, choice: Choice) -> str:
        corpus, (fact, language) = self.run.corpus, self.picked
        picked = f"{self.names[language]}: {corpus.text(fact, language)} ({corpus.mixture.group[fact]})"
        if self.patched is None:
            return f"Picked {escape(picked)}. Click a fact to patch it."
        receiver_fact, other = self.patched.receiver
        receiver = f"{self.names[other]}: {corpus.text(receiver_fact, other)}"
        return (
            f"Donor {escape(picked)}; receiver {escape(receiver)}. Without a patch the receiver is answered "
            f"{escape(self.patched.before or 'with no value')}. With the donor's stream at layer {choice.layer}, "
            f"{escape(choice.role)}, it is answered <b>{escape(self.patched.describe(choice.layer, choice.role))}</b>."
        )

    def _changed(self, change: Any) -> None:
        if change["owner"] is self.controls["step"] and self.patched is not None:
            self.patched = patched(self.run, self.choice, *self.picked)  # another model, another answer
        self._draw()

    def _map_clicked(self, trace: Any, points: Any, state: Any) -> None:
        which, n = drawn.traces(self.figures["map"]).index(trace) - 1, len(self.shown.fact) // 2
        self._clicked(points, lambda index: index + which * n)

    def _board_clicked(self, trace: Any, points: Any, state: Any) -> None:
        self._clicked(points, lambda cell: cell[0])  # its row

    def _clicked(self, points: Any, rendering_of: Callable[[Any], int]) -> None:
        if points.point_inds:
            rendering = rendering_of(points.point_inds[0])
            self.pick(int(self.shown.fact[rendering]), int(self.shown.language[rendering]))

    def _curve_clicked(self, trace: Any, points: Any, state: Any) -> None:
        if points.point_inds:
            layer = drawn.traces(self.figures["curves"]).index(trace)
            self.controls["layer"].value = layer
            self.controls["step"].value = self.available.step[points.point_inds[0]]


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
        "relation": pick("relation", available.relation, first.relation, lambda r: "all" if r is None else str(r)),
        "shown": ipywidgets.IntSlider(
            value=first.shown, min=2, max=2 * SHOWN, description="shown", continuous_update=False
        ),
    }
