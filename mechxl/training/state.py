"""The state from which a stopped training continues: one file, resume.safetensors, written as a whole."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mechxl.errors import InputError
from mechxl.files import kind_of, whole_file
from mechxl.manifest import Base

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


def save_state(path: Path, state: State, base: Base) -> None:
    """Writes resume.safetensors as a whole file; `base` is what the state builds on."""
    with whole_file(path) as temporary:
        write_state(temporary, state, base)


def write_state(path: Path, state: State, base: Base) -> None:
    """Writes a state to a path that no reader looks at yet."""
    tensors = {"losses": state.losses, "parameters": state.parameters.detach(), **state.moments}
    about = {"state": json.dumps(asdict(state.position)), "base": base.model_dump_json()}
    save_file(tensors, path, about | {"sha256": _digest(tensors, about)})


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """A hash of all that a state holds."""
    digest = hashlib.sha256(f"{about['state']} {about['base']}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def load_state(path: Path, like: Float[Tensor, " parameter"], steps: int) -> State:
    """Reads what `save_state` wrote, onto the device of `like`, the vector that the parameters shall replace.

    Args:
        path: resume.safetensors.
        like: the vector.
        steps: the training's last step.

    Raises:
        InputError: the file is missing, is not as it was written, or another model's.
    """
    try:
        if kind_of(path) not in ("file", "nothing"):
            raise ValueError(f"it is a {kind_of(path)}")
        with safe_open(path, "pt", device=str(like.device)) as saved:
            about = saved.metadata()
            tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118  it is no dict
        if about.get("sha256") != _digest(tensors, about):
            raise ValueError("it is not as training wrote it")
        position = Position(**json.loads(about["state"]))
        parameters, losses = tensors.pop("parameters"), tensors.pop("losses")
        if parameters.shape != like.shape or parameters.dtype != like.dtype or losses.shape != (2,):
            raise ValueError("it holds the state of another model")
        complete = {"step", "exp_avg", "exp_avg_sq"} if position.step else set()
        if not 0 <= position.step <= steps or tensors.keys() != complete:
            raise ValueError(f"it holds no state of this training at step {position.step}")
    except Exception as error:  # safetensors raises many kinds
        raise InputError(f"{path}: can't be read ({error}); train the run again with --overwrite") from error
    return State(position, parameters, tensors, losses)
