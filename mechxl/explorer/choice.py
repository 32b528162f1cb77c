"""What is chosen in the explorer, of what there is in a run."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Int

from mechxl.instruments.patching.patch import choose_prompt_roles
from mechxl.instruments.selection import GROUPS, choose_facts
from mechxl.measures.vectors import CENTRINGS
from mechxl.questions.common import sampled_facts
from mechxl.random import generator
from mechxl.run import Run

SHOWN = 32


@dataclass(frozen=True)
class Choice:
    """What the controls say.

    Attributes:
        step: of the checkpoint.
        layer: 0 (embeddings) to the number of blocks.
        role: of the prompt.
        pair: two languages, as numbers.
        centring: of `mechxl.measures.vectors.CENTRINGS`.
        group: mono, parallel or unseen facts.
        relation: of the facts; None: all.
        shown: facts on the map and the checkerboard, at most.
    """

    step: int
    layer: int
    role: str
    pair: tuple[int, int]
    centring: str
    group: str
    relation: int | None
    shown: int


@dataclass(frozen=True)
class Options:
    """What a run has to choose from; the names are those of Choice."""

    step: list[int]
    layer: list[int]
    role: list[str]
    pair: list[tuple[int, int]]
    centring: list[str]
    group: list[str]
    relation: list[int | None]

    @classmethod
    def of(cls, run: Run) -> "Options":
        """A run's; groups that have at least one fact."""
        corpus, there = run.corpus, set(run.corpus.mixture.group.tolist())
        return cls(
            run.steps,
            list(range(run.config.model.n_layers + 1)),
            choose_prompt_roles(corpus, "all"),
            list(combinations(range(corpus.world.n_languages), 2)),
            list(CENTRINGS),
            [group for group in GROUPS if group in there],
            [None, *range(corpus.world.n_relations)],
        )

    def first(self) -> Choice:
        """What the explorer begins with: the last checkpoint, the first block, where the answer is predicted."""
        layer = min(1, self.layer[-1])
        return Choice(self.step[-1], layer, self.role[-1], self.pair[0], "whole", self.group[0], None, SHOWN)


def measured_facts(run: Run, choice: Choice) -> Int[np.ndarray, " fact"]:
    """The facts that numbers are of: those that the question `unification` samples of a group (and relation, or all),
    so that both show one score."""
    return sampled_facts(run.corpus, choose_facts(run.corpus, choice.group, choice.relation, None, 0))


def shown_places(run: Run, choice: Choice) -> Int[np.ndarray, " shown"]:
    """Places among the facts measured of those that are shown: a seeded sample, ordered by relation and value."""
    facts, world = measured_facts(run, choice), run.corpus.world
    some = generator(0, "explorer").permutation(len(facts))[: choice.shown]
    return some[np.lexsort((some, world.value[facts[some], choice.pair[0]], world.relation[facts[some]]))]
