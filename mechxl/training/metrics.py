"""One row of metrics: recall and transfer by group, language and pair, kinds of answers, and the expected loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.data.corpus import Corpus
from mechxl.data.transfer import TransferItems, transfer_items
from mechxl.model.answers import KINDS, Answers, AnswerTrie, Questions, answer_trie, ask_questions
from mechxl.random import generator

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer


@dataclass(frozen=True)
class EvaluationQuestions:
    """The questions of an evaluation, by the suffix of their metrics' names.

    The suffix is empty for questions with the tag shown; corpora with tags also have "_hidden", with the tag hidden.

    Attributes:
        recall: the tellings as questions.
        transfer: the transfer items as questions, and the items themselves.
    """

    recall: dict[str, Questions]
    transfer: dict[str, tuple[Questions, TransferItems]]

    @property
    def all(self) -> list[Questions]:
        """Those of recall, then those of transfer."""
        return [*self.recall.values(), *(questions for questions, _ in self.transfer.values())]


class Evaluation:
    """Asks a model the questions of a corpus: the same seeded sample each time, and all questions at the last step.

    Args:
        corpus: what is asked.
        most: the most questions that an evaluation asks, stratified by group (parallel and mono tellings, transfer
            items); 0: all questions.
        seed: of the sample.
        device: of the model.
    """

    def __init__(self, corpus: Corpus, most: int, seed: int, device: str) -> None:
        self.corpus, self.most, self.seed, self.device = corpus, most, seed, device
        self.trie: AnswerTrie = answer_trie(corpus)
        self.items = {"": transfer_items(corpus)}
        if corpus.has_tags:
            self.items["_hidden"] = transfer_items(corpus, tag=False)
        self.total = len(corpus.tellings[0]) + len(self.items[""].fact)
        self.questions = self._questions(most)

    def row(self, model: "HookedTransformer", *, everything: bool = False) -> dict[str, Any]:
        """One row of metrics: accuracies, log probabilities in nats, and counts.

        If there are no items at all, a rate is None and the row gives the reason. Groups, languages and pairs without
        items are left out.
        """
        asked = self.asked(everything)
        return self.row_of(asked, [ask_questions(model, questions, self.trie) for questions in asked.all])

    def asked(self, everything: bool) -> EvaluationQuestions:
        """The questions of an evaluation: all, or the sample."""
        return self._questions(0) if everything and self.most and self.total > self.most else self.questions

    def row_of(self, asked: EvaluationQuestions, answered: Sequence[Answers]) -> dict[str, Any]:
        """The row of `row`, from the answers to each of `asked.all`."""
        each = iter(answered)
        row: dict[str, Any] = {}
        losses = {}
        for suffix, questions in asked.recall.items():
            answers = next(each)
            row |= self._recall(suffix, questions, answers)
            losses[suffix == ""] = self._loss(questions, answers)
        for suffix, (questions, items) in asked.transfer.items():
            row |= self._transfer(suffix, questions, items, next(each))
        # Corpora without tags are asked as if the tag were shown.
        states = self.corpus.cue_states if self.corpus.has_tags else [(True, 1.0)]
        return {"loss": float(sum(p * losses[shown] for shown, p in states))} | row

    def _questions(self, most: int) -> EvaluationQuestions:
        share = min(1.0, most / max(self.total, 1)) if most else 1.0
        fact, language = self.corpus.tellings
        parallel = self.corpus.mixture.parallel[fact]
        kept = _stratified(parallel.astype(int), share, self.seed)
        recall, transfer = {}, {}
        for suffix, items in self.items.items():
            tag = suffix == ""
            recall[suffix] = Questions.of(self.corpus, fact[kept], language[kept], tag, self.device)
            pair = items.told * self.corpus.world.n_languages + items.asked
            rows = _stratified(pair, share, self.seed)
            chosen = TransferItems(items.fact[rows], items.asked[rows], items.told[rows], items.left_out)
            transfer[suffix] = Questions.of(self.corpus, chosen.fact, chosen.asked, tag, self.device), chosen
        return EvaluationQuestions(recall, transfer)

    def _loss(self, questions: Questions, answers: Answers) -> float:
        """Mean answer loss over tellings, weighted as in training; a sampled group counts with its whole weight."""
        weight = self.corpus.mixture.weight
        total = 0.0
        for group in (self.corpus.mixture.parallel, self.corpus.mixture.mono):
            in_group = group[questions.fact]
            if in_group.any():
                w = weight[questions.fact[in_group], questions.language[in_group]]
                total -= float(weight[group].sum() * (w * answers.log_prob[in_group]).sum() / w.sum())
        return total

    def _recall(self, suffix: str, questions: Questions, answers: Answers) -> dict[str, Any]:
        names, group = self.corpus.lexicon.language_names, self.corpus.mixture.group[questions.fact]
        row = _rates(f"recall{suffix}", answers)
        groups = {name: group == name for name in ("parallel", "mono")}
        row[f"recall{suffix}_by_group"] = _shares(answers, groups)
        languages = {name: questions.language == language for language, name in enumerate(names)}
        row[f"recall{suffix}_by_language"] = _shares(answers, languages)
        return row

    def _transfer(self, suffix: str, questions: Questions, items: TransferItems, answers: Answers) -> dict[str, Any]:
        names = self.corpus.lexicon.language_names
        row = _rates(f"transfer{suffix}", answers)
        pairs = [(a, b) for a in range(len(names)) for b in range(len(names)) if a != b]
        by_pair = {f"{names[a]}→{names[b]}": (items.told == a) & (items.asked == b) for a, b in pairs}
        row[f"transfer{suffix}_by_pair"] = _shares(answers, by_pair)
        if items.why_none:
            row[f"transfer{suffix}_reason"] = items.why_none
        return row


def _rates(name: str, answers: Answers) -> dict[str, Any]:
    kind = answers.kind
    return {
        f"{name}_accuracy": _mean(kind == 0),
        f"{name}_value_accuracy": _mean(kind <= 1),
        f"{name}_n": len(kind),
        f"{name}_log_prob": _mean(answers.log_prob),
        f"{name}_kinds": {label: _mean(kind == number) for number, label in enumerate(KINDS)},
    }


def _shares(answers: Answers, groups: dict[str, Bool[np.ndarray, " question"]]) -> dict[str, float]:
    """The accuracy of each group that has questions."""
    return {name: float(answers.right[group].mean()) for name, group in groups.items() if group.any()}


def _mean(values: Float[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> float | None:
    """The mean; None (null in JSON) if there are no values."""
    return float(np.mean(values)) if len(values) else None


def _stratified(stratum: Int[np.ndarray, " n"], share: float, seed: int) -> Int[np.ndarray, " kept"]:
    """A seeded sample of rows that keeps `share` of each stratum, at least one."""
    if share >= 1:
        return np.arange(len(stratum))
    kept = []
    for label in np.unique(stratum):
        rows = np.flatnonzero(stratum == label)
        order = generator(seed, f"evaluation sample {label}").permutation(rows)
        kept.append(order[: max(1, int(share * len(rows)))])
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=int)
