"""The choice that the explorer's controls make, and the options that a run offers."""

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
    """The state of the controls.

    Attributes:
        step: the training step of the checkpoint.
        layer: 0 (embeddings) to the number of blocks; layer l is the output of TransformerLens's block l - 1.
        role: the role in the prompt whose position is read.
        pair: two languages, by number.
        centring: one of `mechxl.measures.vectors.CENTRINGS`.
        group: mono, parallel or unseen facts.
        relation: facts of this relation only; None: of all relations.
        shown: how many facts the map and the checkerboard show, at most.
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
class Available:
    """The options that a run offers; the fields are those of Choice."""

    step: list[int]
    layer: list[int]
    role: list[str]
    pair: list[tuple[int, int]]
    centring: list[str]
    group: list[str]
    relation: list[int | None]

    @classmethod
    def of(cls, run: Run) -> "Available":
        """The options of this run. Groups without a fact are left out."""
        corpus, groups = run.corpus, set(run.corpus.mixture.group.tolist())
        return cls(
            run.steps,
            list(range(run.config.model.n_layers + 1)),
            choose_prompt_roles(corpus, "all"),
            list(combinations(range(corpus.world.n_languages), 2)),
            list(CENTRINGS),
            [group for group in GROUPS if group in groups],
            [None, *range(corpus.world.n_relations)],
        )

    def first(self) -> Choice:
        """The explorer's first choice: the last checkpoint, layer 1, the role at which the answer is predicted."""
        layer = min(1, self.layer[-1])
        return Choice(self.step[-1], layer, self.role[-1], self.pair[0], "whole", self.group[0], None, SHOWN)


def compared_facts(run: Run, choice: Choice) -> Int[np.ndarray, " fact"]:
    """The facts that cosines, components and scores are computed from.

    They are those that the question `unification` samples of the group, so that both show the same score.
    """
    return sampled_facts(run.corpus, choose_facts(run.corpus, choice.group, choice.relation, None, 0))


def shown_indices(run: Run, choice: Choice) -> Int[np.ndarray, " shown"]:
    """Which of `compared_facts` are shown, by index: a seeded sample, ordered by relation and value."""
    facts, world = compared_facts(run, choice), run.corpus.world
    sample = generator(0, "explorer").permutation(len(facts))[: choice.shown]
    return sample[np.lexsort((sample, world.value[facts[sample], choice.pair[0]], world.relation[facts[sample]]))]
