"""The explorer's controls, and what a click does. Figures follow the controls by way of Python alone."""

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from mechxl.explorer import drawn
from mechxl.explorer.choice import SHOWN, Choice, Options
from mechxl.explorer.shown import Patched, Renderings, attention, curves, patched, renderings
from mechxl.run import Run


class Explorer(ipywidgets.VBox):
    """Controls over linked figures.

    Attributes:
        run: that is shown.
        controls: by the names of Choice; setting a `value` acts as a hand would.
        figures: map, board, curves, attention, patch.
        picked: the fact and language that are picked.
        shown: the numbers of map and checkerboard.
        found: what the last click's patch gave; None before, and where there was nothing to patch into.
        said: the line below the controls.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.options = run, Options.of(run)
        self.names = run.corpus.lexicon.language_names
        first = self.options.first()
        self.controls = _controls(self.options, first, self.names)
        roles, layers = self.options.role, self.options.layer
        self.figures = {
            "map": drawn.map_figure(self.names[:2]),
            "board": drawn.board_figure(),
            "curves": drawn.curves_figure(self.options.step, layers[-1]),
            "attention": drawn.attention_figure(),
            "patch": drawn.patch_figure(layers, roles),
        }
        self.said = ipywidgets.HTML()
        self.shown: Renderings
        self.found: Patched | None = None
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
        super().__init__([ipywidgets.Box(list(self.controls.values()), layout=wrap), self.said, panels])

    @property
    def choice(self) -> Choice:
        """What the controls say."""
        return Choice(**{name: control.value for name, control in self.controls.items()})

    def pick(self, fact: int, language: int) -> None:
        """Picks a rendering and patches it into another fact's run in the other language, as a click does."""
        self.picked = fact, language
        self.found = patched(self.run, self.choice, fact, language)
        self._draw()

    def _draw(self) -> None:
        choice, names = self.choice, self.names
        self.shown = renderings(self.run, choice)
        if self.picked[0] not in self.shown.fact or self.picked[1] not in choice.pair:
            self.picked, self.found = (int(self.shown.fact[0]), choice.pair[0]), None
        figures = self.figures
        drawn.draw_map(figures["map"], self.shown, names, self.picked)
        drawn.draw_board(figures["board"], self.shown, names, self.picked)
        looked = [attention(self.run, choice, self.picked[0], language) for language in choice.pair]
        drawn.draw_attention(figures["attention"], looked, choice.layer, [names[a] for a in choice.pair])
        drawn.draw_patch(figures["patch"], self.found)
        self.said.value = self._sentence(choice)
        # last, as other facts or another role need activations of all checkpoints, which takes seconds the first time
        drawn.draw_curves(figures["curves"], curves(self.run, choice), choice, self.shown.facts)

    def _sentence(self, choice: Choice) -> str:
        corpus, (fact, language) = self.run.corpus, self.picked
        picked = f"{self.names[language]}: {corpus.text(fact, language)} ({corpus.mixture.group[fact]})"
        if self.found is None:
            return f"Picked {escape(picked)}. A click on a fact patches it."
        to, other = self.found.receiver
        receiver = f"{self.names[other]}: {corpus.text(to, other)}"
        return (
            f"Donor {escape(picked)}; receiver {escape(receiver)}, which by itself is answered "
            f"{escape(self.found.before or 'with no value')}. With the donor's stream at layer {choice.layer}, "
            f"{escape(choice.role)}: <b>{escape(self.found.said(choice.layer, choice.role))}</b>."
        )

    def _changed(self, change: Any) -> None:
        if change["owner"] is self.controls["step"] and self.found is not None:
            self.found = patched(self.run, self.choice, *self.picked)  # another model, another answer
        self._draw()

    def _map_clicked(self, trace: Any, points: Any, state: Any) -> None:
        which, n = drawn.traces(self.figures["map"]).index(trace) - 1, len(self.shown.fact) // 2
        self._clicked(points, lambda at: at + which * n)

    def _board_clicked(self, trace: Any, points: Any, state: Any) -> None:
        self._clicked(points, lambda at: at[0])  # the row's

    def _clicked(self, points: Any, place: Callable[[Any], int]) -> None:
        if points.point_inds:
            at = place(points.point_inds[0])
            self.pick(int(self.shown.fact[at]), int(self.shown.language[at]))

    def _curve_clicked(self, trace: Any, points: Any, state: Any) -> None:
        if points.point_inds:
            layer = drawn.traces(self.figures["curves"]).index(trace)
            self.controls["layer"].value = layer
            self.controls["step"].value = self.options.step[points.point_inds[0]]


def _controls(options: Options, first: Choice, names: list[str]) -> dict[str, Any]:
    """A control for each of a choice's parts, in the order that they are shown."""

    def pick(label: str, values: list[Any], value: Any, said: Callable[[Any], str] = str) -> ipywidgets.Dropdown:
        return ipywidgets.Dropdown(options=[(said(one), one) for one in values], value=value, description=label)

    slider = ipywidgets.SelectionSlider(
        options=[(f"{step:,}", step) for step in options.step],
        value=first.step,
        description="step",
        continuous_update=False,
    )
    return {
        "step": slider,
        "layer": pick("layer", options.layer, first.layer),
        "role": pick("role", options.role, first.role),
        "pair": pick("languages", options.pair, first.pair, lambda pair: " and ".join(names[a] for a in pair)),
        "centring": pick("centring", options.centring, first.centring, lambda how: how.replace("_", " ")),
        "group": pick("facts", options.group, first.group),
        "relation": pick("relation", options.relation, first.relation, lambda r: "all" if r is None else str(r)),
        "shown": ipywidgets.IntSlider(
            value=first.shown, min=2, max=2 * SHOWN, description="shown", continuous_update=False
        ),
    }
