"""unification: is a fact's vector the same in every language, and when does it become so?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mechxl.findings import Finding
    from mechxl.plots import Panel
    from mechxl.run import Run

TITLE = "Whether a fact is one thing in all languages"
DEFINITION = (
    "h(f, a): the residual stream after a layer (0: embeddings) at the last token of the prompt of fact f in "
    "language a, centred on the whole sample. S = mean cos(h(f, a), h(f, b)); W = mean cos(h(f, a), h(g, a)); "
    "X = mean cos(h(f, a), h(g, b)); a ≠ b, f ≠ g of one relation. Score = S − W: fact alignment (S − X) less "
    "language separation (W − X). Range −2 to 2.",
    "Retrieval: the share of facts whose nearest neighbour in the other language is the same fact. MEXA: "
    "strict maximum of row and column. CKA: linear, unbiased HSIC. Procrustes residual: an orthogonal map "
    "fitted on half the entities, tried on the other half. Checkerboard ρ: Spearman correlation of "
    "within-language and cross-language similarities.",
)
CAVEATS = (
    "The permuted mean of S − W is X − W and not 0: the test is of S = X.",
    "With shared names these measures show a shared entity as much as a shared fact: compare unseen entities, "
    "and a run with world.shared_facts = 0.",
    "Similar vectors prove nothing about use; patching asks that.",
)
READS: tuple[str, ...] = ()
READS_NULL = True


def compute(run: "Run", thorough: bool = False) -> "Finding":
    """The finding of a run, computed anew; answer.py is imported when it is needed."""
    from mechxl.questions.unification import answer

    return answer.compute(run, thorough)


def figures(finding: "Finding") -> "list[Panel]":
    """The finding drawn; panels.py is imported when it is needed."""
    from mechxl.questions.unification import panels

    return panels.figures(finding)
