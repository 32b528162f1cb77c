"""Arrays of activations.zarr on disk, in the format Zarr 3. Each file is written and replaced as a whole.

The zarr package makes the metadata, so any Zarr reader can read the arrays. This module reads and writes the chunks
itself, as bytes and a checksum: zarr passes each chunk to an event loop in another thread, and for chunks of this size
that takes longer than writing them.

A file is a shard of one chunk, as Zarr's sharding codec has it: the values, their checksum, 16 bytes that the shard's
index leaves out, and the index. The 16 bytes are a hash of place (checkpoint, hook, role, language, facts) and
checksum: a whole chunk in another one's place is seen.
"""

import hashlib
import json
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import zarr
from jaxtyping import Float
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.storage import MemoryStore

from mechxl.files import read_bytes, write_bytes

PIECE = 2**16
CHECKSUM = 4  # bytes
GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}


class Layout:
    """How an array (language, fact, *trailing) is stored. A chunk holds some facts of one language; NaN means missing.

    Args:
        shape: (language, fact, *trailing).
        dims: the names of these dimensions.
        dtype: floating point.
        block: the number of facts in a chunk.
    """

    def __init__(self, shape: tuple[int, ...], dims: tuple[str, ...], dtype: np.dtype, block: int) -> None:
        self.shape, self.dtype, self.block = shape, dtype.newbyteorder("<"), block
        self.chunk = (block, *shape[2:])
        files = {}
        zarr.create_array(
            MemoryStore(files),
            shape=shape,
            dtype=dtype,
            chunks=(1, *self.chunk),
            shards=(1, *self.chunk),
            fill_value=np.nan,
            dimension_names=dims,
            chunk_key_encoding={"name": "default", "separator": "."},  # files in one folder
            serializer=BytesCodec(endian="little"),
            compressors=Crc32cCodec(),  # a checksum only: activations hardly compress
        )
        size = int(np.prod(self.chunk)) * self.dtype.itemsize
        index = struct.pack("<QQ", 0, size + CHECKSUM)  # where the chunk begins, and how long it is
        self.size, self.index = size, index + _checksum(memoryview(index))
        self.metadata: bytes = files["zarr.json"].to_bytes()

    def described(self, array: Path) -> bool:
        """Whether the array's metadata is that of this layout."""
        try:
            content = read_bytes(array / "zarr.json")
            return content == self.metadata or json.loads(content) == json.loads(self.metadata)
        except (OSError, ValueError, RecursionError):
            return False

    def describe(self, array: Path) -> None:
        """Writes the metadata of an array of full size that has no chunks yet."""
        array.mkdir(exist_ok=True)
        write_bytes(array / "zarr.json", self.metadata)

    def empty(self) -> Float[np.ndarray, "block *d"]:
        """A chunk of NaN."""
        return np.full(self.chunk, np.nan, self.dtype)

    def file(self, array: Path, language: int, block: int) -> Path:
        """The file of a chunk."""
        return array / ".".join(map(str, ("c", language, block, *(0 for _ in self.shape[2:]))))

    def read(self, path: Path) -> Float[np.ndarray, "block *d"] | None:
        """A chunk; None if its file does not exist yet.

        Raises:
            ValueError: the file is damaged.
            OSError: the file can't be read.
        """
        try:
            content = read_bytes(path, None)
        except (FileNotFoundError, NotADirectoryError):
            return None
        values, tail = memoryview(content)[: self.size], content[self.size :]
        checksum = _checksum(values)
        if len(content) < self.size or tail[:CHECKSUM] != checksum:
            raise ValueError("its checksum is wrong")
        if tail[CHECKSUM:] != self._place(path, checksum) + self.index:
            raise ValueError("it belongs to another place")
        return np.frombuffer(values, self.dtype).reshape(self.chunk)

    def write(self, path: Path, values: Float[np.ndarray, "block *d"]) -> None:
        """Writes a chunk: the whole file, or nothing."""
        content = np.ascontiguousarray(values, self.dtype).data.cast("B")
        checksum = _checksum(content)
        write_bytes(path, content, checksum, self._place(path, checksum), self.index)

    def _place(self, path: Path, checksum: bytes) -> bytes:
        """A hash of a chunk's place and its checksum."""
        place = f"{path.parent.parent.name}/{path.parent.name}/{path.name} {self.shape} {self.dtype.str} "
        return hashlib.blake2b(place.encode() + checksum, digest_size=16).digest()


def _checksum(content: memoryview) -> bytes:
    """CRC32C as Zarr's codec appends it. In pieces: the library takes bytes, and copying all at once costs memory."""
    checksum = 0
    for start in range(0, len(content), PIECE):
        checksum = google_crc32c.extend(checksum, bytes(content[start : start + PIECE]))
    return checksum.to_bytes(4, "little")


def make_group(path: Path) -> None:
    """Makes a Zarr group, so that other tools can list the store. A damaged group is written again."""
    try:
        if json.loads(read_bytes(path / "zarr.json")) == GROUP:
            return
    except (OSError, ValueError, RecursionError):
        path.mkdir(parents=True, exist_ok=True)
    write_bytes(path / "zarr.json", json.dumps(GROUP).encode())
