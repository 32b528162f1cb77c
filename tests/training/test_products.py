"""oneDNN's products are as exact as float32, and PyTorch's settings are as before afterwards."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mechxl.training import products
from mechxl.training.products import quick_products

BACKEND: Any = torch.backends.mkldnn  # its stubs lack `matmul`
SETTINGS = ["none", "ieee", "tf32", "bf16"]
SIZE = st.integers(1, 300)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What is known of the processor and PyTorch's setting, whatever a test does to them."""
    before = BACKEND.matmul.fp32_precision
    products._exact.cache_clear()
    yield
    products._exact.cache_clear()
    BACKEND.matmul.fp32_precision = before


def error(found: Tensor, a: Tensor, b: Tensor) -> float:
    """Of a @ b, relative to the sum of the terms' sizes: 1e-7 in float32; from 1e-5 on where inputs were rounded."""
    sizes = a.double().abs() @ b.double().abs()
    return float(((found.double() - a.double() @ b.double()).abs() / sizes).max())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 600), SIZE, SIZE, st.integers(0, 10**6))
def test_a_layer_and_its_gradients_are_exact_to_float32(rows, d_in, d_out, seed):
    generator = torch.Generator().manual_seed(seed)
    x, w, g = (torch.randn(shape, generator=generator) for shape in ((rows, d_in), (d_out, d_in), (rows, d_out)))
    with quick_products():
        layer = [leaf.requires_grad_() for leaf in (x, w, torch.zeros(d_out))]
        out = torch.nn.functional.linear(*layer)
        by_x, by_w, _ = torch.autograd.grad(out, layer, g)
        plain = x @ w.T
    x, w = x.detach(), w.detach()
    assert error(out.detach(), x, w.T) < 2e-6
    assert error(plain.detach(), x, w.T) < 2e-6
    assert error(by_x, g, w) < 2e-6
    assert error(by_w, g.T, x) < 2e-6


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(1, 64), st.integers(0, 10**6))
def test_batched_products_are_exact_to_float32(batch, queries, keys, d_head, seed):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn((batch, 2, n, d_head), generator=generator) for n in (queries, keys, keys))
    with quick_products():
        scores = q @ k.mT
        mixed = scores @ v
        by_v = scores.mT @ q
    assert error(scores, q, k.mT) < 2e-6
    assert error(mixed, scores, v) < 2e-6
    assert error(by_v, scores.mT, q) < 2e-6


def elsewhere() -> dict[str, str]:
    """Precisions that are none of ours."""
    backends: Any = torch.backends
    return {
        "all": backends.fp32_precision,
        "cuda": backends.cuda.matmul.fp32_precision,
        "oneDNN": BACKEND.fp32_precision,
        "convolution": BACKEND.conv.fp32_precision,
        "recurrence": BACKEND.rnn.fp32_precision,
    }


@pytest.mark.parametrize("before", SETTINGS)
def test_the_setting_is_put_back(before):
    BACKEND.matmul.fp32_precision = before
    others = elsewhere()
    with quick_products() as quick:
        assert BACKEND.matmul.fp32_precision == ("bf16" if quick else before)
        assert elsewhere() == others
        with quick_products() as again:
            assert again == quick
        assert BACKEND.matmul.fp32_precision == ("bf16" if quick else before)
    assert BACKEND.matmul.fp32_precision == before
    assert elsewhere() == others


def test_torch_says_the_same_matmul_precision_afterwards():
    before = torch.get_float32_matmul_precision()
    with quick_products():
        pass
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("before", SETTINGS)
@pytest.mark.parametrize("exact", [True, False])
def test_the_setting_is_put_back_after_an_exception(before, exact, monkeypatch):
    monkeypatch.setattr(products, "_exact", lambda: exact)
    BACKEND.matmul.fp32_precision = before

    with pytest.raises(KeyError), quick_products():
        raise KeyError("inside")
    assert BACKEND.matmul.fp32_precision == before

    def unknown() -> bool:
        raise RuntimeError("no product at all")

    monkeypatch.setattr(products, "_exact", unknown)
    with pytest.raises(RuntimeError, match="no product at all"), quick_products():
        pass
    assert BACKEND.matmul.fp32_precision == before


@pytest.mark.parametrize("before", SETTINGS)
def test_nothing_changes_where_products_would_be_rounded(before, monkeypatch):
    BACKEND.matmul.fp32_precision = before
    tried = []

    def rounds() -> bool:
        tried.append(BACKEND.matmul.fp32_precision)
        return False

    monkeypatch.setattr(products, "_exact", rounds)
    with quick_products() as quick:
        assert quick is False
        assert BACKEND.matmul.fp32_precision == before
    assert BACKEND.matmul.fp32_precision == before
    assert tried == ["bf16"]  # while it applied


def to_bfloat16(x: Tensor) -> Tensor:
    return x.bfloat16().float()


def to_tf32(x: Tensor) -> Tensor:
    """10 bits of the 23 after the point."""
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


class RoundingProcessor(TorchFunctionMode):
    """Rounds what is multiplied in float32 where PyTorch lets it and the operands are of one form."""

    def __init__(self, rounded: Callable[[Tensor], Tensor], form: Callable[[Tensor, Tensor], bool]) -> None:
        super().__init__()
        self.rounded, self.form = rounded, form

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.__matmul__, torch.Tensor.matmul, torch.matmul):
            a, b = args
            if a.dtype == torch.float32 and BACKEND.matmul.fp32_precision == "bf16" and self.form(a, b):
                args = (self.rounded(a.contiguous()), self.rounded(b.contiguous()))
        return func(*args, **(kwargs or {}))


FORMS: dict[str, Callable[[Tensor, Tensor], bool]] = {
    "x @ w.T": lambda a, b: a.ndim == 2 and not b.is_contiguous(),
    "g @ w": lambda a, b: a.ndim == 2 and a.is_contiguous() and b.is_contiguous(),
    "g.T @ x": lambda a, b: a.ndim == 2 and not a.is_contiguous(),
    "batched": lambda a, b: a.ndim == 3,
}


@pytest.mark.parametrize("rounded", [to_bfloat16, to_tf32])
@pytest.mark.parametrize("form", FORMS)
def test_a_processor_that_rounds_products_of_any_form_is_found_out(form, rounded):
    with quick_products() as expected:
        pass
    products._exact.cache_clear()
    with RoundingProcessor(torch.clone, FORMS[form]), quick_products() as quick:
        assert quick == expected
    products._exact.cache_clear()
    with RoundingProcessor(rounded, FORMS[form]), quick_products() as quick:
        assert quick is False
        assert BACKEND.matmul.fp32_precision != "bf16"


@pytest.mark.parametrize("setting", ["none", "ieee"])
def test_products_in_float32_count_as_exact(setting):
    BACKEND.matmul.fp32_precision = setting
    assert products._exact() == torch.backends.mkldnn.is_available()


def test_without_onednn_nothing_changes(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with quick_products() as quick:
        assert quick is False
        assert BACKEND.matmul.fp32_precision != "bf16"
