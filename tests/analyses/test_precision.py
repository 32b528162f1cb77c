"""Rounded products, emulated on the CPU: what is rounded, and that runs in every precision are read like others."""

from pathlib import Path

import numpy as np
import pytest
import torch

from analyses.calibration.precision import rounding, ten_bits, train_on_the_cpu
from mechxl import activations, ask
from mechxl.run import Run
from tests.model.plain import tiny


def test_ten_bits_of_the_fraction_are_kept():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 100
    fraction, exponent = np.frexp(x.numpy().astype(float))
    nearest = np.ldexp(np.round(fraction * 2**11) / 2**11, exponent)  # 11 bits with the leading one, which is implied
    assert (ten_bits(x).numpy() == nearest).all()
    assert ten_bits(torch.tensor([1 + 2**-11, -1 - 2**-11, 2.0])).tolist() == [1 + 2**-10, -1 - 2**-10, 2.0]


def test_the_factors_of_products_are_rounded_backward_too():
    a, b = (torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    leaf = a.clone().requires_grad_()
    with rounding():
        product = leaf @ b
        product.sum().backward()
    assert leaf.grad is not None
    assert torch.equal(product, ten_bits(a) @ ten_bits(b))
    assert torch.equal(leaf.grad, torch.ones(4, 4) @ ten_bits(b).T)
    assert not torch.equal(product, a @ b)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_run_in_any_precision_is_read_like_others(tmp_path: Path, precision: str):
    config = tiny(steps=6, checkpoints=2, evaluate_every=6)
    config = config.model_copy(update={"training": config.training.model_copy(update={"precision": precision})})
    (out,) = train_on_the_cpu([config], tmp_path)
    run = Run(out)
    assert activations(run, "resid_post", steps=6).dtype == np.float32
    assert run.model(-1).cfg.dtype == torch.float32
    assert ask(run, "learning").tables["rates"]["step"].max() == 6
