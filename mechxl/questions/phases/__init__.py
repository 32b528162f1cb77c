"""phases: when is each thing learned, in which order, and can the order be told from noise?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mechxl.findings import Finding
    from mechxl.plots import Panel
    from mechxl.run import Run

TITLE = "Phases: when does each thing happen?"
DEFINITION = (
    "A curve has 0, 1 or 2 rises: logistics in ln(step) with AR(1) residuals. It rises if a rising curve beats a "
    "constant by a margin of AICc. Its onset, the half-rise step, is resolved if one logistic or two beat a straight "
    "line by a margin and begin inside the window; otherwise the curve “rises, onset not resolved”. If it ends below "
    "90 % of its last rise, it is “not finished”. Beside the onset stands the step at which the curve has gone half "
    "of its way whatever its shape (isotonic regression). Recall and transfer rise from the accuracy of the best guess "
    "without facts: what lies below it is no fact learned.",
    "Unification is the excess over the trained null (the same settings with world.shared_facts = 0): S − X of the run "
    "less that of the null, at the same layer and checkpoint, and S − W likewise. Unified, partly unified or not "
    "unified follows from the interval of this excess at the end, from retrieval against chance and against the null, "
    "and from causal unification against chance. Without a null none of this is said.",
    "A lag is a ratio of two onsets. Its null is that both curves have one common onset.",
    "After recall: what transfer and the score gain between the first checkpoint with 99 % recall and the last one.",
)
CAVEATS = (
    "An order in time is no order of causes. Only interventions such as erasure and patching show causes.",
    "The excess is of one run and one null; how far two trainings differ by chance shows only over seeds.",
    "docs/phases.md lists false alarms, misses and coverage of intervals on planted curves.",
)
READS: tuple[str, ...] = ("learning", "language_identity", "patching")
READS_NULL = True


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
