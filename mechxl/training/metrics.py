"""One row of metrics: recall and transfer by group, language and pair, kinds of answers, and the expected loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mechxl.data.corpus import Corpus
from mechxl.data.transfer import TransferItems, transfer_items
from mechxl.model.answers import KINDS, Answers, AnswerTrie, Questions, answer_trie, ask_questions
from mechxl.model.forward import Model
from mechxl.random import generator


@dataclass(frozen=True)
class EvaluationQuestions:
    """The questions of an evaluation, by the suffix of their metrics' names.

    The suffix is empty for questions with the tag shown; corpora with tags also have "_hidden", with the tag hidden.

    Attributes:
        recall: the tellings as questions.
        transfer: the transfer items as questions, and the items themselves.
        parts: for the end of a metric's name ("recall_by_group"), the rows of each group that has questions.
        weights: for each of the groups parallel and mono with questions: its share of all weight; the rows of its
            questions in recall; their weights.
    """

    recall: dict[str, Questions]
    transfer: dict[str, tuple[Questions, TransferItems]]
    parts: dict[str, dict[str, Int[np.ndarray, " _"]]]
    weights: list[tuple[float, Int[np.ndarray, " _"], Float[np.ndarray, " _"]]]

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

    def row(self, model: Model, *, everything: bool = False) -> dict[str, Any]:
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
        for suffix in asked.recall:
            answers = next(each)
            row |= _rates("recall", suffix, answers, asked)
            losses[suffix == ""] = -sum(
                share * float((weight * answers.log_prob[rows]).sum() / weight.sum())
                for share, rows, weight in asked.weights
            )
        for suffix, (_, items) in asked.transfer.items():
            row |= _rates("transfer", suffix, next(each), asked)
            if items.why_none:
                row[f"transfer{suffix}_reason"] = items.why_none
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
        return EvaluationQuestions(recall, transfer, self._parts(recall, transfer), self._weights(recall[""]))

    def _parts(
        self, recall: dict[str, Questions], transfer: dict[str, tuple[Questions, TransferItems]]
    ) -> dict[str, dict[str, Int[np.ndarray, " _"]]]:
        names, mixture = self.corpus.lexicon.language_names, self.corpus.mixture
        parts: dict[str, dict[str, Any]] = {}
        for suffix, questions in recall.items():
            groups = {"parallel": mixture.parallel, "mono": mixture.mono}
            parts[f"recall{suffix}_by_group"] = {name: group[questions.fact] for name, group in groups.items()}
            parts[f"recall{suffix}_by_language"] = {
                name: questions.language == language for language, name in enumerate(names)
            }
        for suffix, (_, items) in transfer.items():
            parts[f"transfer{suffix}_by_pair"] = {
                f"{told}→{asked}": (items.told == a) & (items.asked == b)
                for a, told in enumerate(names)
                for b, asked in enumerate(names)
                if a != b
            }
        return {
            name: {label: np.flatnonzero(rows) for label, rows in groups.items() if rows.any()}
            for name, groups in parts.items()
        }

    def _weights(self, told: Questions) -> list[tuple[float, Int[np.ndarray, " _"], Float[np.ndarray, " _"]]]:
        """As in training; a sampled group counts with its whole weight."""
        weight, weights = self.corpus.mixture.weight, []
        for group in (self.corpus.mixture.parallel, self.corpus.mixture.mono):
            if (in_group := group[told.fact]).any():
                of_rows = weight[told.fact[in_group], told.language[in_group]]
                weights.append((float(weight[group].sum()), np.flatnonzero(in_group), of_rows))
        return weights


def _rates(metric: str, suffix: str, answers: Answers, asked: EvaluationQuestions) -> dict[str, Any]:
    """The rates of one metric over all its questions and over its groups; None (null in JSON) without questions."""
    name, n, right = f"{metric}{suffix}", len(answers.kind), answers.right
    counts = np.bincount(answers.kind, minlength=len(KINDS)).tolist()
    share = [count / n if n else None for count in counts]
    rates = {
        f"{name}_accuracy": share[0],
        f"{name}_value_accuracy": (counts[0] + counts[1]) / n if n else None,
        f"{name}_n": n,
        f"{name}_log_prob": float(answers.log_prob.mean()) if n else None,
        f"{name}_kinds": dict(zip(KINDS, share, strict=True)),
    }
    groups = {part: rows for part, rows in asked.parts.items() if part.rpartition("_by_")[0] == name}
    return rates | {
        part: {label: np.count_nonzero(right[rows]) / len(rows) for label, rows in groups.items()}
        for part, groups in groups.items()
    }


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
