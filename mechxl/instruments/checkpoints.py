"""Reads a checkpoint once, computes its digest, and loads it into a model."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mechxl.errors import InputError
from mechxl.run import Run

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

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


def use_checkpoint(run: Run, step: int, checkpoint: Checkpoint, model: "HookedTransformer") -> None:
    """Loads a checkpoint's parameters into the run's model.

    Raises:
        InputError: the parameters do not fit this run's model.
    """
    from safetensors.torch import load

    from mechxl.model.hooked import copy_parameters  # TransformerLens takes seconds to import

    try:
        copy_parameters(model, load(checkpoint.content))
    except Exception as error:  # the library raises no narrower class
        raise InputError(
            f"{run.checkpoint(step)}: can't be read as this run's parameters ({error}); train the run again"
        ) from error
