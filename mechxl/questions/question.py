"""What a question is: what its module or package declares, whether it is one of mechxl's or a user's own."""

import inspect
from collections.abc import Callable, Sequence
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
        title=str(getattr(module, "TITLE", name)),
        definition=_texts(getattr(module, "DEFINITION", ())),
        caveats=_texts(getattr(module, "CAVEATS", ())),
        reads=tuple(getattr(module, "READS", ())),
        reads_null=bool(getattr(module, "READS_NULL", False)),
        compute=compute,
        figures=module.figures,
        overview=getattr(module, "overview", None),
        module=module.__name__,
        source=source,
    )


def _without_precision(compute: "Callable[[Run], Finding]") -> "Callable[[Run, bool], Finding]":
    return lambda run, thorough: compute(run)


def _texts(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
