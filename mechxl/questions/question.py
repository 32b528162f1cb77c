"""What a question is: what its module or package declares, whether it is one of mechxl's or a user's own."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mechxl.errors import InputError

if TYPE_CHECKING:
    from mechxl.findings import Finding
    from mechxl.plots import Panel
    from mechxl.run import Run


@dataclass(frozen=True)
class Question:
    """A question, as its module declares it.

    Attributes:
        name: of QUESTIONS, or the module's dotted name.
        title: TITLE; without one the name.
        definition: DEFINITION: what is measured, a string a paragraph.
        caveats: CAVEATS: what the numbers do not say, a string a sentence.
        reads: READS: names of other questions whose kept findings it reads.
        reads_null: READS_NULL: whether it reads the run's trained null.
        compute: the finding of a run, computed anew; the second argument is whether to be thorough.
        figures: the finding drawn.
        overview: one small figure for the page's first screen; None where the module has no such function.
        module: the module's dotted name.
        source: the module's file.
    """

    name: str
    title: str
    definition: tuple[str, ...]
    caveats: tuple[str, ...]
    reads: tuple[str, ...]
    reads_null: bool
    compute: "Callable[[Run, bool], Finding]"
    figures: "Callable[[Finding], list[Panel]]"
    overview: "Callable[[Finding], Panel] | None"
    module: str
    source: Path


def declared(name: str, module: ModuleType) -> Question:
    """The question that a module or package declares.

    It has `compute(run) -> Finding` (or `compute(run, thorough)`) and `figures(finding) -> list[Panel]`, and may have
    TITLE, DEFINITION, CAVEATS, READS, READS_NULL and `overview(finding) -> Panel`.

    Raises:
        InputError: the module lacks one of the two functions.
        TypeError: TITLE, DEFINITION, CAVEATS or READS is not text.
    """
    source = Path(str(module.__file__))
    for function in ("compute", "figures"):
        if not callable(getattr(module, function, None)):
            raise InputError(
                f"question {name!r}: {source} has no function {function}; a question is a module with compute(run) -> "
                "Finding and figures(finding) -> list of Panel"
            )
    compute = module.compute
    if "thorough" not in inspect.signature(compute).parameters:
        compute = _without_precision(compute)
    return Question(
        name=name,
        title=_texts("TITLE", getattr(module, "TITLE", name), one=True)[0],
        definition=_texts("DEFINITION", getattr(module, "DEFINITION", ())),
        caveats=_texts("CAVEATS", getattr(module, "CAVEATS", ())),
        reads=_texts("READS", getattr(module, "READS", ())),
        reads_null=bool(getattr(module, "READS_NULL", False)),
        compute=compute,
        figures=module.figures,
        overview=getattr(module, "overview", None),
        module=module.__name__,
        source=source,
    )


def _without_precision(compute: "Callable[[Run], Finding]") -> "Callable[[Run, bool], Finding]":
    return lambda run, thorough: compute(run)


def _texts(name: str, given: object, one: bool = False) -> tuple[str, ...]:
    """Texts that a module declares; a single one stands for a list of one."""
    texts = (given,) if isinstance(given, str) or one else tuple(given) if isinstance(given, Iterable) else (given,)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{name} = {text!r:.100}: must be text")
        text.encode()  # a lone surrogate is no text
    return tuple(text for text in texts if isinstance(text, str))
