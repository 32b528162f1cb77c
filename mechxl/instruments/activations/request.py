"""A request for activations, filled from the cache; what the cache lacks is computed with the model."""

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
        run: the run that is read.
        steps: saved steps.
        names: TransformerLens's names of the hooks.
        languages: which languages, by number.
        facts: which facts.
        roles: which of the run's roles.
        trailing: the hooks' dimensions after batch and position, with their sizes.
        tag: whether the tag is shown.
        batch_size: how many sentences run at once; None: chosen by size.
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
        """The shape of the requested array."""
        axes = (self.steps, self.names, self.languages, self.facts, self.roles)
        return (*(len(axis) for axis in axes), *self.trailing.values())

    @property
    def dtype(self) -> np.dtype:
        """The precision of the run's parameters."""
        return np.dtype("float64" if self.run.config.training.precision == "float64" else "float32")

    def part(self, *index: Int[np.ndarray, " _"]) -> "Request":
        """The request for some of the steps, hooks, languages, facts and roles: an index into each."""
        fields = ("steps", "names", "languages", "facts", "roles")
        return replace(self, **{field: getattr(self, field)[which] for field, which in zip(fields, index, strict=True)})

    @cached_property
    def rows(self) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"]]:
        """(fact, language) of every sentence, language by language."""
        return np.tile(self.facts, len(self.languages)), np.repeat(self.languages, len(self.facts))

    @cached_property
    def lacking(self) -> Bool[np.ndarray, "language fact role"]:
        """Whether a sentence lacks a role."""
        lacking = role_positions(self.run.corpus, *self.rows, self.roles.tolist(), self.tag) < 0
        return lacking.reshape(len(self.languages), len(self.facts), len(self.roles))

    def fill(self) -> np.ndarray:
        """Reads or computes all requested activations. Memory holds the result, one batch and one chunk.

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
                    if _group(step, checkpoint) != group:  # the checkpoint was replaced meanwhile
                        missing[:] = True
                    self._compute(computer, step, checkpoint, out, missing)
                    self._keep(cache, _group(step, checkpoint), out, missing)
                for lang, r in np.argwhere(self.lacking.any(axis=1)):
                    out[:, lang, self.lacking[lang, :, r], r] = np.nan
                if computer is not None:
                    computer.show(done + 1, len(self.steps))
        return result

    def _read(self, cache: Cache, group: str, out: np.ndarray) -> Bool[np.ndarray, "hook language fact"]:
        """Copies one step's cached values into `out`, (hook, language, fact, role, ...); returns which are missing."""
        missing = np.zeros(out.shape[:3], bool)
        for h, lang, r in np.ndindex(len(self.names), len(self.languages), len(self.roles)):
            values = out[h, lang, :, r]
            any_cached = cache.read(group, self._array(h, r), int(self.languages[lang]), self.facts, values)
            absent = np.isnan(values[(slice(None), *(0 for _ in self.trailing))]) if any_cached else True
            missing[h, lang] |= absent & ~self.lacking[lang, :, r]
        return missing

    def _compute(
        self, computer: Computer, step: int, checkpoint: Checkpoint, out: np.ndarray, missing: Bool[np.ndarray, "h l f"]
    ) -> None:
        """Computes every hook that misses a sentence, for every sentence that misses a hook, and fills `out`."""
        hooks = np.flatnonzero(missing.any(axis=(1, 2)))
        language, fact = np.nonzero(missing.any(axis=0))
        names, facts, languages = self.names[hooks].tolist(), self.facts[fact], self.languages[language]
        sentence = language * len(self.facts) + fact
        for rows, hook, values in computer.read(step, checkpoint, names, facts, languages):
            flat = out[hooks[hook]].reshape(-1, *out.shape[3:])
            flat[sentence[rows]] = values

    def _keep(self, cache: Cache, group: str, out: np.ndarray, missing: Bool[np.ndarray, "hook language fact"]) -> None:
        for h, lang, r in np.ndindex(len(self.names), len(self.languages), len(self.roles)):
            rows = np.flatnonzero(missing[h, lang] & ~self.lacking[lang, :, r])
            if len(rows):
                cache.write(group, self._array(h, r), int(self.languages[lang]), self.facts, out[h, lang, :, r], rows)

    def _array(self, hook: int, role: int) -> str:
        """The name of the cache's array for a hook and a role."""
        name = f"{self.names[hook]}.{self.roles[role]}"
        return name if self.tag or not self.run.corpus.has_tags else f"{name}.no_tag"


def _group(step: int, checkpoint: Checkpoint) -> str:
    return f"step-{step:06d}-{checkpoint.digest[:20]}"
