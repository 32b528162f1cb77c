"""learning: what does the model recall, what does it transfer, and which knowledge comes first?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mechxl.findings import Finding
    from mechxl.plots import Panel
    from mechxl.run import Run

TITLE = "What the model learns, and when"
DEFINITION = (
    "Recall is the share of training tellings that the model answers right when asked again. Transfer is the same "
    "for mono facts (told in one language) asked in a language in which training does not tell them; every word is "
    "known from training, and the prompt is new. An answer is right if all of it matches under greedy decoding. "
    "The language's tag, where there is one, is shown.",
    "No-knowledge losses are the exact losses of models that know no fact: H(A) of the answers A, H(A | R) given "
    "the relation R, and H(A | R, S) given also the set S of languages that the prompt can be in. No-fact "
    "accuracies are those of the best guess from the relation alone, or from the relation and the language asked or "
    "told. They are the floor from which recall and transfer rise.",
)
CAVEATS = (
    "Transfer above the largest no-fact accuracy is evidence of transfer. Transfer below the smallest is evidence "
    "of a language bias.",
    "Intervals are over the entities of this one run. Another seed may differ by more.",
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
