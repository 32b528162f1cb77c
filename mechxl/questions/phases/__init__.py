"""phases: when is each thing learned, in which order, and can the order be told from noise?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mechxl.findings import Finding
    from mechxl.plots import Panel
    from mechxl.run import Run

TITLE = "Phases: when does each thing happen?"
DEFINITION = (
    "The onset of a curve is the half-rise step of a logistic in ln(step) with AR(1) residuals. The curve has a "
    "transition if the logistic's AICc beats those of a constant and of lines by a margin, if its amplitude stands "
    "out of the noise, and if the curve begins below 10 % and ends above 90 % of the rise. If only "
    "the last condition fails it is “not finished”; otherwise it has “no transition”.",
    "A lag is a ratio of two half-rise steps. Its null is that both curves have one common onset.",
)
CAVEATS = (
    "An order in time is no order of causes. Only interventions such as erasure and patching show causes.",
    "docs/phases.md lists false alarms, misses and coverage of intervals on planted curves.",
)
READS: tuple[str, ...] = ("learning", "language_identity", "patching")


def compute(run: "Run", thorough: bool = False) -> "Finding":
    """The finding of a run, computed anew; answer.py is imported when it is needed."""
    from mechxl.questions.phases import answer

    return answer.compute(run, thorough)


def figures(finding: "Finding") -> "list[Panel]":
    """The finding drawn; panels.py is imported when it is needed."""
    from mechxl.questions.phases import panels

    return panels.figures(finding)


def overview(finding: "Finding") -> "Panel":
    """The time line of the phases, for the page's first screen."""
    from mechxl.questions.phases import panels

    return panels.overview(finding)
