"""activations.zarr: what was computed, by checkpoint, hook and role; a cache, which may be deleted.

    activations.zarr/step-000512-DIGEST/HOOK.ROLE   (language, fact, *trailing), NaN where not computed

DIGEST is that of the parameters, the sentences and the architecture. It stands in the path, not beside the values, so
that at no moment values and digest disagree, whoever writes and whenever they are killed. A chunk is about 1 MiB of one
language's facts. Facts that were not asked for stay NaN; asking for them later fills them in. Two processes that fill
one chunk at once write what each knows: the later stands, and what it lacks is computed when it is asked for again.
"""

import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from mechxl.files import TEMPORARY
from mechxl.instruments.activations.chunks import Layout, make_group

CHUNK_BYTES = 2**20
LEFT_BEHIND = 3600  # seconds after which a temporary file has no writer any more

Rows = slice | Int[np.ndarray, " some"]


class Cache:
    """The cache of one run, for one computation; says on stderr, once a kind, what it could not use or keep.

    Args:
        root: activations.zarr.
        shape: (language, fact, *trailing) of an array.
        dims: their names.
        dtype: of the values.
    """

    def __init__(self, root: Path, shape: tuple[int, ...], dims: tuple[str, ...], dtype: np.dtype) -> None:
        blocks = -(-int(np.prod(shape[1:])) * dtype.itemsize // CHUNK_BYTES)
        self.root, self.layout = root, Layout(shape, dims, dtype, -(-shape[1] // blocks))
        self.writable = True
        self.said: set[str] = set()

    def say(self, kind: str, text: str) -> None:
        """A message on stderr, one of a kind."""
        if kind not in self.said:
            self.said.add(kind)
            print(f"mechxl: {text}", file=sys.stderr, flush=True)

    def prepare(self, groups: list[str]) -> None:
        """Removes what was computed from other parameters at the steps of these groups."""
        self._clear(self.root)
        of_step = {group.rsplit("-", 1)[0]: group for group in groups}
        here: list[Path] = []
        with suppress(OSError):
            here = list(self.root.iterdir())
        others = [path for path in here if of_step.get(path.name.rsplit("-", 1)[0], path.name) != path.name]
        if others:
            listed = ", ".join(map(str, sorted({int(path.name.split("-")[1]) for path in others})))
            self.say("others", f"{self.root}: holds other parameters' activations (step {listed}); computed anew")
        for path in others:
            _remove(path)
        for path in (self.root, *(self.root / group for group in groups)):
            if path.is_dir():
                with suppress(OSError):
                    make_group(path)

    def sweep(self) -> None:
        """Removes what killed writers left behind."""
        for pattern in (TEMPORARY, ".old-*"):
            with suppress(OSError):
                for path in list(self.root.rglob(pattern)):
                    if time.time() - path.stat().st_mtime > LEFT_BEHIND:
                        _remove(path)

    def read(
        self, group: str, name: str, language: int, facts: Int[np.ndarray, " n"], out: Float[np.ndarray, "n *d"]
    ) -> bool:
        """Puts the activations of facts in a language into `out`, NaN where they are not here.

        Returns:
            Whether any are here; if not, `out` is left as it is.
        """
        array = self.root / group / name
        if not self.layout.described(array):
            self._mend(array)
        chunks = [
            (self._chunk(self.layout.file(array, language, block)), part, inside)
            for block, part, inside in self._blocks(facts)
        ]
        if all(chunk is None for chunk, _, _ in chunks):
            return False
        for chunk, part, inside in chunks:
            out[part] = np.nan if chunk is None else chunk[inside]
        return True

    def write(
        self,
        group: str,
        name: str,
        language: int,
        facts: Int[np.ndarray, " n"],
        values: Float[np.ndarray, "n *d"],
        rows: Int[np.ndarray, " kept"],
    ) -> None:
        """Adds the activations of facts in a language to what is here, for those rows of them."""
        if not self.writable:
            return
        array = self.root / group / name
        try:
            if not self.layout.described(array):
                make_group(self.root)
                make_group(array.parent)
                self.layout.describe(array)
            for block, part, inside in self._blocks(facts[rows]):
                path = self.layout.file(array, language, block)
                of_rows = part if len(rows) == len(values) else rows[part]
                if isinstance(inside, slice) and inside.stop == self.layout.block:
                    self.layout.write(path, values[of_rows])  # all there is to know
                    continue
                chunk = self._chunk(path)
                chunk = self.layout.empty() if chunk is None else chunk.copy()
                chunk[inside] = values[of_rows]
                self.layout.write(path, chunk)
        except (OSError, ValueError) as error:
            self.writable = False
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            self.say("unkept", f"{self.root}: can't be written ({reason}); activations are computed and not kept")

    def _blocks(self, facts: Int[np.ndarray, " n"]) -> Iterator[tuple[int, Rows, Rows]]:
        """By chunk: its number, which of the facts are in it, and their rows there."""
        size = self.layout.block
        if len(facts) == self.layout.shape[1] and (np.diff(facts) == 1).all():  # all, in order: no copies by index
            for start in range(0, len(facts), size):
                part = slice(start, min(start + size, len(facts)))
                yield start // size, part, slice(0, part.stop - start)
            return
        block, row = np.divmod(facts, size)
        for number in np.unique(block):
            part = np.flatnonzero(block == number)
            yield int(number), part, row[part]

    def _chunk(self, path: Path) -> Float[np.ndarray, "block *d"] | None:
        """A chunk; None where it is missing or damaged."""
        try:
            return self.layout.read(path)
        except (OSError, ValueError) as error:
            self._say_damaged(path, error)
            return None

    def _mend(self, array: Path) -> None:
        """Writes metadata anew that is missing or damaged; the chunks have checksums of their own."""
        self._clear(array.parent)
        self._clear(array)
        with suppress(OSError):
            # A writer describes an array before its first chunk: whoever sees a chunk must look again at what was not
            # there before. Without a chunk there is no such array, or someone is about to describe it.
            if any(array.glob("c.*")) and not self.layout.described(array):
                self._say_damaged(array / "zarr.json", ValueError("it does not describe this array"))
                self.layout.describe(array)

    def _clear(self, path: Path) -> None:
        """Removes a file where a folder belongs."""
        if path.is_file():
            self._say_damaged(path, ValueError("it is no folder"))
            _remove(path)

    def _say_damaged(self, path: Path, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) else error
        self.say("damaged", f"{path}: is damaged ({reason}); what it lacks is computed anew")


def _remove(path: Path) -> None:
    """Moves something away, then deletes it, so that nobody finds half of it; what can't be removed stays."""
    old = path.with_name(f".old-{uuid.uuid4().hex}")
    with suppress(OSError):
        path.rename(old)
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink()
