"""What is asked for, and how it is filled: from the cache, and from the model where the cache has nothing."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from mechxl.data.roles import role_positions
from mechxl.instruments.activations.cache import Cache
from mechxl.instruments.activations.reading import Computer, computing
from mechxl.instruments.checkpoints import Checkpoint, read_checkpoint
from mechxl.run import Run


@dataclass(frozen=True)
class Request:
    """Activations of hooks at roles of facts in languages at steps.

    Attributes:
        run: whose.
        steps: saved steps.
        names: TransformerLens's names of the hooks.
        languages: which languages, by number.
        facts: which facts.
        roles: of the run's roles.
        trailing: the hooks' dimensions beside batch and position, with their sizes.
        tag: whether the tag is shown.
        batch_size: sentences run at once; None: as many as pay and fit.
    """

    run: Run
    steps: Int[np.ndarray, " step"]
    names: np.ndarray
    languages: Int[np.ndarray, " language"]
    facts: Int[np.ndarray, " fact"]
    roles: np.ndarray
    trailing: dict[str, int]
    tag: bool
    batch_size: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is asked for."""
        asked = (self.steps, self.names, self.languages, self.facts, self.roles)
        return (*(len(axis) for axis in asked), *self.trailing.values())

    @property
    def dtype(self) -> np.dtype:
        """The precision of the run's parameters."""
        return np.dtype(self.run.config.training.precision)

    def part(self, *index: Int[np.ndarray, " _"]) -> "Request":
        """Some of the steps, hooks, languages, facts and roles."""
        fields = ("steps", "names", "languages", "facts", "roles")
        return replace(self, **{field: getattr(self, field)[at] for field, at in zip(fields, index, strict=True)})

    @cached_property
    def rows(self) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"]]:
        """(fact, language) of every sentence, language by language."""
        return np.tile(self.facts, len(self.languages)), np.repeat(self.languages, len(self.facts))

    @cached_property
    def lacking(self) -> Bool[np.ndarray, "language fact role"]:
        """Where a sentence lacks a role."""
        found = role_positions(self.run.corpus, *self.rows, self.roles.tolist(), self.tag) < 0
        return found.reshape(len(self.languages), len(self.facts), len(self.roles))

    def fill(self) -> np.ndarray:
        """Reads or computes all that is asked for; beside the result, one batch and one chunk are in memory.

        Raises:
            InputError: a checkpoint can't be read.
        """
        world = self.run.corpus.world
        shape = (world.n_languages, world.n_facts, *self.trailing.values())
        cache = Cache(self.run.file("activations.zarr"), shape, ("language", "fact", *self.trailing), self.dtype)
        groups = [_group(step, read_checkpoint(self.run, step)) for step in self.steps.tolist()]
        cache.prepare(groups)
        result = np.empty(self.shape, self.dtype)
        with ExitStack() as stack:
            computer: Computer | None = None
            for done, (out, step, group) in enumerate(zip(result, self.steps.tolist(), groups, strict=True)):
                missing = self._read(cache, group, out)
                if missing.any():
                    if computer is None:
                        cache.sweep()
                        computer = stack.enter_context(
                            computing(self.run, self.roles.tolist(), self.tag, self.batch_size)
                        )
                    checkpoint = read_checkpoint(self.run, step)
                    if _group(step, checkpoint) != group:  # written anew meanwhile
                        missing[:] = True
                    self._compute(computer, step, checkpoint, out, missing)
                    self._keep(cache, _group(step, checkpoint), out, missing)
                for at, r in np.argwhere(self.lacking.any(axis=1)):
                    out[:, at, self.lacking[at, :, r], r] = np.nan
                if computer is not None:
                    computer.show(done + 1, len(self.steps))
        return result

    def _read(self, cache: Cache, group: str, out: np.ndarray) -> Bool[np.ndarray, "hook language fact"]:
        """Puts what the cache has of one step into `out`, (hook, language, fact, role, ...); returns what it lacks."""
        missing = np.zeros(out.shape[:3], bool)
        for h, at, r in np.ndindex(len(self.names), len(self.languages), len(self.roles)):
            place = out[h, at, :, r]
            some = cache.read(group, self._array(h, r), int(self.languages[at]), self.facts, place)
            absent = np.isnan(place[(slice(None), *(0 for _ in self.trailing))]) if some else True
            missing[h, at] |= absent & ~self.lacking[at, :, r]
        return missing

    def _compute(
        self, computer: Computer, step: int, checkpoint: Checkpoint, out: np.ndarray, missing: Bool[np.ndarray, "h l f"]
    ) -> None:
        """Fills in the sentences of which any hook is missing, for the hooks of which any sentence is."""
        hooks = np.flatnonzero(missing.any(axis=(1, 2)))
        language, fact = np.nonzero(missing.any(axis=0))
        found = computer.read(step, checkpoint, self.names[hooks].tolist(), self.facts[fact], self.languages[language])
        sentence = language * len(self.facts) + fact
        for rows, hook, values in found:
            flat = out[hooks[hook]].reshape(-1, *out.shape[3:])
            flat[sentence[rows]] = values

    def _keep(self, cache: Cache, group: str, out: np.ndarray, missing: Bool[np.ndarray, "hook language fact"]) -> None:
        for h, at, r in np.ndindex(len(self.names), len(self.languages), len(self.roles)):
            rows = np.flatnonzero(missing[h, at] & ~self.lacking[at, :, r])
            if len(rows):
                cache.write(group, self._array(h, r), int(self.languages[at]), self.facts, out[h, at, :, r], rows)

    def _array(self, hook: int, role: int) -> str:
        """The name of an array of the cache."""
        name = f"{self.names[hook]}.{self.roles[role]}"
        return name if self.tag or not self.run.corpus.has_tags else f"{name}.no_tag"


def _group(step: int, checkpoint: Checkpoint) -> str:
    return f"step-{step:06d}-{checkpoint.digest[:20]}"
