"""The lean forward and the losses are those of the hooked model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformer_lens import HookedTransformer

from mechxl.model.batches import Batch, Batches
from mechxl.model.forward import Positions, lean_logits
from mechxl.model.training import batch_losses
from tests.model.plain import small_corpus, small_model

MODELS = {
    "n_layers": st.integers(1, 3),
    "n_heads": st.sampled_from([1, 2, 4]),
    "act_fn": st.sampled_from(["gelu", "relu"]),
    "normalization": st.sampled_from(["LN", "RMS"]),
}
FEW = settings(max_examples=40, deadline=None)
CORPUS = small_corpus()
PADDING = 0


def random_tokens(generator: torch.Generator, lengths: list[int]) -> Tensor:
    """Rows of the given lengths, right-padded."""
    tokens = torch.randint(3, CORPUS.tokenizer.get_vocab_size(), (len(lengths), max(lengths)), generator=generator)
    for row, length in enumerate(lengths):
        tokens[row, length:] = PADDING
    return tokens


def hooked_at(model: HookedTransformer, tokens: Tensor, positions: Positions) -> Tensor:
    logits = model(tokens)
    if isinstance(positions, slice):
        return logits[:, positions]
    return torch.stack([logits[row, at] for row, at in enumerate(positions)])


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the second's largest entry where that is above 1."""
    return float((one - other).detach().abs().max() / max(1.0, float(other.detach().abs().max())))


def gradients(model: HookedTransformer, scalar: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    scalar.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@st.composite
def asked(draw: st.DrawFn) -> tuple[list[int], Positions]:
    """Lengths of the rows, and the positions asked for: a slice, or some in each row."""
    lengths = draw(st.lists(st.integers(2, 9), min_size=1, max_size=4))
    if draw(st.booleans()):
        start = draw(st.integers(0, max(lengths) - 1))
        return lengths, slice(start, draw(st.integers(start + 1, max(lengths))))
    n = draw(st.integers(1, 3))
    rows = [draw(st.lists(st.integers(0, length - 1), min_size=n, max_size=n)) for length in lengths]
    return lengths, torch.tensor(rows)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@FEW
@given(st.fixed_dictionaries(MODELS), asked(), st.integers(0, 10**6))
def test_logits_and_gradients_are_the_hooked_ones(precision, tolerance, shape, question, seed):
    lengths, positions = question
    model = small_model(CORPUS, seed, precision, **shape)
    generator = torch.Generator().manual_seed(seed)
    tokens = random_tokens(generator, lengths)
    lean, hooked = lean_logits(model, tokens, positions), hooked_at(model, tokens, positions)
    assert lean.shape == hooked.shape
    assert gap(lean, hooked) < tolerance

    weight = torch.randn(hooked.shape, generator=generator).to(hooked.dtype)
    expected, found = (gradients(model, (weight * logits).sum()) for logits in (hooked, lean))
    assert found.keys() == expected.keys() == dict(model.named_parameters()).keys()
    for name, gradient in expected.items():
        assert gap(found[name], gradient) < tolerance, name


def test_padding_and_later_tokens_change_nothing():
    model = small_model(CORPUS, n_layers=2)
    tokens = random_tokens(torch.Generator().manual_seed(1), [9])
    changed = tokens.clone()
    changed[:, 5:] = PADDING
    at = torch.tensor([[0, 4]])
    torch.testing.assert_close(
        lean_logits(model, tokens, at), lean_logits(model, changed[:, :6], at), rtol=0, atol=1e-12
    )


# answers of one token at one place; of several; and prompts and answers of many lengths
CORPORA = {
    "syllable": {},
    "character": {"tokenization": {"kind": "character"}, "languages": {"word_length": 2}},
    "hidden tags": {"languages": {"cue": "tag", "cue_dropout": 0.5}},
    "bpe": {"tokenization": {"kind": "bpe", "vocab_size": 90}, "languages": {"word_length": 2}},
}


def plain_losses(model: HookedTransformer, batch: Batch) -> tuple[float, float]:
    """Summed over the targets of a sentence, averaged over sentences; and the same of answers alone."""
    log_p = model(batch.tokens).log_softmax(-1)
    width = batch.tokens.shape[1]
    total = answers = 0.0
    for row in range(len(batch.tokens)):
        positions = range(width)[batch.positions] if isinstance(batch.positions, slice) else batch.positions[row]
        for column, position in enumerate(positions):
            target = int(batch.targets[row, column])
            if target != PADDING:
                loss = -log_p[row, int(position), target].item()
                total += loss
                answers += loss if batch.is_answer[row, column] else 0.0
    return total / len(batch.tokens), answers / len(batch.tokens)


@pytest.mark.parametrize("objective", ["answer", "all"])
@pytest.mark.parametrize("name", CORPORA)
def test_losses_are_a_loop_over_the_hooked_log_probabilities(name, objective):
    corpus = small_corpus(**CORPORA[name])
    model = small_model(corpus)
    batch = Batches(corpus, objective, 32, 0, "cpu")[3]
    total, answers = batch_losses(model, batch)
    assert (total.item(), answers.item()) == pytest.approx(plain_losses(model, batch), rel=1e-12)
    if objective == "answer":
        assert total.item() == pytest.approx(answers.item(), rel=1e-12)


def test_training_under_the_lean_forward_follows_the_hooked_one():
    corpus = small_corpus()
    batches = Batches(corpus, "answer", 64, 0, "cpu")
    curves = []
    for forward in (lean_logits, hooked_at):
        model = small_model(corpus, 0, "float32", n_layers=2, init_std=0.02)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.1)
        curve = []
        for step in range(200):
            batch = batches[step]
            optimizer.zero_grad()
            logits = forward(model, batch.tokens, batch.positions)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        curves.append(torch.tensor(curve))
    assert float((curves[0] - curves[1]).abs().max()) < 1e-3
    assert curves[0][-1] < 0.5 * curves[0][0]
