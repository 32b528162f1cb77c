"""Arrays of activations.zarr on disk: Zarr 3, made and replaced in whole files.

The zarr package writes the metadata, and any reader of Zarr reads the arrays. Chunks are written and read here, as
their bytes and a checksum: zarr hands each chunk to a loop in another thread, which for chunks of this size costs more
than the writing.
"""

import json
from pathlib import Path

import google_crc32c
import numpy as np
import zarr
from jaxtyping import Float
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.storage import MemoryStore

from mechxl.files import write_bytes

PIECE = 2**16
GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}


class Layout:
    """How the arrays (language, fact, *trailing) are stored: a chunk is some facts of one language; NaN: not there.

    Args:
        shape: (language, fact, *trailing).
        dims: their names.
        dtype: floating point.
        block: facts of a chunk.
    """

    def __init__(self, shape: tuple[int, ...], dims: tuple[str, ...], dtype: np.dtype, block: int) -> None:
        self.shape, self.dtype, self.block = shape, dtype.newbyteorder("<"), block
        self.chunk = (block, *shape[2:])
        found = {}
        zarr.create_array(
            MemoryStore(found),
            shape=shape,
            dtype=dtype,
            chunks=(1, *self.chunk),
            fill_value=np.nan,
            dimension_names=dims,
            chunk_key_encoding={"name": "default", "separator": "."},  # files in one folder
            serializer=BytesCodec(endian="little"),
            compressors=Crc32cCodec(),  # activations hardly compress; truncated and changed bytes are seen
        )
        self.metadata: bytes = found["zarr.json"].to_bytes()

    def described(self, array: Path) -> bool:
        """Whether the array's metadata is that of this layout."""
        try:
            content = (array / "zarr.json").read_bytes()
            return content == self.metadata or json.loads(content) == json.loads(self.metadata)
        except (OSError, ValueError):
            return False

    def describe(self, array: Path) -> None:
        """Writes an array's metadata: it is of full size, and nothing is in it yet."""
        array.mkdir(exist_ok=True)
        write_bytes(array / "zarr.json", self.metadata)

    def empty(self) -> Float[np.ndarray, "block *d"]:
        """A chunk in which nothing is."""
        return np.full(self.chunk, np.nan, self.dtype)

    def file(self, array: Path, language: int, block: int) -> Path:
        """The file of a chunk."""
        return array / ".".join(map(str, ("c", language, block, *(0 for _ in self.shape[2:]))))

    def read(self, path: Path) -> Float[np.ndarray, "block *d"] | None:
        """A chunk; None where there is none yet.

        Raises:
            ValueError: it is damaged.
            OSError: it can't be read.
        """
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        values = memoryview(content)[:-4]
        if _checksum(values) != content[-4:]:
            raise ValueError("its checksum is another")
        return np.frombuffer(values, self.dtype).reshape(self.chunk)

    def write(self, path: Path, values: Float[np.ndarray, "block *d"]) -> None:
        """Writes a whole chunk, or nothing."""
        content = np.ascontiguousarray(values, self.dtype).data.cast("B")
        write_bytes(path, content, _checksum(content))


def _checksum(content: memoryview) -> bytes:
    """CRC32C as Zarr's codec appends it; in pieces, as the library takes bytes and a copy of all would cost memory."""
    found = 0
    for start in range(0, len(content), PIECE):
        found = google_crc32c.extend(found, bytes(content[start : start + PIECE]))
    return found.to_bytes(4, "little")


def make_group(path: Path) -> None:
    """A group, so that other tools can walk the store; one that is damaged is made anew."""
    try:
        if json.loads((path / "zarr.json").read_bytes()) == GROUP:
            return
    except (OSError, ValueError):
        path.mkdir(parents=True, exist_ok=True)
    write_bytes(path / "zarr.json", json.dumps(GROUP).encode())
