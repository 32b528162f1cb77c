"""The state from which a stopped training continues: one file, resume.safetensors, written as a whole."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mechxl.errors import InputError
from mechxl.files import whole_file

MOMENTS = ("exp_avg", "exp_avg_sq")  # of the gradient, as AdamW names them


@dataclass(frozen=True)
class Position:
    """The progress of a training.

    Attributes:
        step: the number of updates so far.
        since: updates since the last evaluation.
        seconds: time spent so far.
    """

    step: int
    since: int
    seconds: float


@dataclass(frozen=True)
class State:
    """All that a training continues from.

    Attributes:
        position: its progress.
        parameters: all parameters as one vector, without padding.
        moments: the optimizer's state of this vector: `step`, `exp_avg` and `exp_avg_sq`; empty before any update.
        losses: sums since the last evaluation: of the training loss, and of its part for answers.
    """

    position: Position
    parameters: Float[Tensor, " parameter"]
    moments: Mapping[str, Tensor]
    losses: Float[Tensor, " 2"]


def save_state(path: Path, state: State) -> None:
    """Writes resume.safetensors as a whole file."""
    with whole_file(path) as temporary:
        write_state(temporary, state)


def write_state(path: Path, state: State) -> None:
    """Writes a state to a path that no reader looks at yet."""
    tensors = {"losses": state.losses, "parameters": state.parameters.detach(), **state.moments}
    save_file(tensors, path, {"state": json.dumps(asdict(state.position))})


def load_state(path: Path, like: Float[Tensor, " parameter"]) -> State:
    """Reads what `save_state` wrote, onto the device of `like`, the vector that the parameters shall replace.

    Raises:
        InputError: the file is missing, damaged, or another model's.
    """
    try:
        with safe_open(path, "pt", device=str(like.device)) as saved:
            position = Position(**json.loads(saved.metadata()["state"]))
            tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118  it is no dict
        parameters, losses = tensors.pop("parameters"), tensors.pop("losses")
        if parameters.shape != like.shape or parameters.dtype != like.dtype or losses.shape != (2,):
            raise ValueError("holds the state of another model")
    except Exception as error:  # safetensors raises many kinds
        raise InputError(f"{path}: can't be read ({error}); train the run again with --overwrite") from error
    return State(position, parameters, tensors, losses)
