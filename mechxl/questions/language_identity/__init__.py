"""language_identity: how much of the language is in the text and in the model, and is it used?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mechxl.findings import Finding
    from mechxl.plots import Panel
    from mechxl.run import Run

TITLE = "The language: in the text, in the model, and what it is used for"
DEFINITION = (
    "Bits = log2(languages) less the held-out cross entropy of a multinomial logistic probe on the stream, "
    "folds by entity, penalty chosen inside the folds; unclipped, so that overconfidence shows as less than 0.",
    "Erasure: LEACE (Belrose et al. 2023) of the language within each relation, fitted on other entities for each slot "
    "(a role's k-th token, and the prompt's last token), at every prompt position from a layer on. Recall and transfer "
    "are then scored by value, since losing the output language would make exact match collapse by itself. An erasure "
    "is believed only if a fresh probe within relations and the language of the answers no longer tell the language.",
)
CAVEATS = (
    "Where the languages share no tokens the embedding gives the language away by construction.",
    "What a linear probe cannot find may still be there for a nonlinear reader.",
)
READS: tuple[str, ...] = ()


def compute(run: "Run", thorough: bool = False) -> "Finding":
    """The finding of a run, computed anew; answer.py is imported when it is needed."""
    from mechxl.questions.language_identity import answer

    return answer.compute(run, thorough)


def figures(finding: "Finding") -> "list[Panel]":
    """The finding drawn; panels.py is imported when it is needed."""
    from mechxl.questions.language_identity import panels

    return panels.figures(finding)
