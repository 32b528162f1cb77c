"""Asks the model: its decoded answer, the log probability of the right answer, and the kind of the answer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.data.tokenization import EOS_ID, PAD_ID
from mechxl.model.forward import Model, lean_logits
from mechxl.model.sharing import Shared, shared

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

KINDS = ("right", "right_value_other_language", "wrong_value", "other")
Forward = Callable[[Tensor, Tensor], Tensor]  # (tokens, positions) -> logits
ROWS_AT_ONCE = 2048  # so many rows' activations fit into a processor's cache
LOGITS_AT_ONCE = 2**24  # numbers: of many tokens a row, in a vocabulary of thousands


@dataclass(frozen=True)
class AnswerTrie:
    """All value words of all languages as a trie over answer tokens: a decoded token leads from one state to the next.

    Attributes:
        column: the column of `next` for each token; 0 for tokens that are in no answer.
        next: the state after a token; -1: no value word begins with these tokens.
        word: the value word that a state completes; -1: it completes none.
        longest: the number of tokens of the longest answer.
    """

    column: Int[np.ndarray, " token"]
    next: Int[np.ndarray, "state column"]
    word: Int[np.ndarray, " state"]
    longest: int

    def read(self, tokens: Int[np.ndarray, "answer place"]) -> Int[np.ndarray, " answer"]:
        """The value word that each decoded answer begins with; -1: it begins with no value word."""
        state = np.zeros(len(tokens), dtype=int)
        word = np.full(len(tokens), -1)
        for token in tokens.T:
            state = np.where(state >= 0, self.next[state, self.column[token]], -1)
            word = np.where((state >= 0) & (word < 0), self.word[state], word)
        return word


def answer_trie(corpus: Corpus) -> AnswerTrie:
    """The trie of the corpus's value words as answers (with EOS if answers end with it)."""
    words = np.unique(corpus.lexicon.value_words[corpus.lexicon.value_words >= 0])
    end = [EOS_ID] if corpus.answers_end_with_eos else []
    answers = {int(word): [*(t for t in corpus.word_tokens[word].tolist() if t >= 0), *end] for word in words}
    used = sorted({token for answer in answers.values() for token in answer})
    column = np.zeros(corpus.tokenizer.get_vocab_size(), dtype=int)
    column[used] = np.arange(1, len(used) + 1)
    following: list[dict[int, int]] = [{}]
    complete = {}
    for word, answer in answers.items():
        state = 0
        for token in answer:
            if token not in following[state]:
                following[state][token] = len(following)
                following.append({})
            state = following[state][token]
        complete[state] = word
    table = np.full((len(following), len(used) + 1), -1)
    for state, children in enumerate(following):
        for token, child in children.items():
            table[state, column[token]] = child
    word_of = np.array([complete.get(state, -1) for state in range(len(following))])
    return AnswerTrie(column, table, word_of, max(len(answer) for answer in answers.values()))


@dataclass(frozen=True)
class Questions:
    """Facts asked in languages, as tensors on the model's device.

    Attributes:
        corpus: the corpus of the facts.
        fact: the fact of each question.
        language: the language of each question.
        tokens: the whole sentences, right-padded.
        prompt_length: the number of tokens of each prompt.
        answer_length: the number of tokens of each answer.
    """

    corpus: Corpus
    fact: Int[np.ndarray, " question"]
    language: Int[np.ndarray, " question"]
    tokens: Int[Tensor, "question position"]
    prompt_length: Int[Tensor, " question"]
    answer_length: Int[Tensor, " question"]

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        fact: Int[np.ndarray, " question"],
        language: Int[np.ndarray, " question"],
        tag: bool = True,
        device: str = "cpu",
    ) -> "Questions":
        """The given facts asked in the given languages, with the tag shown or hidden."""
        s = corpus.sequences(fact, language, tag)
        tensors = (torch.as_tensor(x, device=device) for x in (s.tokens, s.prompt_length, s.answer_length))
        return cls(corpus, fact, language, *tensors)

    def __len__(self) -> int:
        return len(self.fact)

    @cached_property
    def values(self) -> tuple[Int[np.ndarray, " question"], Int[np.ndarray, " question"]]:
        """(relation, value in the asked language) of each question."""
        world = self.corpus.world
        return world.relation[self.fact], world.value[self.fact, self.language]

    @cached_property
    def words(
        self,
    ) -> tuple[Int[np.ndarray, " question"], Int[np.ndarray, "language question"], Int[np.ndarray, "value question"]]:
        """The right word of each question, its value's words in all languages, and all values' words in its own."""
        words, (relation, value) = self.corpus.lexicon.value_words, self.values
        right = words[relation, value, self.language]
        of_values = np.ascontiguousarray(words[relation, :, self.language].T)
        return right, np.ascontiguousarray(words[relation, value].T), of_values

    @cached_property
    def parts(self) -> list[tuple[Int[Tensor, " asked"], Shared]]:
        """The questions in batches, ordered by tokens, each batch with what its questions share."""
        order = torch.as_tensor(np.lexsort(self.tokens.cpu().numpy().T[::-1]), device=self.tokens.device)
        return [
            (rows, shared(self.tokens[rows], int(self.prompt_length[rows].min()) - 1, len(rows)))
            for rows in order.split(min(ROWS_AT_ONCE, max(1, self.fit_at_once)))
        ]

    @property
    def fit_at_once(self) -> int:
        """The number of questions whose answers' logits fit into `LOGITS_AT_ONCE`; real answers may be long."""
        longest = int(self.answer_length.max()) if len(self) else 1
        return LOGITS_AT_ONCE // (max(longest, 1) * self.corpus.tokenizer.get_vocab_size())


@dataclass(frozen=True)
class Answers:
    """The model's answers.

    Attributes:
        log_prob: log p of the right answer, summed over its tokens, in nats.
        word: the value word that greedy decoding gives; -1: it gives no value word.
        kind: index into KINDS.
    """

    log_prob: Float[np.ndarray, " question"]
    word: Int[np.ndarray, " question"]
    kind: Int[np.ndarray, " question"]

    @property
    def right(self) -> Bool[np.ndarray, " question"]:
        """Exact match of the whole answer under greedy decoding."""
        return self.kind == 0


def ask_questions(model: Model, questions: Questions, trie: AnswerTrie) -> Answers:
    """The model's answers under greedy decoding, and the log probability of the right ones."""
    log_prob, decoded = np.zeros(len(questions)), np.zeros((len(questions), trie.longest), dtype=int)
    for rows, common in questions.parts if len(questions) else ():
        prompts, answers = questions.prompt_length[rows], questions.answer_length[rows]
        sizes = Sizes(int(prompts.max()), int(answers.max()), decoded=1, context=questions.tokens.shape[1])
        whole, begun = (partial(lean_logits, model, common=shared) for shared in (common, common.beginnings()))
        of_right, tokens = answer(whole, begun, questions.tokens[rows], prompts, answers, sizes)
        row_index = rows.cpu().numpy()
        log_prob[row_index] = of_right.double().cpu().numpy()
        decoded[row_index] = _decoded(model, questions.tokens[rows], prompts, common, tokens, trie)
    return read_answers(questions, trie, log_prob, decoded)


@torch.no_grad()
def _decoded(
    model: Model,
    tokens: Int[Tensor, "question position"],
    prompt_length: Int[Tensor, " question"],
    common: Shared,
    first: Int[Tensor, "question one"],
    trie: AnswerTrie,
) -> Int[np.ndarray, "question place"]:
    """Greedily decoded tokens. Once a question's tokens are a value's word, or can't become one, no more are decoded.

    Args:
        model: that is asked.
        tokens: the sentences, right-padded.
        prompt_length: of each question.
        common: what the sentences share.
        first: the first decoded token of each.
        trie: of all answers.
    """
    found = np.full((len(tokens), trie.longest), PAD_ID)
    found[:, :1] = first.cpu().numpy()
    grown = F.pad(tokens, (0, trie.longest), value=PAD_ID)
    grown.masked_fill_(torch.arange(grown.shape[1], device=tokens.device) >= prompt_length[:, None], PAD_ID)
    open_rows, state = np.arange(len(tokens)), np.zeros(len(tokens), dtype=int)
    begun = common.beginnings()
    for done in range(1, trie.longest):
        state = trie.next[state, trie.column[found[open_rows, done - 1]]]
        goes_on = (state >= 0) & (trie.word[state] < 0)
        open_rows, state = open_rows[goes_on], state[goes_on]
        if not len(open_rows):
            break
        rows = torch.as_tensor(open_rows, device=tokens.device)
        position = (prompt_length[rows] - 1 + done)[:, None]
        last = torch.as_tensor(found[open_rows, done - 1], device=tokens.device)
        grown[rows[:, None], position] = last[:, None]
        width = int(position.max()) + 1
        scores = lean_logits(model, grown[rows, :width], position, begun[rows])
        found[open_rows, done] = scores[:, 0].argmax(-1).cpu().numpy()
    return found


def read_answers(
    questions: Questions,
    trie: AnswerTrie,
    log_prob: Float[np.ndarray, " question"],
    decoded: Int[np.ndarray, "question place"],
) -> Answers:
    """What decoded tokens answer.

    Raises:
        ValueError: a fact has no value.
    """
    if not len(questions):
        return Answers(np.zeros(0), np.zeros(0, dtype=int), np.zeros(0, dtype=int))
    if (questions.values[1] < 0).any():
        raise ValueError("a fact without a value has no right answer; use answer_log_probs for such questions")
    word = trie.read(decoded)
    return Answers(log_prob, word, kinds_of(questions, word))


@dataclass(frozen=True)
class Sizes:
    """Numbers of tokens: of the longest prompt, of the longest right answer, how many are decoded, and the context's.

    A model's context holds each of its prompts with each of its answers. Of several models, one may have the longest
    prompt and another the longest answer: what a row decodes beyond the context is no answer of its own, and not read.
    """

    prompt: int
    answer: int
    decoded: int
    context: int


@torch.no_grad()
def answer(
    whole: Forward,
    begun: Forward,
    tokens: Int[Tensor, "question position"],
    prompt_length: Int[Tensor, " question"],
    answer_length: Int[Tensor, " question"],
    sizes: Sizes,
) -> tuple[Float[Tensor, " question"], Int[Tensor, "question place"]]:
    """log p of the right answers, and greedily decoded tokens.

    Args:
        whole: logits of whole sentences at some positions.
        begun: the same for prompts that go on with other tokens.
        tokens: the sentences, right-padded.
        prompt_length: of each question.
        answer_length: of each question.
        sizes: the largest of both, so that no value has to be read back from a device; and how many to decode.
    """
    place = torch.arange(sizes.answer, device=tokens.device)
    inside = place < answer_length[:, None]
    positions = (prompt_length[:, None] - 1 + place).clamp(max=tokens.shape[1] - 2)
    read = min(sizes.prompt + sizes.answer, tokens.shape[1]) - 1
    logits = whole(tokens[:, :read], positions)
    target = tokens.gather(1, positions + 1)
    log_prob = (logits.log_softmax(-1).gather(2, target[..., None])[..., 0] * inside).sum(1)

    # The first token's logits do not depend on the answer, so greedy decoding reuses those from above.
    decoded = [logits[:, 0].argmax(-1)]
    grown = torch.cat([tokens, tokens.new_full((len(tokens), sizes.decoded), PAD_ID)], dim=1)
    grown.masked_fill_(torch.arange(grown.shape[1], device=tokens.device) >= prompt_length[:, None], PAD_ID)
    for done in range(1, sizes.decoded):
        position = (prompt_length - 1 + done).clamp(max=sizes.context - 1)[:, None]
        grown.scatter_(1, position, decoded[-1][:, None])
        width = min(sizes.prompt + done, sizes.context)
        decoded.append(begun(grown[:, :width], position)[:, 0].argmax(-1))
    return log_prob, torch.stack(decoded, dim=1)


def kinds_of(questions: Questions, word: Int[np.ndarray, " question"]) -> Int[np.ndarray, " question"]:
    """The kind of each answer; if a word belongs to several languages, the asked language counts."""
    right, other_language, wrong_value = questions.words
    kind = np.full(len(word), 3)
    kind[(other_language == word).any(axis=0)] = 1
    kind[(wrong_value == word).any(axis=0)] = 2
    kind[word == right] = 0
    kind[word < 0] = 3
    return kind


@torch.no_grad()
def answer_log_probs(
    model: "HookedTransformer", questions: Questions, words: Int[np.ndarray, "question candidate"]
) -> Float[np.ndarray, "question candidate"]:
    """log p of candidate answers to each question, in nats: the sum over their tokens (and EOS if answers end so).

    Args:
        model: a HookedTransformer.
        questions: only their prompts are used.
        words: the candidates as word indices; -1 gives NaN.
    """
    corpus, device = questions.corpus, questions.tokens.device
    answers = corpus.word_tokens[words]
    answers[words < 0] = -1
    length = (answers >= 0).sum(axis=2)
    if corpus.answers_end_with_eos:
        answers = np.concatenate([answers, np.full((*words.shape, 1), -1)], axis=2)
        np.put_along_axis(answers, length[..., None], EOS_ID, axis=2)
        length = length + 1
    width = int(length.max())
    target = torch.as_tensor(np.maximum(answers[:, :, :width], PAD_ID), device=device)
    by_token = np.zeros((*words.shape, width))
    for asked, common in questions.parts:
        fit = min(ROWS_AT_ONCE, max(1, LOGITS_AT_ONCE // (width * corpus.tokenizer.get_vocab_size())))
        for chosen in torch.arange(len(asked), device=device).split(max(1, fit // words.shape[1])):
            rows = asked[chosen]
            log_probs = _log_probs(
                model, questions.tokens[rows], common[chosen], questions.prompt_length[rows], target[rows]
            )
            by_token[rows.cpu().numpy()] = log_probs.double().cpu().numpy()
    total = np.where(np.arange(width) < length[..., None], by_token, 0.0).sum(axis=2)
    return np.where(words >= 0, total, np.nan)


def _log_probs(
    model: "HookedTransformer",
    tokens: Int[Tensor, "question position"],
    common: Shared,
    prompt_length: Int[Tensor, " question"],
    target: Int[Tensor, "question candidate place"],
) -> Float[Tensor, "question candidate place"]:
    """log p of each token of each candidate, given the prompt and the candidate's earlier tokens."""
    n, candidates, width = target.shape
    if width == 1:
        logits = lean_logits(model, tokens[:, : int(prompt_length.max())], prompt_length[:, None] - 1, common)
        return logits.log_softmax(-1).gather(2, target[:, None, :, 0])[:, 0, :, None]
    prompt_length = prompt_length.repeat_interleave(candidates)
    common = common.beginnings()[torch.arange(n, device=tokens.device).repeat_interleave(candidates)]
    target = target.flatten(0, 1)
    grown = F.pad(tokens.repeat_interleave(candidates, dim=0), (0, width - 1), value=PAD_ID)
    positions = prompt_length[:, None] - 1 + torch.arange(width, device=tokens.device)
    grown.scatter_(1, positions[:, 1:], target[:, :-1])
    logits = lean_logits(model, grown[:, : int(positions.max()) + 1], positions, common)
    by_token = logits.log_softmax(-1).gather(2, target[..., None])[..., 0]
    return by_token.unflatten(0, (n, candidates))
