"""Which checkpoints, facts and roles are asked for; refusals name what there is."""

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
    """The saved steps that are meant: "all", a step, several, or a slice of step numbers with both ends.

    Negative numbers count from the end; a slice's own step takes every so many of the saved ones.

    Raises:
        InputError: a step that is not saved, or no step.
    """
    saved = run.steps
    if not saved:
        raise InputError(f"{run.path}: has no checkpoints; train the run, or go on with --resume")
    listed = ", ".join(map(str, saved))

    def one(step: Any) -> int:
        if not isinstance(step, int | np.integer) or isinstance(step, bool):
            raise InputError(f"steps = {step!r}: is not all, a step, several or a slice; there are {listed}")
        if not (-len(saved) <= step < 0 or step in saved):
            raise InputError(f"{run.path}: step {step} is not saved; there are {listed}")
        return saved[step] if step < 0 else int(step)

    if isinstance(steps, str):
        if steps != "all":
            raise InputError(f"steps = {steps}: is not all, a step, several or a slice; there are {listed}")
        return saved
    if isinstance(steps, slice):
        ends = (steps.start, steps.stop, steps.step)
        if not all(end is None or isinstance(end, int | np.integer) for end in ends) or steps.step == 0:
            raise InputError(f"steps = {steps}: a slice is of step numbers; there are {listed}")
        low = saved[0] if steps.start is None else one(steps.start) if steps.start < 0 else steps.start
        high = saved[-1] if steps.stop is None else one(steps.stop) if steps.stop < 0 else steps.stop
        found = [step for step in saved if low <= step <= high][:: steps.step]
    elif isinstance(steps, Sequence | np.ndarray):
        found = [one(step) for step in steps]
    else:
        return [one(steps)]
    if not found:
        raise InputError(f"steps = {steps}: names no saved step; there are {listed}")
    return found


def choose_facts(
    corpus: Corpus, facts: Any, relation: int | Sequence[int] | None, n: int | None, seed: int
) -> Int[np.ndarray, " fact"]:
    """The facts that are meant: a split, indices or a mask; of some relations; a seeded sample of n, in order.

    Raises:
        InputError: there is no such split, fact or relation, no fact is left, or fewer than n are.
    """
    world = corpus.world
    if isinstance(facts, str):
        if facts not in ("all", *GROUPS):
            raise InputError(f"facts = {facts}: there is no such split; there are all, {', '.join(GROUPS)}, or indices")
        said = f"facts = {facts}"
        found = np.arange(world.n_facts) if facts == "all" else np.flatnonzero(corpus.mixture.group == facts)
    else:
        said, found = "facts", _indices(np.asarray(facts), world.n_facts)
    if not len(found):
        raise InputError(f"{said}: this run has no such facts")
    if relation is not None:
        wanted = np.atleast_1d(np.asarray(relation))
        for r in wanted.tolist():
            if not isinstance(r, int) or not 0 <= r < world.n_relations:
                raise InputError(f"relation = {r}: there are 0 to {world.n_relations - 1}")
        found = found[np.isin(world.relation[found], wanted)]
        if not len(found):
            raise InputError(f"relation = {relation}: none of these facts has it")
    if n is not None:
        if not 1 <= n <= len(found):
            raise InputError(f"n = {n}: between 1 and {len(found):,} of these facts can be sampled")
        found = found[np.sort(generator(seed, "facts sampled").permutation(len(found))[:n])]
    return found


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
    """The roles that are meant: one, several, or "all" that some sentence has.

    Raises:
        InputError: no sentence of the run has it.
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
