"""The state from which a stopped training continues: one file, resume.safetensors, written as a whole."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mechxl.errors import InputError
from mechxl.files import whole_file


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


def save_state(
    path: Path,
    position: Position,
    parameters: torch.nn.Parameter,
    optimizer: torch.optim.Optimizer,
    losses: Float[Tensor, " 2"],
) -> None:
    """Writes the parameters, the optimizer's moments, the summed losses and the position.

    Args:
        path: of resume.safetensors.
        position: the progress of the training.
        parameters: all parameters as one vector, the only one that the optimizer holds.
        optimizer: its moments are saved.
        losses: sums since the last evaluation: of the training loss, and of its part for answers.
    """
    tensors = {"losses": losses, "parameters": parameters.detach(), **optimizer.state[parameters]}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, {"state": json.dumps(asdict(position))})


def load_state(
    path: Path, parameters: torch.nn.Parameter, optimizer: torch.optim.Optimizer, losses: Float[Tensor, " 2"]
) -> Position:
    """Reads what `save_state` wrote into the parameters, the optimizer and the losses, in place.

    Raises:
        InputError: the file is missing, damaged, or another model's.
    """
    try:
        with safe_open(path, "pt", device=str(parameters.device)) as saved:
            position = Position(**json.loads(saved.metadata()["state"]))
            parameters.data.copy_(saved.get_tensor("parameters"))
            moments = {"step", "exp_avg", "exp_avg_sq"} & set(saved.keys())
            optimizer.state[parameters] = {name: saved.get_tensor(name) for name in moments}
            losses.copy_(saved.get_tensor("losses"))
    except Exception as error:  # safetensors raises many kinds
        raise InputError(f"{path}: can't be read ({error}); train the run again with --overwrite") from error
    return position
