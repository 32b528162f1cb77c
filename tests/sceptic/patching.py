"""One run's activation put into another run by plain hooks, and what the answers say about a shared pathway."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from torch import Tensor

from tests.sceptic.answering import Item, decode, decoded, kind, longest
from tests.sceptic.reading import Hooks, Reading, padded


@dataclass(frozen=True)
class Pair:
    """A donor fact and a receiver fact of one relation and different values."""

    donor: int
    receiver: int


def hook_name(component: str, layer: int) -> str:
    """Layer 1 is the first block; the stream after layer 0 is the embedding."""
    if component == "resid_post" and layer == 0:
        return "blocks.0.hook_resid_pre"
    block = layer if component == "resid_pre" else layer - 1
    return f"blocks.{block}.hook_{component}"


def position(reading: Reading, item: Item, role: str) -> int:
    """Where the prompt has a role, counted from BOS."""
    slots = reading.slots(*item)
    if role == "prompt_last":
        return len(slots)
    part, end = role.split("_")
    prompt = reading.words(*item)
    word = {"name": reading.name_word, "relation": reading.relation_word}[part][item]
    before = sum(len(reading.cut(one)) for one in prompt[: prompt.index(word)])
    return before + (1 if end == "first" else len(reading.cut(word)))


def hooks_of(
    reading: Reading, step: int, name: str, donors: Sequence[Item], receivers: Sequence[Item], role: str
) -> Hooks:
    """Puts each donor's activation at its role into its receiver's run."""
    tokens, _ = padded([reading.prompt(*item) for item in donors])
    with torch.no_grad():
        _, cache = reading.model(step).run_with_cache(tokens, names_filter=[name])
    rows = torch.arange(len(donors))
    source = cache[name][rows, [position(reading, item, role) for item in donors]]
    at = [position(reading, item, role) for item in receivers]

    def put(content: Tensor, hook: object) -> Tensor:
        content[rows, at] = source
        return content

    return [(name, put)]


def patched(
    reading: Reading, step: int, name: str, donors: Sequence[Item], receivers: Sequence[Item], role: str
) -> list[tuple[int, ...]]:
    """The receivers' greedy answers with their donors' activations."""
    hooks = hooks_of(reading, step, name, donors, receivers, role)
    prompts = [reading.prompt(*item) for item in receivers]
    return decode(reading.model(step), prompts, longest(reading), hooks)


def right(reading: Reading, step: int) -> np.ndarray:
    """Whether the answer to each fact in each language is right without a patch: [fact, language]."""
    items = [(int(fact), language) for fact in reading.seen() for language in range(reading.n_languages)]
    answers = decoded(reading, step, items)
    found = np.zeros((len(reading.entity), reading.n_languages), dtype=bool)
    for item, answer in zip(items, answers, strict=True):
        found[item] = kind(reading, item, answer) == "right"
    return found


def parts(group: str) -> dict[str, bool | None]:
    """The parts of a group's pairs: mono ones by whether the donor fact is answered in the receiver's language too."""
    return {"mono, transferred": True, "mono, not transferred": False} if group == "mono" else {group: None}


def valid_pairs(
    reading: Reading,
    answered: np.ndarray,
    group: str,
    donor_language: int,
    language: int,
    transfers: bool | None = None,
) -> list[Pair]:
    """All pairs of a group: one relation, different values, told in the language that they are asked in, both right.

    With `transfers`, those whose donor fact is (or is not) answered rightly in the receiver's language too.
    """
    facts = np.flatnonzero(reading.group == group)
    donors = [f for f in facts if reading.told[f, donor_language] and answered[f, donor_language]]
    donors = [f for f in donors if transfers is None or answered[f, language] == transfers]
    receivers = [f for f in facts if reading.told[f, language] and answered[f, language]]
    return [
        Pair(int(f), int(g))
        for f in donors
        for g in receivers
        if reading.relation[f] == reading.relation[g]
        and reading.entity[f] != reading.entity[g]
        and reading.value[f, donor_language] != reading.value[g, language]
        and reading.value[f, language] != reading.value[g, language]
    ]


@dataclass(frozen=True)
class Unification:
    """Shares of answers that become the donor's value in the receiver's language, and what follows from them."""

    accuracy: float
    ceiling: float
    null: float
    n: int

    @property
    def ratio(self) -> float:
        """(accuracy - null) / (ceiling - null), NaN where the ceiling is not above the null."""
        return (self.accuracy - self.null) / (self.ceiling - self.null) if self.ceiling > self.null + 0.05 else nan

    def joined(self, other: "Unification") -> "Unification":
        """Both directions, pairs alike."""
        n = self.n + other.n

        def mean(one: float, two: float) -> float:
            return (one * self.n + two * other.n) / n

        return Unification(
            mean(self.accuracy, other.accuracy), mean(self.ceiling, other.ceiling), mean(self.null, other.null), n
        )


def unification(
    reading: Reading, step: int, name: str, role: str, pairs: Sequence[Pair], donor_language: int, language: int
) -> Unification:
    """Accuracy with donors in another language, the ceiling with the same facts in the receivers', and the null.

    The null takes the fact of another pair's donor, of the same relation and with other values than the receiver's.
    """
    receivers, both = [(pair.receiver, language) for pair in pairs], [donor_language, language]
    shares = []
    for asked in (donor_language, language):
        answers = patched(reading, step, name, [(pair.donor, asked) for pair in pairs], receivers, role)
        hits, by_chance = [], []
        for pair, answer in zip(pairs, answers, strict=True):
            hits.append(begins(answer, reading.answer(pair.donor, language)))
            others = [
                begins(answer, reading.answer(other.donor, language))
                for other in pairs
                if other.donor != pair.donor
                and reading.relation[other.donor] == reading.relation[pair.receiver]
                and (reading.value[other.donor, both] != reading.value[pair.receiver, both]).all()
            ]
            by_chance += [np.mean(others)] if others else []
        shares.append((float(np.mean(hits)), float(np.mean(by_chance))))
    return Unification(shares[0][0], shares[1][0], shares[0][1], len(pairs))


def sought(reading: Reading, fact: int, donor_language: int, language: int) -> tuple[int, ...] | None:
    """The donor's value, as its own language has it, in the receiver's words; None if no fact shows that word."""
    key = (int(reading.relation[fact]), int(reading.value[fact, donor_language]), language)
    return reading.answers.get(key)


def begins(answer: tuple[int, ...], value: tuple[int, ...]) -> bool:
    return answer[: len(value)] == value
