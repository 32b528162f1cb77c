"""From tables to tokens: prompts and answers of any fact in any language, and the tellings of training.

A sentence is BOS, [tag], two words for entity and relation in the language's order, the value's word, EOS. The prompt
is everything before the value. The answer is the value's tokens; EOS belongs to it if one value's tokens are the
beginning of another's.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Int
from tokenizers import Tokenizer

from mechxl.config import RunConfig
from mechxl.data.languages import Lexicon, generate_lexicon
from mechxl.data.mixture import Mixture, mix
from mechxl.data.sources.choose import source_table
from mechxl.data.sources.table import FactTable, Origin
from mechxl.data.sources.telling import world_and_lexicon
from mechxl.data.tokenization import BOS_ID, EOS_ID, PAD_ID, build_tokenizer, word_tokens
from mechxl.data.world import World, generate_world

SENTENCES_AT_ONCE = 8192  # so that they fit into a processor's cache


@dataclass(frozen=True)
class Sequences:
    """Sentences as tokens, right-padded.

    Attributes:
        tokens: BOS, the words' tokens, EOS, then padding. Facts without a value end after the prompt.
        prompt_length: tokens before the value, BOS included.
        answer_length: tokens of the answer; 0 if the fact has no value.
        length: all tokens except padding.
    """

    tokens: Int[np.ndarray, "sentence position"]
    prompt_length: Int[np.ndarray, " sentence"]
    answer_length: Int[np.ndarray, " sentence"]
    length: Int[np.ndarray, " sentence"]

    def prompts(self) -> Int[np.ndarray, "sentence prompt_position"]:
        """The prompts alone, padded with -1."""
        width = int(self.prompt_length.max(initial=0))
        return np.where(np.arange(width) < self.prompt_length[:, None], self.tokens[:, :width], -1)


def sentence_words(
    world: World,
    lexicon: Lexicon,
    fact: Int[np.ndarray, " n"],
    language: Int[np.ndarray, " n"],
    tag: Bool[np.ndarray, " n"] | bool,
) -> Int[np.ndarray, "n 4"]:
    """Word indices of tag, first word, second word and value of facts in languages; -1 if a word is missing."""
    name = lexicon.names[world.entity[fact], language]
    relation = lexicon.relation_words[world.relation[fact], language]
    swapped = lexicon.relation_first[language]
    value = world.value[fact, language]
    value_word = np.where(value >= 0, lexicon.value_words[world.relation[fact], value, language], -1)
    tags = np.where(tag, lexicon.tags[language], -1) if len(lexicon.tags) else np.full(len(fact), -1)
    return np.stack([tags, np.where(swapped, relation, name), np.where(swapped, name, relation), value_word], axis=1)


@dataclass(frozen=True)
class Corpus:
    """The facts, their words, the languages that each fact is told in, the tokenizer, and where the facts are from."""

    world: World
    lexicon: Lexicon
    mixture: Mixture
    tokenizer: Tokenizer
    cue_dropout: float
    origin: Origin | None = None

    @property
    def has_tags(self) -> bool:
        """Whether sentences may begin with a language's tag."""
        return len(self.lexicon.tags) > 0

    @property
    def cue_states(self) -> list[tuple[bool, float]]:
        """The forms of a telling in training: (whether the tag is shown, probability above 0)."""
        if not self.has_tags:
            return [(False, 1.0)]
        return [(shown, p) for shown, p in ((True, 1 - self.cue_dropout), (False, self.cue_dropout)) if p > 0]

    @cached_property
    def word_tokens(self) -> Int[np.ndarray, "word place"]:
        """The tokens of each word of the lexicon, padded with -1."""
        return word_tokens(self.tokenizer, self.lexicon.words)

    @cached_property
    def answers_end_with_eos(self) -> bool:
        """Whether some value's tokens are the beginning of another's, so that only EOS shows where an answer ends."""
        values = np.unique(self.lexicon.value_words[self.lexicon.value_words >= 0])
        answers = {tuple(row[row >= 0].tolist()) for row in self.word_tokens[values]}
        return any(answer[:end] in answers for answer in answers for end in range(1, len(answer)))

    @cached_property
    def tellings(self) -> tuple[Int[np.ndarray, " telling"], Int[np.ndarray, " telling"]]:
        """(fact, language) of every telling in training."""
        fact, language = np.nonzero(self.mixture.told)
        return fact, language

    @cached_property
    def digest(self) -> str:
        """A hash of all that training reads: words, tokens of all facts in all languages, and weights."""
        facts = np.arange(self.world.n_facts)
        digest = hashlib.sha256(" ".join(self.lexicon.words).encode())
        for tag, probability in self.cue_states:
            tokens = self.sequences(*crossed(facts, self.world.n_languages), tag).tokens
            digest.update(tokens.astype("<i4").tobytes())
            digest.update(f"{tag} {probability:.12f}".encode())
        digest.update(np.round(self.mixture.weight * 1e12).astype("<i8").tobytes())
        return digest.hexdigest()

    def words_of(
        self, fact: Int[np.ndarray, " n"], language: Int[np.ndarray, " n"], tag: Bool[np.ndarray, " n"] | bool
    ) -> Int[np.ndarray, "n 4"]:
        """Word indices of tag, first word, second word and value; -1 if a word is missing."""
        return sentence_words(self.world, self.lexicon, fact, language, tag)

    def prompt_keys(
        self, fact: Int[np.ndarray, " n"], language: Int[np.ndarray, " n"], tag: bool
    ) -> Int[np.ndarray, " n"]:
        """A number for each prompt; two numbers are equal if and only if the prompts have the same words."""
        base = len(self.lexicon.words) + 1
        tags, first, second, _ = (self.words_of(fact, language, tag) + 1).T
        return (tags * base + first) * base + second

    def sequences(
        self, fact: Int[np.ndarray, " n"], language: Int[np.ndarray, " n"], tag: Bool[np.ndarray, " n"] | bool = True
    ) -> Sequences:
        """Facts told in the given languages as tokens.

        Args:
            fact: which facts.
            language: the language of each.
            tag: whether the tag is shown; without effect if languages have no tags.
        """
        words = self.words_of(fact, language, tag)
        lengths = np.where(words >= 0, (self.word_tokens >= 0).sum(axis=1)[words], 0)
        has_value = words[:, 3] >= 0
        prompt_length = 1 + lengths[:, :3].sum(axis=1)
        length = prompt_length + np.where(has_value, lengths[:, 3] + 1, 0)
        tokens = np.full((len(fact), int(length.max(initial=0))), PAD_ID)
        for start in range(0, len(fact), SENTENCES_AT_ONCE):
            rows = slice(start, start + SENTENCES_AT_ONCE)
            self._write(words[rows], tokens[rows])
        answer_length = lengths[:, 3] + np.where(has_value & self.answers_end_with_eos, 1, 0)
        return Sequences(tokens, prompt_length, answer_length, length)

    def _write(self, words: Int[np.ndarray, "n 4"], tokens: Int[np.ndarray, "n position"]) -> None:
        """Writes BOS, the words' tokens and EOS into rows of padding, from the left."""
        pieces = self.word_tokens[words]
        pieces[words < 0] = -1
        with_gaps = np.full((len(words), 2 + pieces[0].size), BOS_ID)
        with_gaps[:, 1:-1] = rearrange(pieces, "n slot place -> n (slot place)")
        with_gaps[:, -1] = np.where(words[:, 3] >= 0, EOS_ID, -1)
        is_token = with_gaps >= 0
        row, column = np.nonzero(is_token)
        tokens[row, (np.cumsum(is_token, axis=1) - 1)[row, column]] = with_gaps[row, column]

    def text(self, fact: int, language: int, tag: bool = True) -> str:
        """A fact in a language, as readable text."""
        words = self.words_of(np.array([fact]), np.array([language]), tag)[0]
        return " ".join(self.lexicon.words[words[words >= 0]])


def build_corpus(
    config: RunConfig, table: FactTable | None = None, tokenizer: Callable[[], Tokenizer] | None = None
) -> Corpus:
    """The corpus that the settings describe; equal settings give equal data on any machine.

    Args:
        config: the settings.
        table: the facts that a run has kept; None: those of the settings' source are read.
        tokenizer: reads the tokenizer that a run has kept, where it was made from a file (tokenization.kind = file).

    Raises:
        InputError: the settings contradict each other (too few syllables, a BPE vocabulary out of reach), or the source
            of facts can't be read.
    """
    if config.world.source != "generated":
        table = table or source_table(config)
        world, lexicon, origin = world_and_lexicon(table, config.world, config.languages, config.seeds.world)
        return corpus_of(world, lexicon, config, origin, tokenizer)
    world = generate_world(config.world, config.languages.count, config.seeds.world)
    lexicon = generate_lexicon(config.languages, world, config.seeds.languages)
    return corpus_of(world, lexicon, config, tokenizer=tokenizer)


def corpus_of(
    world: World,
    lexicon: Lexicon,
    config: RunConfig,
    origin: Origin | None = None,
    tokenizer: Callable[[], Tokenizer] | None = None,
) -> Corpus:
    """The corpus of given facts and words, from any source; the settings decide the mixture and the tokens.

    Raises:
        InputError: the tokenization does not fit these words.
    """
    mixture = mix(world, config.mixture, config.shares, config.seeds.mixture)
    made = (
        tokenizer()
        if tokenizer and config.tokenization.kind == "file"
        else build_tokenizer(config.tokenization, lexicon.words, _text(world, lexicon), lexicon.syllable_letters)
    )
    return Corpus(world, lexicon, mixture, made, config.languages.cue_dropout, origin)


def crossed(facts: Int[np.ndarray, " n"], n_languages: int) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Every given fact in every language, whether told in it or not: (fact, language), fact by fact."""
    return np.repeat(facts, n_languages), np.tile(np.arange(n_languages), len(facts))


def _text(world: World, lexicon: Lexicon) -> Iterable[str]:
    """Every fact once in every language, with its tag; then the words of no fact, so that they have tokens too."""
    fact, language = crossed(np.arange(world.n_facts), world.n_languages)
    used = sentence_words(world, lexicon, fact, language, tag=True)
    words = np.append(lexicon.words, "")
    yield from (" ".join(row).strip() for row in words[used])
    yield from lexicon.words[np.setdiff1d(np.arange(len(lexicon.words)), used)]
