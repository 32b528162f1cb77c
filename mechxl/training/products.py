"""Which library multiplies float32 matrices on the CPU.

PyTorch asks MKL, which on AMD processors reaches half of what oneDNN does. PyTorch asks oneDNN instead once that may
round its inputs to bfloat16; a processor without bfloat16 matrix units has nothing to gain by rounding, and multiplies
in full float32 all the same. Whether it does is tried, not assumed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

# Largest error of products of unit normals, over the root of the terms in a sum: 4e-6 in float32, 1e-2 in bfloat16; a
# tenth of that in TF32.
EXACT = 1e-5


@contextmanager
def quick_products() -> Iterator[bool]:
    """Lets oneDNN multiply meanwhile where it is as exact as float32; yields whether it does.

    PyTorch's setting is one for the whole process, and is put back afterwards.
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
    """Whether products are exact to float32 now, in the three forms that a layer and its gradient need."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    x, w, g = (torch.randn(shape, generator=generator) for shape in ((512, 64), (256, 64), (512, 256)))
    forms = [(x, w.T), (g, w), (g.T, x), (x.view(16, 32, 64), x.view(16, 32, 64).mT)]
    worst = [(a @ b - (a.double() @ b.double())).abs().max() / (a.shape[-1] ** 0.5) for a, b in forms]
    return bool(max(worst) < EXACT)
