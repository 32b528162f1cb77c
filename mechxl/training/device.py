"""Where a training computes, and how exactly."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from mechxl.errors import InputError
from mechxl.training.products import quick_products


def pick_device(name: str, precision: str = "float32") -> str:
    """The torch device of the settings `training.device` and `training.precision`.

    Raises:
        InputError: this machine has no such device, or the device lacks the precision.
    """
    device = _device(name)
    if precision in ("tf32", "bf16") and not device.startswith("cuda"):
        raise InputError(f"training.precision = {precision}: needs a GPU, and training.device is {device}; use float32")
    return device


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except Exception as error:  # a backend may raise anything
        reason = str(error).split("\n")[0]
        raise InputError(
            f"training.device = {name}: can't be used on this machine ({reason}); the nearest that works: auto"
        ) from None
    return name


def exact_products(device: str) -> AbstractContextManager[object]:
    """On the CPU, oneDNN multiplies where it is exact (`quick_products`)."""
    return nullcontext() if device.startswith("cuda") else quick_products()


@contextmanager
def rounded_products(precision: str) -> Iterator[None]:
    """With tf32, a GPU keeps 10 bits of the fraction of factors inside the context; else it changes nothing."""
    if precision != "tf32":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def half_precision(precision: str, device: str) -> AbstractContextManager[object]:
    """With bf16, the forward and the backward multiply in bfloat16; parameters and their updates stay float32."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.split(":")[0], torch.bfloat16)
