"""learning: what does the model recall, what does it transfer, and which knowledge comes first?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mechxl.findings import Finding
    from mechxl.plots import Panel
    from mechxl.run import Run

TITLE = "What the model learns, and when"
DEFINITION = (
    "Recall: tellings of the training set, asked again. Transfer: mono facts (told in one language), asked in "
    "a language that training does not tell them in, where every word is known from training and the prompt is "
    "not. Exact match of the whole answer under greedy decoding; the tag, where there is one, is shown.",
    "No-knowledge losses, exact, over answers A: H(A), H(A | R) given the relation, H(A | R, S) given the "
    "relation and the set S of languages that the prompt can be in. No-fact accuracies: of the best guess that "
    "knows the relation, and the language asked or told, and no fact.",
)
CAVEATS = (
    "Transfer above the largest no-fact accuracy is evidence of transfer; below the smallest, of a bias to the "
    "language.",
    "Intervals are over entities of this one run; another seed may differ by more.",
)
READS: tuple[str, ...] = ()


def compute(run: "Run", thorough: bool = False) -> "Finding":
    """The finding of a run, computed anew; answer.py is imported when it is needed."""
    from mechxl.questions.learning import answer

    return answer.compute(run, thorough)


def figures(finding: "Finding") -> "list[Panel]":
    """The finding drawn; panels.py is imported when it is needed."""
    from mechxl.questions.learning import panels

    return panels.figures(finding)
