"""activations.zarr: a cache of computed activations, by checkpoint, hook and role. It may be deleted.

    activations.zarr/step-000512-DIGEST/HOOK.ROLE   (language, fact, *trailing), NaN where not computed

DIGEST is the digest of the parameters, the sentences and the architecture. It is part of the path, so that values and
digest can never disagree, even if a writer is killed. A chunk holds about 1 MiB of one language's facts. Facts that
nobody has requested are NaN; a later request fills them in. If two processes write one chunk at the same time, the last
write wins; values that it lacks are computed at the next request. What mechxl did not make is never touched: if a link
or a file has the place of one of these folders, activations are computed and not kept.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from mechxl.files import is_partial, kind_of
from mechxl.instruments.activations.chunks import Layout, make_group
from mechxl.owned import aside, in_cache, is_old_group, remove

CHUNK_BYTES = 2**20
LEFT_BEHIND = 3600  # seconds; an older temporary file comes from a killed writer

Rows = slice | Int[np.ndarray, " some"]


class Cache:
    """The cache of one run, for one computation. It warns on stderr, once for each kind of problem.

    Args:
        root: activations.zarr.
        shape: an array's shape, (language, fact, *trailing).
        dims: the names of these dimensions.
        dtype: of the values.
    """

    def __init__(self, root: Path, shape: tuple[int, ...], dims: tuple[str, ...], dtype: np.dtype) -> None:
        blocks = -(-int(np.prod(shape[1:])) * dtype.itemsize // CHUNK_BYTES)
        self.root, self.layout = root, Layout(shape, dims, dtype, -(-shape[1] // blocks))
        self.writable = True
        self.warned: set[str] = set()
        self.folders: dict[Path, bool] = {}  # groups, and whether they can be used

    def warn(self, kind: str, text: str) -> None:
        """Prints a warning on stderr, unless one of the same kind was printed before."""
        if kind not in self.warned:
            self.warned.add(kind)
            print(f"mechxl: {text}", file=sys.stderr, flush=True)

    def prepare(self, groups: list[str]) -> None:
        """Removes activations that other parameters gave at the steps of these groups."""
        if not self._is_folder(self.root):
            return
        group_of_step = {group.rsplit("-", 1)[0]: group for group in groups}
        paths: list[Path] = []
        with suppress(OSError):
            paths = list(self.root.iterdir())
        outdated = [path for path in paths if group_of_step.get(path.name.rsplit("-", 1)[0], path.name) != path.name]
        if outdated := [path for path in outdated if is_old_group(path)]:
            steps = ", ".join(map(str, sorted({int(path.name.split("-")[1]) for path in outdated})))
            self.warn("outdated", f"{self.root}: holds other parameters' activations (step {steps}); computed again")
        for path in outdated:
            _remove(path)
        for path in (self.root, *(self.root / group for group in groups)):
            if kind_of(path) == "directory":
                with suppress(OSError):
                    make_group(path)

    def sweep(self) -> None:
        """Removes temporary files that killed writers left."""
        if kind_of(self.root) != "directory":
            return
        with suppress(OSError):
            for folder, folders, files in os.walk(self.root):  # no link is followed
                for path in [Path(folder, name) for name in files if name.endswith(".partial")]:
                    if is_partial(path) and time.time() - path.lstat().st_mtime > LEFT_BEHIND:
                        path.unlink()
                for path in [Path(folder, name) for name in folders if name.startswith(".old-")]:
                    if is_old_group(path) and time.time() - path.lstat().st_mtime > LEFT_BEHIND:
                        remove(path, in_cache, (path.name,))

    def read(
        self, group: str, name: str, language: int, facts: Int[np.ndarray, " n"], out: Float[np.ndarray, "n *d"]
    ) -> bool:
        """Copies the cached activations of facts in a language into `out`, with NaN for facts that are not cached.

        Returns:
            Whether any chunk was read; if not, `out` does not change.
        """
        array = self.root / group / name
        if not self._are_folders(array):
            return False
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
        """Saves the given rows of the activations of facts in a language."""
        array = self.root / group / name
        if not (self.writable and self._are_folders(array)):
            return
        try:
            if not self.layout.described(array):
                make_group(self.root)
                make_group(array.parent)
                self.layout.describe(array)
            for block, part, inside in self._blocks(facts[rows]):
                path = self.layout.file(array, language, block)
                value_rows = part if len(rows) == len(values) else rows[part]
                if isinstance(inside, slice) and inside.stop == self.layout.block:
                    self.layout.write(path, values[value_rows])  # a whole chunk: nothing to merge
                    continue
                chunk = self._chunk(path)
                chunk = self.layout.empty() if chunk is None else chunk.copy()
                chunk[inside] = values[value_rows]
                self.layout.write(path, chunk)
        except (OSError, ValueError) as error:
            self.writable = False
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            self.warn("unsaved", f"{self.root}: can't be written ({reason}); activations are computed but not saved")

    def _blocks(self, facts: Int[np.ndarray, " n"]) -> Iterator[tuple[int, Rows, Rows]]:
        """For each chunk: its number, which of the facts are in it, and their rows in the chunk."""
        size = self.layout.block
        if len(facts) == self.layout.shape[1] and (np.diff(facts) == 1).all():  # all facts in order: slices copy less
            for start in range(0, len(facts), size):
                part = slice(start, min(start + size, len(facts)))
                yield start // size, part, slice(0, part.stop - start)
            return
        block, row = np.divmod(facts, size)
        for number in np.unique(block):
            part = np.flatnonzero(block == number)
            yield int(number), part, row[part]

    def _chunk(self, path: Path) -> Float[np.ndarray, "block *d"] | None:
        """A chunk; None if it is missing or damaged."""
        try:
            return self.layout.read(path)
        except (OSError, ValueError) as error:
            self._warn_damaged(path, error)
            return None

    def _mend(self, array: Path) -> None:
        """Rewrites an array's metadata if it is missing or damaged. (Chunks have their own checksums.)"""
        with suppress(OSError):
            # A writer writes the metadata before the first chunk. So a reader that finds a chunk rereads the metadata,
            # which may be new. Without a chunk there is no array, or another process is about to write its metadata.
            if any(array.glob("c.*")) and not self.layout.described(array):
                self._warn_damaged(array / "zarr.json", ValueError("it describes another array"))
                self.layout.describe(array)

    def _are_folders(self, array: Path) -> bool:
        """Whether an array's folder and those above it are folders, or nothing yet."""
        if array.parent not in self.folders:
            self.folders[array.parent] = self._is_folder(self.root) and self._is_folder(array.parent)
        return self.folders[array.parent] and self._is_folder(array)

    def _is_folder(self, path: Path) -> bool:
        """Whether a folder, or nothing, is at a path; something else is left alone, and that is said."""
        if (kind := kind_of(path)) in ("directory", "nothing"):
            return True
        self.warn("foreign", f"{path}: is a {kind}, which mechxl did not make; activations are computed but not saved")
        return False

    def _warn_damaged(self, path: Path, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) else error
        self.warn("damaged", f"{path}: is damaged ({reason}); lost activations are computed again")


def _remove(path: Path) -> None:
    """Renames a group, then deletes it, so that no reader sees it half deleted. One that can't be removed stays."""
    old = aside(path)
    with suppress(OSError):
        path.rename(old)
        remove(old, in_cache, (old.name,))
