"""Checkpoints as activations are computed from: read once, digested, put into a model."""

import hashlib
from dataclasses import dataclass

from safetensors.torch import load

from mechxl.errors import InputError
from mechxl.model.hooked import HookedTransformer, copy_parameters
from mechxl.run import Run

VERSION = 1  # of what activations.zarr holds: one of another version is made anew


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint's file, read once, so that its digest is that of the parameters that are used.

    Attributes:
        content: the file's bytes.
        digest: of the parameters and of all else that activations depend on: the sentences, the architecture.
    """

    content: bytes
    digest: str


def read_checkpoint(run: Run, step: int) -> Checkpoint:
    """A saved step.

    Raises:
        InputError: it can't be read.
    """
    path = run.checkpoint(step)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); train the run again") from None
    # two runs' step 0 may have equal parameters and other sentences
    about = f"{VERSION} {run.corpus.digest} {run.config.model.model_dump_json()}"
    return Checkpoint(content, hashlib.sha256(about.encode() + hashlib.sha256(content).digest()).hexdigest())


def use_checkpoint(run: Run, step: int, checkpoint: Checkpoint, model: HookedTransformer) -> None:
    """Puts a checkpoint's parameters into the run's model.

    Raises:
        InputError: they are not this run's.
    """
    try:
        copy_parameters(model, load(checkpoint.content))
    except Exception as error:  # the library raises no narrower one
        raise InputError(
            f"{run.checkpoint(step)}: can't be read as this run's parameters ({error}); train the run again"
        ) from error
