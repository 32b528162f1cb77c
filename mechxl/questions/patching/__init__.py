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
    "Causal unification = (accuracy - null) / (ceiling - null). Accuracy: donor (f, a), a ≠ b. Ceiling: donor (f, b), "
    "same receivers. Null: donors permuted among pairs of one relation, with another value than the receiver's, as "
    "drawn donors have. 1: a donor in another language does as well as one in the receiver's own. 0: no better than a "
    "permuted donor. Sums over pairs, not clipped; a score interval over pairs, with the null's own error. It is not "
    "defined unless the lower end of ceiling - null is above .05, and where the prompts of both languages coincide.",
    "A mono fact transfers where the model answers it rightly in the receiver's language too. Facts that do and facts "
    "that do not are measured apart: where a fact does not transfer, the ceiling measures that failure.",
)
CAVEATS = (
    "Where the outcome is fixed by construction there is no causal unification: at the prompt itself, up to which both "
    "languages have the same tokens, and at the final stream.",
    "The place is chosen on one half of the pairs and measured on the other.",
    "Where a patch that fails leaves the receiver's own answer, causal unification between 0 and 1 is somewhat below "
    "the share of facts that cross (docs/patching.md).",
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
