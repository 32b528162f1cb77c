"""From a table of facts to a World and a Lexicon: which entities stay unseen, how often facts are told, the null."""

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.config import LanguagesConfig, WorldConfig
from mechxl.counts import exact_count
from mechxl.data.languages import Lexicon
from mechxl.data.sources.table import Fact, FactTable, Origin, indices, numbered
from mechxl.data.world import World, zipf
from mechxl.errors import InputError
from mechxl.random import generator


def world_and_lexicon(
    table: FactTable, world: WorldConfig, languages: LanguagesConfig, seed: int
) -> tuple[World, Lexicon, Origin]:
    """The facts of a table as a World and a Lexicon, with each fact's names in the World's order.

    Facts are ordered by entity, then relation, by their names; those of unseen entities follow. The order of the table
    has no influence. `shared_facts` below 1 replaces values: those facts have, in each language after the first, an
    independent draw from the relation's values by how many facts have them.

    Raises:
        InputError: no fact is left, or two questions read alike.
    """
    facts = sorted(table.facts, key=lambda fact: (fact.entity, fact.relation))
    if not facts:
        raise InputError(f"languages.codes = {list(table.languages)}: no fact can be told in any of these languages")
    told = dict(zip(table.facts, table.told, strict=True))
    unseen = _unseen(facts, told, world.unseen_share, seed)
    facts = [f for f in facts if f.entity not in unseen] + [f for f in facts if f.entity in unseen]
    n_seen = sum(fact.entity not in unseen for fact in facts)
    entities, relations = numbered(f.entity for f in facts), numbered(sorted({f.relation for f in facts}))
    values = [numbered(sorted({f.value for f in facts[:n_seen] if f.relation == r})) for r in relations]

    relation = np.array([relations[fact.relation] for fact in facts])
    own = np.array([values[r][fact.value] for r, fact in zip(relation, facts[:n_seen], strict=False)])
    counts = np.zeros((len(relations), max(map(len, values))))
    np.add.at(counts, (relation[:n_seen], own), 1)
    value = np.full((len(facts), len(table.languages)), -1)
    sayable = np.array([told[fact] for fact in facts])
    value[:n_seen] = np.where(sayable[:n_seen], own[:, None], -1)

    lexicon = _lexicon(table, languages, [*entities], [*relations], [[*names] for names in values])
    if (not_shared := exact_count(1 - world.shared_facts, n_seen)) > 0:
        which = generator(seed, "facts not shared").permutation(n_seen)[-not_shared:]
        _draw_anew(value, which, relation, counts, lexicon.value_words >= 0, seed)
    frequency = np.zeros(len(facts))
    by_zipf = world.frequency == "zipf"
    frequency[:n_seen] = (
        zipf(n_seen, world.zipf_exponent, generator(seed, "frequency")) if by_zipf else 1 / max(n_seen, 1)
    )
    entity = np.array([entities[fact.entity] for fact in facts])
    made = World(entity, relation, value, frequency, counts / counts.sum(axis=1, keepdims=True))
    _check_questions(made, lexicon)
    return made, lexicon, Origin(table, facts)


def _unseen(facts: list[Fact], told: dict[Fact, Bool[np.ndarray, " language"]], share: float, seed: int) -> set[str]:
    """A seeded choice of entities that training does not name, of those that every language has words for.

    Every relation keeps two facts.
    """
    of_entity: dict[str, list[Fact]] = {}
    for fact in facts:
        of_entity.setdefault(fact.entity, []).append(fact)
    left = {relation: sum(fact.relation == relation for fact in facts) for relation in {f.relation for f in facts}}
    wanted, chosen = exact_count(share, len(of_entity)), set()
    names = sorted(of_entity)
    for place in generator(seed, "unseen entities").permutation(len(names)).tolist():
        own = of_entity[names[place]]
        if len(chosen) == wanted:
            break
        if all(told[fact].all() and left[fact.relation] > 2 for fact in own):
            chosen.add(names[place])
            for fact in own:
                left[fact.relation] -= 1
    return chosen


def _draw_anew(
    value: Int[np.ndarray, "fact language"],
    which: Int[np.ndarray, " some"],
    relation: Int[np.ndarray, " fact"],
    counts: Float[np.ndarray, "relation value"],
    has_word: Bool[np.ndarray, "relation value language"],
    seed: int,
) -> None:
    """Independent values in each language after the first, where the fact can be told; changes `value`."""
    for language in range(1, value.shape[1]):
        uniform = generator(seed, f"values in language {language}").random(len(which))
        cumulative = np.cumsum(counts * has_word[:, :, language], axis=1)
        for r in range(len(counts)):
            rows = (relation[which] == r) & (value[which, language] >= 0)
            places = np.searchsorted(cumulative[r], uniform[rows] * cumulative[r, -1], side="right")
            value[which[rows], language] = places


def _lexicon(
    table: FactTable, config: LanguagesConfig, entities: list[str], relations: list[str], values: list[list[str]]
) -> Lexicon:
    languages = table.languages
    names = [[table.entities[name].get(code, "") for code in languages] for name in entities]
    phrases = [[table.relations[name].get(code, "") for code in languages] for name in relations]
    most = max(map(len, values))
    keys = [[(r, name) for name in own] + [None] * (most - len(own)) for r, own in zip(relations, values, strict=True)]
    answers = [[table.values[key].get(code, "") if key else "" for code in languages] for row in keys for key in row]
    tags = [f"[{code}]" for code in languages] if config.cue == "tag" else []
    words = np.array(sorted({word for row in [*names, *phrases, *answers, tags] for word in row} - {""}))
    varied = config.word_order == "varied"
    return Lexicon(
        words=words,
        names=indices(words, names),
        relation_words=indices(words, phrases),
        value_words=indices(words, answers).reshape(len(relations), most, len(languages)),
        tags=np.searchsorted(words, tags) if tags else np.zeros(0, dtype=int),
        relation_first=np.array(
            [code in table.relation_first or (varied and place % 2 == 1) for place, code in enumerate(languages)]
        ),
        syllable_letters=0,
        codes=languages,
    )


def _check_questions(world: World, lexicon: Lexicon) -> None:
    """Refuses two questions of different words whose text is the same: words may hold spaces."""
    asked: dict[str, tuple[int, int]] = {}
    unseen = ~world.seen[:, None]
    for fact, language in np.argwhere((world.value >= 0) | unseen).tolist():
        name, relation = (
            lexicon.names[world.entity[fact], language],
            lexicon.relation_words[world.relation[fact], language],
        )
        pair = (relation, name) if lexicon.relation_first[language] else (name, relation)
        text = " ".join(lexicon.words[list(pair)])
        if asked.setdefault(text, pair) != pair:
            raise InputError(
                f"two questions read alike, {text!r}: the words of an entity and of a relation can be divided in two "
                "ways; change one of them"
            )
