"""What is told of single facts, against the model's own forward and the table of facts."""

import numpy as np
import torch

from mechxl.config import RunConfig
from mechxl.data.corpus import build_corpus
from mechxl.questions.common import answers, few_steps, labels, prompts_coincide, sampled_facts, shown_facts


def test_what_is_answered_is_what_the_model_answers(trained):
    corpus, table = trained.corpus, trained.facts
    mono = np.flatnonzero(corpus.mixture.group == "mono")
    facts = mono[shown_facts(corpus, mono)]
    assert len(set(facts.tolist())) == len(facts) == 32
    found, texts = answers(trained, facts), labels(corpus, facts)
    for place in (0, -1):
        model = trained.model(trained.steps[place])
        for a, name in enumerate("AB"):
            for at, fact in enumerate(facts.tolist()):
                row = table.iloc[fact]
                right = row[f"value_word_{name}"]
                assert texts[a][at] == f"{row[f'entity_word_{name}']} {row[f'relation_word_{name}']} {right}"
                assert found["told"][a][at] == (name in row["told_in"])
                prompt = corpus.sequences(np.array([fact]), np.array([a])).prompts()
                with torch.no_grad():
                    token = int(model(torch.as_tensor(prompt))[0, -1].argmax())
                word = _word_of(corpus, token)
                assert found["words"][found["word"][place][a][at]] == word
                assert (found["kind"][place][a][at] == 0) == (word == right)


def test_entities_without_facts_have_no_answers(trained):
    unseen = np.flatnonzero(trained.corpus.mixture.group == "unseen")[:4]
    assert answers(trained, unseen) == {}


def test_few_steps_hold_the_ends():
    assert few_steps([0, 1, 2, 5, 9], 8) == [0, 1, 2, 5, 9]
    assert few_steps(list(range(0, 300, 10)), 3) == [0, 140, 290]
    assert few_steps([0], 8) == [0]


def test_a_sample_holds_all_facts_of_its_entities_in_order(trained):
    corpus = trained.corpus
    mono = np.flatnonzero(corpus.mixture.group == "mono")
    entity = corpus.world.entity
    kept = sampled_facts(corpus, mono, 10)
    assert len(set(entity[kept])) == 10
    assert kept.tolist() == [fact for fact in mono if entity[fact] in set(entity[kept])]
    assert sampled_facts(corpus, mono).tolist() == mono.tolist()  # no more than 1,000 entities: all
    assert set(sampled_facts(corpus, mono, 5)) < set(kept)


def _word_of(corpus, token):
    """The value word whose one token this is; empty for none."""
    values = np.unique(corpus.lexicon.value_words[corpus.lexicon.value_words >= 0])
    return next((str(corpus.lexicon.words[word]) for word in values if corpus.word_tokens[word, 0] == token), "")


def test_prompts_coincide_where_names_and_words_are_shared_and_no_tag_is_shown():
    world = {"n_entities": 5, "n_unseen": 0}
    words = {"shared_names": 1.0, "shared_words": 1.0}
    for different in ({}, {"cue": "tag"}, {"shared_names": 0.5}, {"shared_words": 0.5}):
        languages = words | different
        corpus = build_corpus(RunConfig.model_validate({"world": world, "languages": languages}))
        assert prompts_coincide(corpus) == (not different)
