"""Roles: what a position of a sentence holds, whatever the tokenization and the word order."""

import numpy as np
from einops import rearrange
from jaxtyping import Int

from mechxl.data.corpus import Corpus

PROMPT_ROLES = ("cue", "name_first", "name_last", "relation_first", "relation_last", "prompt_last")


def role_names(corpus: Corpus, tag: bool = True) -> list[str]:
    """The roles that sentences of the corpus have, in this order: those of the prompt, then the answer's tokens.

    cue: the tag's last token, which has read all of it; only where a tag is shown.
    name_first, name_last, relation_first, relation_last: a word's first and last token; the same one of a word that is
    one token.
    prompt_last: the token that the answer is predicted at.
    answer_1, answer_2, ...: where an answer's token is read (not where it is predicted); EOS is one of them where
    answers end with it. Some answers may have fewer.
    """
    values = np.unique(corpus.lexicon.value_words[corpus.lexicon.value_words >= 0])
    longest = int((corpus.word_tokens[values] >= 0).sum(axis=1).max()) + corpus.answers_end_with_eos
    prompt = PROMPT_ROLES if corpus.has_tags and tag else PROMPT_ROLES[1:]
    return [*prompt, *(f"answer_{place}" for place in range(1, longest + 1))]


def role_positions(
    corpus: Corpus, fact: Int[np.ndarray, " n"], language: Int[np.ndarray, " n"], roles: list[str], tag: bool = True
) -> Int[np.ndarray, "n role"]:
    """The position (BOS is 0) of each role in facts told in the given languages; -1 where a sentence lacks it.

    Args:
        corpus: gives the sentences, as `corpus.sequences` does.
        fact: which facts.
        language: the language of each.
        roles: of `role_names`.
        tag: whether the tag is shown.
    """
    words = corpus.words_of(fact, language, tag)
    length = np.where(words >= 0, (corpus.word_tokens[words] >= 0).sum(axis=2), 0)
    ends = np.cumsum(length, axis=1)  # of each word, as BOS stands before them
    starts = ends - length + 1
    row, relation_first = np.arange(len(fact)), corpus.lexicon.relation_first[language]
    name, relation = np.where(relation_first, 2, 1), np.where(relation_first, 1, 2)
    found = {
        "cue": np.where(length[:, 0] > 0, ends[:, 0], -1),
        "name_first": starts[row, name],
        "name_last": ends[row, name],
        "relation_first": starts[row, relation],
        "relation_last": ends[row, relation],
        "prompt_last": ends[:, 2],
    }
    answer_length = np.where(length[:, 3] > 0, length[:, 3] + corpus.answers_end_with_eos, 0)
    for role in set(roles) - found.keys():
        place = int(role.removeprefix("answer_"))
        found[role] = np.where(place <= answer_length, ends[:, 2] + place, -1)
    return rearrange([found[role] for role in roles], "role n -> n role")
