"""Selects checkpoints, facts and roles; the error for an unknown one lists those that exist."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mechxl.data.corpus import Corpus
from mechxl.data.roles import role_names
from mechxl.errors import InputError
from mechxl.random import generator
from mechxl.run import Run

GROUPS = ("mono", "parallel", "unseen")


def choose_steps(run: Run, steps: Any) -> list[int]:
    """The selected saved steps: "all", a step, several steps, or a slice of step numbers that includes both ends.

    Negative numbers count from the end. The third number of a slice, n, keeps every n-th saved step.

    Raises:
        InputError: a step is not saved, or no step is selected.
    """
    saved = run.steps
    if not saved:
        raise InputError(f"{run.path}: has no checkpoints; train the run, or continue it with --resume")
    listed = ", ".join(map(str, saved))

    def one(step: Any) -> int:
        if not isinstance(step, int | np.integer) or isinstance(step, bool):
            raise InputError(f"steps = {step!r}: must be all, a step, several or a slice; there are {listed}")
        if not (-len(saved) <= step < 0 or step in saved):
            raise InputError(f"{run.path}: step {step} is not saved; there are {listed}")
        return saved[step] if step < 0 else int(step)

    if isinstance(steps, str):
        if steps != "all":
            raise InputError(f"steps = {steps}: must be all, a step, several or a slice; there are {listed}")
        return saved
    if isinstance(steps, slice):
        ends = (steps.start, steps.stop, steps.step)
        if not all(end is None or isinstance(end, int | np.integer) for end in ends) or steps.step == 0:
            raise InputError(f"steps = {steps}: a slice takes step numbers; there are {listed}")
        low = saved[0] if steps.start is None else one(steps.start) if steps.start < 0 else steps.start
        high = saved[-1] if steps.stop is None else one(steps.stop) if steps.stop < 0 else steps.stop
        chosen = [step for step in saved if low <= step <= high][:: steps.step]
    elif isinstance(steps, Sequence | np.ndarray):
        chosen = [one(step) for step in steps]
    else:
        return [one(steps)]
    if not chosen:
        raise InputError(f"steps = {steps}: names no saved step; there are {listed}")
    return chosen


def choose_facts(
    corpus: Corpus, facts: Any, relation: int | Sequence[int] | None, n: int | None, seed: int
) -> Int[np.ndarray, " fact"]:
    """The selected facts: a split, indices or a mask; then only some relations; then a seeded sample of n, in order.

    A split has the facts that can be asked in every language.

    Raises:
        InputError: a split, fact or relation does not exist, a fact can't be asked in every language, no fact is left,
            or fewer than n are left.
    """
    world = corpus.world
    if isinstance(facts, str):
        if facts not in ("all", *GROUPS):
            raise InputError(f"facts = {facts}: there is no such split; there are all, {', '.join(GROUPS)}, or indices")
        argument = f"facts = {facts}"
        chosen = np.flatnonzero(world.complete & ((corpus.mixture.group == facts) | (facts == "all")))
    else:
        argument, chosen = "facts", _indices(np.asarray(facts), world.n_facts)
        if not world.complete[chosen].all():
            fact = chosen[~world.complete[chosen]][0]
            raise InputError(f"facts = {fact}: some language has no words for this fact; leave it out")
    if not len(chosen):
        raise InputError(f"{argument}: this run has no such facts")
    if relation is not None:
        wanted = np.atleast_1d(np.asarray(relation))
        for r in wanted.tolist():
            if not isinstance(r, int) or not 0 <= r < world.n_relations:
                raise InputError(f"relation = {r}: there are 0 to {world.n_relations - 1}")
        chosen = chosen[np.isin(world.relation[chosen], wanted)]
        if not len(chosen):
            raise InputError(f"relation = {relation}: none of these facts has it")
    if n is not None:
        if not 1 <= n <= len(chosen):
            raise InputError(f"n = {n}: between 1 and {len(chosen):,} of these facts can be sampled")
        chosen = chosen[np.sort(generator(seed, "facts sampled").permutation(len(chosen))[:n])]
    return chosen


def _indices(facts: np.ndarray, n_facts: int) -> Int[np.ndarray, " fact"]:
    if facts.ndim == 1 and facts.dtype == bool and len(facts) == n_facts:
        return np.flatnonzero(facts)
    if facts.ndim != 1 or (facts.size and not np.issubdtype(facts.dtype, np.integer)):
        raise InputError(f"facts: must be a split, a list of indices, or {n_facts:,} truth values")
    wrong = facts[(facts < 0) | (facts >= n_facts)]
    if len(wrong):
        raise InputError(f"facts = {wrong[0]}: there are 0 to {n_facts - 1:,}")
    return facts.astype(int)


def choose_roles(corpus: Corpus, role: str | Sequence[str], tag: bool) -> list[str]:
    """The selected roles: one, several, or "all" roles of the run's sentences.

    Raises:
        InputError: no sentence of the run has the role.
    """
    known = role_names(corpus, tag)
    asked = [role] if isinstance(role, str) else list(dict.fromkeys(role))
    if asked == ["all"]:
        return known
    if not asked:
        raise InputError(f"role: names no role; there are {', '.join(known)}")
    for name in asked:
        if name not in known:
            hidden = "the tag is hidden" if corpus.has_tags else "these languages have no tag (languages.cue = none)"
            reason = hidden if name == "cue" else "there is no such role in this run"
            raise InputError(f"role = {name}: {reason}; there are {', '.join(known)}")
    return asked
