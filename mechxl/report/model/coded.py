"""Weights of several checkpoints as a short text.

Every tensor is rounded to multiples of a grid of its own. A checkpoint is stored as its difference from the one before,
as the page will have decoded that, so that rounding errors do not add up. Differences become whole numbers, whole
numbers two planes of bytes, and each plane is deflated.

How coarse a grid may be follows from what it does to the logits. The mean squared error of the logits is, to first
order, the sum over tensors of S grid^2 / 12, with S the sum of squared derivatives of logits by the tensor's weights.
For a given error, bits are fewest where S grid^2 is the same for every weight: grid = c sqrt(weights / S). One number c
is left; it is the largest whose logits, computed, lie within the bound. float16 takes twice as much text in the default
run and is .034 off at worst, int8 with a scale a row .70 (docs/model_panel.md).
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BOUND = 0.013  # of the logits' error on the prompts that are tried; the page promises .02 for any other
PROBES = 4  # random directions that S is estimated from
LARGEST_CODE = 2**15 - 1
TRIES = 6
Parameters = dict[str, Tensor]
Logits = Callable[[Parameters], Float[Tensor, "..."]]


@dataclass(frozen=True)
class Coded:
    """One checkpoint as the page will read it.

    Attributes:
        planes: the low and the high bytes of the whole numbers, deflated.
        grids: of each tensor, by name.
        decoded: the parameters that the page will have.
        error: the largest error of a logit on the prompts that were tried.
    """

    planes: tuple[bytes, bytes]
    grids: dict[str, float]
    decoded: Parameters
    error: float


def code(parameters: Parameters, before: Parameters | None, logits: Logits, few: Logits) -> Coded:
    """Codes a checkpoint as coarsely as the bound allows.

    Args:
        parameters: of the checkpoint, float32.
        before: what the page has decoded for the checkpoint before; None: this is the first.
        logits: of the prompts on which the error is measured.
        few: of the prompts from which derivatives are taken.
    """
    ratio, scale = _ratios(parameters, few)
    tries: list[tuple[Parameters, dict[str, np.ndarray], dict[str, float], float]] = []
    with torch.no_grad():
        wanted = logits(parameters)
        for _ in range(TRIES):
            grids = {name: _grid(name, parameters, before, scale * ratio[name]) for name in parameters}
            decoded, codes = _rounded(parameters, before, grids)
            error = float((logits(decoded) - wanted).abs().max())
            tries.append((decoded, codes, grids, error))
            if 0.75 * BOUND <= error <= BOUND:
                break
            scale *= 0.9 * BOUND / max(error, BOUND / 50)
    fitting = [one for one in tries if one[3] <= BOUND]
    decoded, codes, grids, error = (
        max(fitting, key=lambda one: one[3]) if fitting else min(tries, key=lambda one: one[3])
    )
    return Coded(_planes(np.concatenate([codes[name].ravel() for name in parameters])), grids, decoded, error)


def _ratios(parameters: Parameters, few: Logits) -> tuple[dict[str, float], float]:
    """sqrt(weights / S) of each tensor, and a first guess of c."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
    found, squares = few(leaves), dict.fromkeys(parameters, 0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(PROBES):
        signs = torch.randint(0, 2, found.shape, generator=generator) * 2.0 - 1.0
        gradients = torch.autograd.grad(found, list(leaves.values()), signs, retain_graph=True, allow_unused=True)
        for name, gradient in zip(leaves, gradients, strict=True):
            squares[name] += 0.0 if gradient is None else float(gradient.square().sum()) / PROBES
    least = max(squares.values()) * 1e-9 or 1.0
    sizes = {name: tensor.numel() for name, tensor in parameters.items()}
    ratio = {name: (sizes[name] / max(squares[name], least)) ** 0.5 for name in parameters}
    return ratio, BOUND / 4.5 * (12 * found.numel() / sum(sizes.values())) ** 0.5


def _grid(name: str, parameters: Parameters, before: Parameters | None, wanted: float) -> float:
    """The wanted grid, finer than the tensor's own numbers, coarse enough for two bytes."""
    difference = parameters[name] if before is None else parameters[name] - before[name]
    largest = float(difference.abs().max()) if difference.numel() else 0.0
    most = max(float(parameters[name].abs().max()) / 4, 1e-6) if difference.numel() else 1.0
    return float(np.float32(max(min(wanted, most), largest / LARGEST_CODE, 1e-12)))


def _rounded(
    parameters: Parameters, before: Parameters | None, grids: Mapping[str, float]
) -> tuple[Parameters, dict[str, Int[np.ndarray, "..."]]]:
    """The decoded parameters, and the whole numbers that lead to them."""
    decoded, codes = {}, {}
    for name, tensor in parameters.items():
        start = torch.zeros_like(tensor) if before is None else before[name]
        steps = ((tensor - start).double() / grids[name]).round()
        decoded[name] = (start.double() + steps * grids[name]).float()
        codes[name] = steps.numpy().astype(np.int32)
    return decoded, codes


def _planes(codes: Int[np.ndarray, " weight"]) -> tuple[bytes, bytes]:
    """Low and high bytes of 0, -1, 1, -2, 2, ... as 0, 1, 2, 3, 4, ..., deflated."""
    zigzag = np.where(codes < 0, -2 * codes - 1, 2 * codes).astype(np.uint32)
    planes = [(zigzag & 255).astype(np.uint8).tobytes(), (zigzag >> 8).astype(np.uint8).tobytes()]
    packed = []
    for plane, strategy in zip(planes, (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY), strict=True):
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
        packed.append(deflate.compress(plane) + deflate.flush())
    return packed[0], packed[1]
