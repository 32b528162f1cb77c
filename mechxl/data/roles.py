"""Roles name the positions of a sentence by their content, independent of tokenization and word order."""

import numpy as np
from einops import rearrange
from jaxtyping import Int

from mechxl.data.corpus import Corpus

PROMPT_ROLES = ("cue", "name_first", "name_last", "relation_first", "relation_last", "prompt_last")


def role_names(corpus: Corpus, tag: bool = True) -> list[str]:
    """The roles that sentences of the corpus have, in order: those of the prompt, then the answer's tokens.

    cue: the tag's last token, at which the model has read the whole tag; only if a tag is shown.
    name_first, name_last, relation_first, relation_last: a word's first and last token, which may be the same.
    prompt_last: the token at which the answer is predicted.
    answer_1, answer_2, ...: the positions of an answer's tokens (not the positions that predict them). EOS is one of
    them if answers end with it. Short answers lack the last ones.
    """
    values = np.unique(corpus.lexicon.value_words[corpus.lexicon.value_words >= 0])
    longest = int((corpus.word_tokens[values] >= 0).sum(axis=1).max()) + corpus.answers_end_with_eos
    prompt = PROMPT_ROLES if corpus.has_tags and tag else PROMPT_ROLES[1:]
    return [*prompt, *(f"answer_{place}" for place in range(1, longest + 1))]


def role_positions(
    corpus: Corpus, fact: Int[np.ndarray, " n"], language: Int[np.ndarray, " n"], roles: list[str], tag: bool = True
) -> Int[np.ndarray, "n role"]:
    """The position (BOS is 0) of each role in the sentences of facts in languages; -1 if a sentence lacks the role.

    Args:
        corpus: the corpus of the sentences.
        fact: the fact of each sentence.
        language: the language of each sentence.
        roles: of `role_names`.
        tag: whether the tag is shown.
    """
    words = corpus.words_of(fact, language, tag)
    length = np.where(words >= 0, (corpus.word_tokens[words] >= 0).sum(axis=2), 0)
    ends = np.cumsum(length, axis=1)  # each word's last position: BOS stands at 0, so no 1 is subtracted
    starts = ends - length + 1
    row, relation_first = np.arange(len(fact)), corpus.lexicon.relation_first[language]
    name, relation = np.where(relation_first, 2, 1), np.where(relation_first, 1, 2)
    positions = {
        "cue": np.where(length[:, 0] > 0, ends[:, 0], -1),
        "name_first": starts[row, name],
        "name_last": ends[row, name],
        "relation_first": starts[row, relation],
        "relation_last": ends[row, relation],
        "prompt_last": ends[:, 2],
    }
    answer_length = np.where(length[:, 3] > 0, length[:, 3] + corpus.answers_end_with_eos, 0)
    for role in set(roles) - positions.keys():
        place = int(role.removeprefix("answer_"))
        positions[role] = np.where(place <= answer_length, ends[:, 2] + place, -1)
    return rearrange([positions[role] for role in roles], "role n -> n role")
