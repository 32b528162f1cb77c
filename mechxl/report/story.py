"""What the page says beside each question's findings: title, definition and caveats, in the story's order.

The definitions are those of docs/measures.md, docs/language.md, docs/patching.md and docs/phases.md, in short.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chapter:
    """A question's frame on the page.

    Attributes:
        title: of the section.
        definition: what is measured, paragraph by paragraph.
        caveats: what the numbers do not say.
    """

    title: str
    definition: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


STORY = {
    "learning": Chapter(
        "What the model learns, and when",
        (
            "Recall: tellings of the training set, asked again. Transfer: mono facts (told in one language), asked in "
            "a language that training does not tell them in, where every word is known from training and the prompt is "
            "not. Exact match of the whole answer under greedy decoding; the tag, where there is one, is shown.",
            "No-knowledge losses, exact, over answers A: H(A), H(A | R) given the relation, H(A | R, S) given the "
            "relation and the set S of languages that the prompt can be in. No-fact accuracies: of the best guess that "
            "knows the relation, and the language asked or told, and no fact.",
        ),
        (
            "Transfer above the largest no-fact accuracy is evidence of transfer; below the smallest, of a bias to the "
            "language.",
            "Intervals are over entities of this one run; another seed may differ by more.",
        ),
    ),
    "unification": Chapter(
        "Whether a fact is one thing in all languages",
        (
            "h(f, a): the residual stream after a layer (0: embeddings) at the last token of the prompt of fact f in "
            "language a, centred on the whole sample. S = mean cos(h(f, a), h(f, b)); W = mean cos(h(f, a), h(g, a)); "
            "X = mean cos(h(f, a), h(g, b)); a ≠ b, f ≠ g of one relation. Score = S − W: fact alignment (S − X) less "
            "language separation (W − X). Range −2 to 2.",
            "Retrieval: the share of facts whose nearest neighbour in the other language is the same fact. MEXA: "
            "strict maximum of row and column. CKA: linear, unbiased HSIC. Procrustes residual: an orthogonal map "
            "fitted on half the entities, tried on the other half. Checkerboard correlation: Spearman of "
            "within-language against cross-language similarities.",
        ),
        (
            "The permuted mean of S − W is X − W and not 0: the test is of S = X.",
            "With shared names these measures show a shared entity as much as a shared fact: compare unseen entities, "
            "and a run with world.shared_facts = 0.",
            "Similar vectors prove nothing about use; patching asks that.",
        ),
    ),
    "language_identity": Chapter(
        "The language: in the text, in the model, and what it is used for",
        (
            "Bits = log2(languages) less the held-out cross entropy of a multinomial logistic probe on the stream, "
            "folds by entity, penalty chosen inside the folds; unclipped, so that overconfidence shows as less than 0.",
            "Erasure: LEACE (Belrose et al. 2023), fitted per role on other entities, at every prompt position from a "
            "layer on; recall and transfer are then scored by value, as losing the output language would make exact "
            "match collapse by itself.",
        ),
        (
            "Where the languages share no tokens the embedding gives the language away by construction.",
            "What a linear probe cannot find may still be there for a nonlinear reader.",
        ),
    ),
    "patching": Chapter(
        "Patching: is the unified representation the one that is used?",
        (
            "Donor: fact f in language a; receiver: fact g of the same relation and another value in language b; both "
            "answered rightly. The donor's activation at (component, layer, role) replaces the receiver's, prompt "
            "positions only. Interchange accuracy: how often the answer becomes the donor's value in the receiver's "
            "language.",
            "Causal unification: interchange accuracy with donor (f, a), a ≠ b, over that with donor (f, b), same "
            "receivers: ratio of sums, entities resampled jointly, not clipped; not a number unless the lower bound of "
            "the ceiling is above .1.",
        ),
        (
            "It is fixed by construction at the ends: 1 in layer 0 on shared names; 0 in the final stream where the "
            "languages' value words differ.",
            "The place is chosen on one half of the pairs and measured on the other.",
        ),
    ),
    "phases": Chapter(
        "Phases: when does each thing happen?",
        (
            "Onset: the half-rise step of a logistic in ln(step) with AR(1) residuals. A transition is accepted where "
            "its AICc beats those of a constant and of lines by a margin, its amplitude stands out of the noise, and "
            "the curve begins below 10 % and ends above 90 % of it; where only the last fails it is “not finished”, "
            "else “no transition”.",
            "A lag is a ratio of half-rise steps; its null is that both curves have one onset.",
        ),
        (
            "An order in time is no order of causes; erasure and patching intervene.",
            "False alarms, misses and coverage on planted curves are tabulated in docs/phases.md.",
        ),
    ),
}
