"""patching: is the representation that looks unified the one that the model uses?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mechxl.findings import Finding
    from mechxl.plots import Panel
    from mechxl.run import Run

TITLE = "Patching: is the unified representation the one that is used?"
DEFINITION = (
    "Donor: fact f in language a; receiver: fact g of the same relation and another value in language b; both "
    "answered rightly. The donor's activation at (component, layer, role) replaces the receiver's, prompt "
    "positions only. Interchange accuracy: how often the answer becomes the donor's value in the receiver's "
    "language.",
    "Causal unification: interchange accuracy with donor (f, a), a ≠ b, over that with donor (f, b), same "
    "receivers: ratio of sums, entities resampled jointly, not clipped; not a number unless the lower bound of "
    "the ceiling is above .1.",
)
CAVEATS = (
    "It is fixed by construction at the ends: 1 in layer 0 on shared names; 0 in the final stream where the "
    "languages' value words differ.",
    "The place is chosen on one half of the pairs and measured on the other.",
)
READS: tuple[str, ...] = ()


def compute(run: "Run", thorough: bool = False) -> "Finding":
    """The finding of a run, computed anew; answer.py is imported when it is needed."""
    from mechxl.questions.patching import answer

    return answer.compute(run, thorough)


def figures(finding: "Finding") -> "list[Panel]":
    """The finding drawn; panels.py is imported when it is needed."""
    from mechxl.questions.patching import panels

    return panels.figures(finding)
