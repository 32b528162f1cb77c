"""The batches and the questions of many runs as common tensors, with a leading member axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.data.tokenization import PAD_ID
from mechxl.model.answers import Answers, AnswerTrie, Sizes, answer, read_answers
from mechxl.model.members import Members, Positions, member_logits, member_stream
from mechxl.model.weights import first_blocks
from mechxl.training.batches import TrainingBatches
from mechxl.training.metrics import Evaluation, EvaluationQuestions
from mechxl.training.pull import Pull, added_loss
from mechxl.training.record import longest_sentence

ROWS_AT_ONCE = {"cpu": 2048, "cuda": 131_072}  # questions, of all members together


@dataclass(frozen=True)
class Tellings:
    """All training sentences of all members, as `TrainingBatches` has them for one; shorter ones are padded.

    Attributes:
        tokens: the model's input.
        positions: the positions with a loss; a slice if they are the same for all sentences of all members.
        targets: the next token at these positions; padding if the position has no loss.
        is_answer: which targets belong to the answer.
    """

    tokens: Int[Tensor, "member sentence pos"]
    positions: Positions
    targets: Int[Tensor, "member sentence asked"]
    is_answer: Bool[Tensor, "member sentence asked"]

    def losses(
        self, members: Members, rows: Int[Tensor, "member batch"]
    ) -> tuple[Float[Tensor, " member"], Float[Tensor, " member"]]:
        """Each member's training loss and the answers' part of it, as `batch_losses` has them for one."""
        positions = self.positions if isinstance(self.positions, slice) else _rows(self.positions, rows)
        scores = member_logits(members, _rows(self.tokens, rows), positions)
        targets = _rows(self.targets, rows)
        by_token = F.cross_entropy(
            scores.flatten(0, 2).to(members.matrix.dtype), targets.flatten(), ignore_index=PAD_ID, reduction="none"
        ).view(targets.shape)
        answers = (by_token.detach() * _rows(self.is_answer, rows)).sum((1, 2)) / rows.shape[1]
        return by_token.sum((1, 2)) / rows.shape[1], answers


def tellings(batches: Sequence[TrainingBatches], device: str) -> Tellings:
    """The training sentences of all members on a device."""
    fixed = {(one.fixed.start, one.fixed.stop) if one.fixed else None for one in batches}
    tokens, targets, answers = (
        _stacked([getattr(one, name) for one in batches], device) for name in ("tokens", "targets", "is_answer")
    )
    if len(fixed) == 1 and (same := fixed.pop()):
        return Tellings(tokens, slice(*same), targets, answers)
    return Tellings(tokens, _stacked([one.positions for one in batches], device), targets, answers)


@dataclass(frozen=True)
class Pulls:
    """The added losses of all members, which act at one layer, each with its weight.

    Attributes:
        tokens: all prompts.
        last: the position of each prompt's last token.
        weight: of each member's loss.
        layer: where they act.
        n_languages: of all members.
    """

    tokens: Int[Tensor, "member prompt pos"]
    last: Int[Tensor, "member prompt"]
    weight: Float[Tensor, " member"]
    layer: int
    n_languages: int

    @classmethod
    def of(cls, pulls: Sequence[Pull], like: Tensor) -> "Pulls":
        """Of members of one layer and one number of languages, on the device and with the precision of `like`."""
        tokens, last = (
            _stacked([getattr(one, name) for one in pulls], str(like.device)) for name in ("tokens", "last")
        )
        weight = torch.tensor([one.weight for one in pulls], dtype=like.dtype, device=like.device)
        return cls(tokens, last, weight, pulls[0].layer, pulls[0].n_languages)

    def losses(self, members: Members, rows: Int[Tensor, "member drawn"]) -> Float[Tensor, " member"]:
        """Each member's added loss, as `Pull.loss` has it for one, from the prompts drawn."""
        weights = first_blocks(members.weights, self.layer)
        resid = member_stream(weights, _rows(self.tokens, rows), _rows(self.last, rows)[..., None])
        vectors = resid.to(members.matrix.dtype).unflatten(1, (-1, self.n_languages))
        return added_loss(vectors, self.weight)


class MemberQuestions:
    """The questions of one evaluation of all members.

    Args:
        evaluations: of the members.
        everything: all questions, or the sample.
        device: of the models.
    """

    def __init__(self, evaluations: Sequence[Evaluation], everything: bool, device: str) -> None:
        self.evaluations = evaluations
        self.asked: list[EvaluationQuestions] = [one.asked(everything) for one in evaluations]
        self.tries: list[AnswerTrie] = [one.trie for one in evaluations]
        each = [asked.all for asked in self.asked]
        width = max((part.tokens.shape[1] for parts in each for part in parts), default=0)
        tokens = [
            [F.pad(part.tokens, (0, width - part.tokens.shape[1]), value=PAD_ID) for part in parts] for parts in each
        ]
        self.tokens = _stacked([torch.cat(parts) for parts in tokens], device)
        # A row of padding asks for one token after one.
        prompts, answers = (
            [torch.cat([getattr(part, name) for part in parts]) for parts in each]
            for name in ("prompt_length", "answer_length")
        )
        self.prompt_length = _stacked(prompts, device).clamp(min=1)
        self.answer_length = _stacked(answers, device)
        self.sizes = Sizes(
            int(self.prompt_length.max()),
            int(self.answer_length.max()),
            decoded=max(trie.longest for trie in self.tries),
            context=max(longest_sentence(one.corpus) for one in evaluations),
        )
        self.at_once = max(1, ROWS_AT_ONCE.get(device.split(":")[0], 8192) // len(evaluations))

    @torch.no_grad()
    def ask(self, members: Members) -> tuple[Float[Tensor, "member question"], Int[Tensor, "member question place"]]:
        """log p of the right answers, and decoded tokens, on the models' device."""
        n = len(self.tokens)

        def forward(tokens: Tensor, positions: Tensor) -> Tensor:
            by_member = (x.unflatten(0, (n, -1)) for x in (tokens, positions))
            return member_logits(members, *by_member).flatten(0, 1)

        parts = []
        for start in range(0, self.tokens.shape[1], self.at_once):
            tokens, prompts, answers = (
                x[:, start : start + self.at_once].flatten(0, 1)
                for x in (self.tokens, self.prompt_length, self.answer_length)
            )
            log_prob, decoded = answer(forward, forward, tokens, prompts, answers, self.sizes)
            parts.append((log_prob.unflatten(0, (n, -1)), decoded.unflatten(0, (n, -1))))
        return torch.cat([part[0] for part in parts], dim=1), torch.cat([part[1] for part in parts], dim=1)

    def row(
        self, member: int, log_prob: Float[np.ndarray, " question"], decoded: Int[np.ndarray, "question place"]
    ) -> dict[str, Any]:
        """One member's row of metrics, from its part of what `ask` returns."""
        answered: list[Answers] = []
        start, trie = 0, self.tries[member]
        for questions in self.asked[member].all:
            part = slice(start, start + len(questions))
            answered.append(read_answers(questions, trie, log_prob[part], decoded[part, : trie.longest]))
            start = part.stop
        return self.evaluations[member].row_of(self.asked[member], answered)


def _rows(x: Tensor, rows: Int[Tensor, "member batch"]) -> Tensor:
    """For each member, some of its rows."""
    n, sentences = x.shape[:2]
    first = torch.arange(n, device=x.device)[:, None] * sentences
    return x.flatten(0, 1)[rows + first]


def _stacked(each: Sequence[Tensor], device: str) -> Tensor:
    """Tensors of one number of dimensions on one axis before them, padded with zeros (PAD_ID) at their ends."""
    assert PAD_ID == 0
    shape = [max(sizes) for sizes in zip(*(one.shape for one in each), strict=True)]
    stacked = torch.zeros(len(each), *shape, dtype=each[0].dtype, device=device)
    for row, one in zip(stacked, each, strict=True):
        row[tuple(slice(size) for size in one.shape)] = one
    return stacked
