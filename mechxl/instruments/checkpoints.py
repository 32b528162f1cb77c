"""Reads a checkpoint once, and computes its digest."""

import hashlib
from dataclasses import dataclass

from mechxl.run import Run

VERSION = 2  # of the content of activations.zarr: a new version makes old activations invalid


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint's file, read once, so that the digest always belongs to the parameters in use.

    Attributes:
        content: the file's bytes.
        digest: of everything that activations depend on: the parameters, the sentences, the architecture.
    """

    content: bytes
    digest: str


def read_checkpoint(run: Run, step: int) -> Checkpoint:
    """A saved step.

    Raises:
        InputError: the file can't be read, or is not as training left it.
    """
    content, sha256 = run.read_checkpoint(step)
    # At step 0, two runs may have equal parameters and different sentences.
    about = f"{VERSION} {run.corpus.digest} {run.config.model.model_dump_json()}"
    return Checkpoint(content, hashlib.sha256(about.encode() + bytes.fromhex(sha256)).hexdigest())
