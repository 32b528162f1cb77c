"""The questions that a report asks, in its order; a question of one's own has the same interface."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from mechxl.questions import language_identity, learning, patching, phases, unification

if TYPE_CHECKING:
    from mechxl.findings import Finding
    from mechxl.plots import Panel
    from mechxl.run import Run


class Question(Protocol):
    """A question as a module or package: one of QUESTIONS, or a user's own.

    Attributes:
        TITLE: of its section on the page.
        DEFINITION: what is measured, a string a paragraph.
        CAVEATS: what the numbers do not say, a string a sentence.
        READS: names of other questions whose kept findings it reads.
    """

    @property
    def TITLE(self) -> str: ...  # noqa: D102
    @property
    def DEFINITION(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def CAVEATS(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def READS(self) -> Sequence[str]: ...  # noqa: D102

    def compute(self, run: "Run", thorough: bool = False) -> "Finding":
        """The finding of a run, computed anew."""
        ...

    def figures(self, finding: "Finding") -> "list[Panel]":
        """The finding drawn."""
        ...


QUESTIONS: Mapping[str, Question] = {
    "learning": learning,
    "unification": unification,
    "language_identity": language_identity,
    "patching": patching,
    "phases": phases,  # last: it reads what the others found
}
