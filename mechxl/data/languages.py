"""Languages: a lexicon of real strings for entities, relations and values, word order, and tags.

A generated syllable is a consonant, a vowel and a consonant of one script, so that a word splits in one way only. Every
language has one inventory of syllables for names and one for words. Shared names and words have inventories of their
own. All inventories are disjoint, so that a word means the same concept everywhere.
"""

from dataclasses import dataclass
from itertools import chain, product

import numpy as np
from jaxtyping import Bool, Int

from mechxl.config import LanguagesConfig
from mechxl.counts import exact_count, shared_counts
from mechxl.data.world import World
from mechxl.errors import refuse
from mechxl.random import generator

SYLLABLE_LETTERS = 3
LANGUAGE_NAMES = "ABCDEFGH"

# Consonants and vowels. With a shared script, all languages use the first. With distinct scripts, shared words use the
# first, and each of the eight languages uses one of the others, which are outside ASCII.
SCRIPTS = {
    "Latin": ("bcdfghjklmnpqrstvwxz", "aeiou"),
    "Greek": ("βγδζθκλμνξπρστφχψ", "αεηιουω"),
    "Cyrillic": ("бвгджзклмнпрстфхцчшщ", "аеиоуыэюя"),
    "Georgian": ("ბგდვზთკლმნპჟრსტფქღყშჩცძწჭხჯჰ", "აეიოუ"),
    "Armenian": ("բգդզթժլխծկհձղճմյնշչպջռսվտրցփքֆ", "աեէըիոօ"),
    "Tifinagh": ("ⴱⴳⴷⴼⴽⵀⵃⵄⵅⵇⵊⵍⵎⵏⵔⵖⵙⵛⵜⵟⵡⵢⵣⵥ", "ⴰⴻⵉⵓ"),
    "Cherokee": ("ꭰꭸꭾꮄꮉꮎꮖꮜꮣꮬꮳꮹꮿ", "ꭱꭲꭳꭴꭵꭶꭺ"),
    "Coptic": ("ⲃⲅⲇⲍⲑⲕⲗⲙⲛⲝⲡⲣⲥⲧⲫⲭⲯ", "ⲁⲉⲏⲓⲟⲩⲱ"),
    "Runic": ("ᚠᚦᚱᚲᚷᚹᚺᚾᛃᛈᛉᛊᛏᛒᛗᛚᛜᛞ", "ᚢᚨᛁᛇᛖᛟ"),
}


@dataclass(frozen=True)
class Lexicon:
    """The words of every concept in every language, as indices into one list of distinct strings.

    Equal strings have equal indices, so that a shared word has one index.

    Attributes:
        words: distinct strings.
        names: each entity's name; -1 if a language has none.
        relation_words: each relation's word; -1 if a language has none.
        value_words: the words of each relation's values; -1 if a relation has fewer values, or a language has no word.
        tags: each language's tag word; empty if sentences have no tags.
        relation_first: which languages say relation entity value instead of entity relation value.
        syllable_letters: letters in a syllable; 0 if words are not built from syllables of one length.
        codes: the languages' own codes; empty: they are called A, B, ...
    """

    words: np.ndarray
    names: Int[np.ndarray, "entity language"]
    relation_words: Int[np.ndarray, "relation language"]
    value_words: Int[np.ndarray, "relation value language"]
    tags: Int[np.ndarray, " tag"]
    relation_first: Bool[np.ndarray, " language"]
    syllable_letters: int
    codes: tuple[str, ...] = ()

    @property
    def language_names(self) -> list[str]:
        """A letter or code for each language."""
        return list(self.codes or LANGUAGE_NAMES[: self.names.shape[1]])


def generate_lexicon(config: LanguagesConfig, world: World, seed: int) -> Lexicon:
    """Seeded, collision-free words for the world's entities, relations and values.

    Raises:
        InputError: the script has too few syllables for the inventories.
    """
    inventories = _inventories(config, seed)
    n_relations, n_values = world.value_probability.shape
    n_seen = len(np.unique(world.entity[world.seen]))

    def write(part: str, parts: list[int], counts: list[int], length: int) -> list[list[str]]:
        """Words of one kind for each language; an exact count of each part is shared by all languages."""
        rng = generator(seed, f"shared {part}")
        flags = [rng.permutation(n) < count for n, count in zip(parts, counts, strict=True)]
        shared = np.concatenate(flags) if flags else np.zeros(0, bool)
        common = _spell(inventories[part]["shared"], length, int(shared.sum()), generator(seed, f"{part} shared"))
        columns = []
        for language in LANGUAGE_NAMES[: config.count]:
            own = _spell(
                inventories[part][language], length, int((~shared).sum()), generator(seed, f"{part} {language}")
            )
            column = np.empty(len(shared), dtype=object)
            column[shared], column[~shared] = common, own
            columns.append(column.tolist())
        return columns

    entities, values = [n_seen, world.n_entities - n_seen], [n_values] * n_relations
    names = write("names", entities, shared_counts(config.shared_names, entities), config.name_length)
    counts = [exact_count(config.shared_words, n_relations), *shared_counts(config.shared_words, values)]
    concepts = write("words", [n_relations, *values], counts, config.word_length)
    tags = [inventories["tags"][language] for language in LANGUAGE_NAMES[: config.count]] if config.cue == "tag" else []

    words, index = np.unique(np.array([*chain(*names, *concepts, *tags)]), return_inverse=True)
    entity_index, concept_index, tag_index = np.split(index, np.cumsum([np.size(names), np.size(concepts)]))
    concept_table = concept_index.reshape(config.count, -1).T
    varied = config.word_order == "varied"
    return Lexicon(
        words=words,
        names=entity_index.reshape(config.count, -1).T,
        relation_words=concept_table[:n_relations],
        value_words=concept_table[n_relations:].reshape(n_relations, n_values, config.count),
        tags=tag_index,
        relation_first=np.array([varied and language % 2 == 1 for language in range(config.count)]),
        syllable_letters=SYLLABLE_LETTERS,
    )


def _inventories(config: LanguagesConfig, seed: int) -> dict[str, dict[str, list[str]]]:
    """Disjoint syllables for names, words and tags of each language, and for shared names and words."""
    owners = ["shared", *LANGUAGE_NAMES[: config.count]]
    pools: dict[str, list[str]] = {}
    sizes = {"names": config.name_syllables, "words": config.word_syllables, "tags": 1}
    distinct = config.script == "distinct"
    scripts = list(zip(owners, SCRIPTS if distinct else ["Latin"] * len(owners), strict=False))
    # the smallest script first, so that an error's advice fits the other scripts too
    for owner, script in sorted(scripts, key=lambda pair: _n_syllables(pair[1])):
        if script not in pools:
            consonants, vowels = SCRIPTS[script]
            syllables = ["".join(letters) for letters in product(consonants, vowels, consonants)]
            _check_inventories(
                config, script, len(syllables), owners=1 if distinct else len(owners), per_owner=sum(sizes.values())
            )
            pools[script] = generator(seed, f"syllables {script}").permutation(syllables).tolist()
        pools[owner] = pools[script]
    tables: dict[str, dict[str, list[str]]] = {part: {} for part in sizes}
    for owner in owners:
        for part, size in sizes.items():
            tables[part][owner] = [pools[owner].pop() for _ in range(size)]
    return tables


def _n_syllables(script: str) -> int:
    consonants, vowels = SCRIPTS[script]
    return len(consonants) ** 2 * len(vowels)


def _check_inventories(config: LanguagesConfig, script: str, available: int, owners: int, per_owner: int) -> None:
    if owners * per_owner <= available:
        return
    largest = "name_syllables" if config.name_syllables >= config.word_syllables else "word_syllables"
    other = config.word_syllables if largest == "name_syllables" else config.name_syllables
    largest_size = available // owners - other - 1
    reason = (
        f"{owners} disjoint inventories of {per_owner} syllables need more than the {available} syllables of "
        f"the {script} script"
    )
    works = (
        f"languages.{largest} = {largest_size}"
        if largest_size >= 1
        else " and ".join(f"languages.{kind}_syllables = {(available // owners - 1) // 2}" for kind in ("name", "word"))
    )
    raise refuse(f"languages.{largest}", getattr(config, largest), reason, works)


def _spell(syllables: list[str], length: int, n: int, rng: np.random.Generator) -> list[str]:
    """n distinct words of `length` syllables, drawn without replacement."""
    chosen = rng.choice(len(syllables) ** length, size=n, replace=False)
    digits = np.stack([chosen // len(syllables) ** place % len(syllables) for place in reversed(range(length))], axis=1)
    return ["".join(word) for word in np.array(syllables)[digits].tolist()]
