"""The lean forward's logits and gradients are those of the hooked model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformer_lens import HookedTransformer

from mechxl.model.forward import lean_logits
from mechxl.model.sharing import Shared
from tests.model.hooked import MODELS, Asked, assume_off_the_kink, gap, hooked_at
from tests.model.plain import small_corpus, small_model

FEW = settings(max_examples=80, deadline=None)
CORPUS = small_corpus()
PADDING = 0


def random_tokens(generator: torch.Generator, lengths: list[int]) -> Tensor:
    """Rows of the given lengths, right-padded."""
    tokens = torch.randint(3, CORPUS.tokenizer.get_vocab_size(), (len(lengths), max(lengths)), generator=generator)
    for row, length in enumerate(lengths):
        tokens[row, length:] = PADDING
    return tokens


def gradients(model: HookedTransformer, scalar: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    scalar.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def with_kinds(common: Shared, tokens: Tensor, generator: torch.Generator) -> Shared:
    """Kinds in any order, and some that no row has."""

    def pairs(rows: Tensor) -> list[list[tuple[int, int]]]:
        return [[(int(token), place) for place, token in enumerate(row)] for row in rows]

    every = sorted({pair for row in [*pairs(tokens), *pairs(common.tokens)] for pair in row} | {(3, 0), (4, 1)})
    every = [every[at] for at in torch.randperm(len(every), generator=generator).tolist()]
    begun, kind = (
        torch.tensor([[every.index(pair) for pair in row] for row in pairs(rows)], dtype=torch.long).view(rows.shape)
        for rows in (common.tokens, tokens)
    )
    return Shared(common.tokens, common.beginning, torch.tensor(every).T, begun, kind)


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Rows of several lengths, asked at a slice or at some positions in each; beginnings up to the first of these.

    Beginnings are any that the rows have: also the same one twice, and one that no row has.
    """
    lengths = draw(st.lists(st.integers(2, 9), min_size=1, max_size=4))
    if draw(st.booleans()):
        first = draw(st.integers(0, max(lengths) - 1))
        positions = slice(first, draw(st.integers(first + 1, max(lengths))))
    else:
        n = draw(st.integers(1, 3))
        latest = draw(st.booleans())  # so that long beginnings are possible
        rows = [
            draw(st.lists(st.integers(length - 2 if latest else 0, length - 1), min_size=n, max_size=n))
            for length in lengths
        ]
        positions, first = torch.tensor(rows), min(map(min, rows))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    length = draw(st.integers(0, first))
    begun = random_tokens(generator, [length] * draw(st.integers(1, 4)))
    of = torch.tensor(draw(st.lists(st.integers(0, len(begun) - 1), min_size=len(lengths), max_size=len(lengths))))
    tokens = random_tokens(generator, lengths)
    tokens[:, :length] = begun[of]
    common = Shared(begun, of) if length or draw(st.booleans()) else None
    if common and draw(st.booleans()):
        common = with_kinds(common, tokens, generator)
    return Asked(tokens, positions, common)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@FEW
@given(st.fixed_dictionaries(MODELS), asked(), st.integers(0, 10**6))
def test_logits_and_gradients_are_the_hooked_ones(precision, tolerance, shape, question, seed):
    model = small_model(CORPUS, seed, precision, **shape)
    assume_off_the_kink(model, question.tokens)
    lean = lean_logits(model, question.tokens, question.positions, question.common)
    hooked = hooked_at(model, question.tokens, question.positions)
    assert lean.shape == hooked.shape
    assert gap(lean, hooked) < tolerance

    weight = torch.randn(hooked.shape, generator=torch.Generator().manual_seed(seed)).to(hooked.dtype)
    expected, found = (gradients(model, (weight * logits).sum()) for logits in (hooked, lean))
    assert found.keys() == expected.keys() == dict(model.named_parameters()).keys()
    # that of b_K is 0, and found as what rounding leaves of larger terms
    largest = max(1.0, *(float(gradient.abs().max()) for gradient in expected.values()))
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) < tolerance * largest, name


def test_padding_and_later_tokens_change_nothing():
    model = small_model(CORPUS, n_layers=2)
    tokens = random_tokens(torch.Generator().manual_seed(1), [9])
    changed = tokens.clone()
    changed[:, 5:] = PADDING
    at = torch.tensor([[0, 4]])
    torch.testing.assert_close(
        lean_logits(model, tokens, at), lean_logits(model, changed[:, :6], at), rtol=0, atol=1e-12
    )
