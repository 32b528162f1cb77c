"""Chooses the library that multiplies float32 matrices on the CPU.

PyTorch uses MKL by default. On AMD processors, MKL is half as fast as oneDNN. PyTorch uses oneDNN if oneDNN may round
its inputs to bfloat16. On a processor without bfloat16 matrix units, oneDNN does not round, since rounding would gain
nothing: products stay exact float32. This module tests whether they are exact, and switches to oneDNN only then.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

# Largest error of products of unit normals, divided by the root of the number of terms: 4e-6 in float32, 1e-2 in
# bfloat16, 1e-3 in TF32.
EXACT = 1e-5


@contextmanager
def quick_products() -> Iterator[bool]:
    """Lets oneDNN multiply inside the context if it is as exact as float32; yields whether it does.

    PyTorch's setting belongs to the whole process; it is restored at the end.
    """
    backend: Any = torch.backends.mkldnn  # its stubs lack `matmul`
    settings = backend.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        if not (quick := _exact()):
            settings.fp32_precision = before
        yield quick
    finally:
        settings.fp32_precision = before


@cache
def _exact() -> bool:
    """Whether products are as exact as float32 under the current setting, in the shapes that training needs."""
    if not torch.backends.mkldnn.is_available():
        return False
    rng = torch.Generator().manual_seed(0)
    x, w, g = (torch.randn(shape, generator=rng) for shape in ((512, 64), (256, 64), (512, 256)))
    # a layer, the gradients of its input and its weights, and attention scores
    forms = [(x, w.T), (g, w), (g.T, x), (x.view(16, 32, 64), x.view(16, 32, 64).mT)]
    errors = [(a @ b - (a.double() @ b.double())).abs().max() / (a.shape[-1] ** 0.5) for a, b in forms]
    return bool(max(errors) < EXACT)
