"""Terms that explain themselves on the page, and the filter that marks them in a text."""

import re

from markupsafe import Markup, escape

GLOSSARY = {
    "mono": "A mono fact is told in one language only. Asking it in another language tests transfer.",
    "parallel": "A parallel fact is told in every language.",
    "role": "A role is a place in the prompt, such as the last token of the entity's name.",
    "S": "S: the mean cosine of one fact's vectors in two languages.",
    "W": "W: the mean cosine of two facts' vectors in one language.",
    "X": "X: the mean cosine of two facts' vectors in two languages.",
    "causal unification": (
        "How well a fact swapped in from another language works: 0 as a permuted donor, 1 as one of the same language."
    ),
    "nats": "A unit of information and of loss: 1 nat is 1.44 bits.",
    "trained null": "A model with the same settings and seeds, trained on facts that no two languages share.",
    "recall": "The share of training tellings that the model answers right when asked again.",
    "transfer": "The share of mono facts answered right in a language in which training does not tell them.",
}
_FOUND = re.compile(r"(?<![\w−-])(" + "|".join(sorted(map(re.escape, GLOSSARY), key=len, reverse=True)) + r")(?![\w-])")


def with_terms(text: str) -> Markup:
    """The text, escaped, with the first occurrence of each term as a button that explains it."""
    parts, seen = [], set[str]()
    for place, part in enumerate(_FOUND.split(text)):
        if place % 2 and part not in seen:
            seen.add(part)
            name = term_id(part)
            button = '<button type="button" class="term" aria-describedby="{}">{}</button>'
            parts.append(Markup(button).format(name, part))
        else:
            parts.append(escape(part))
    return Markup("").join(parts)


def term_id(term: str) -> str:
    """The address of a term's explanation on the page."""
    return f"term-{term.replace(' ', '-')}"
