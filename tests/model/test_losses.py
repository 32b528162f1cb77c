"""The losses, and training on them, are those of the hooked forward."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformer_lens import HookedTransformer

from mechxl.model.weights import pack, weights_of
from mechxl.training.batches import TrainingBatch, TrainingBatches
from mechxl.training.loop import batch_losses
from mechxl.training.products import quick_products
from tests.model.hooked import CORPORA, hooked_at
from tests.model.plain import small_corpus, small_model

PADDING = 0


def plain_losses(model: HookedTransformer, batch: TrainingBatch) -> tuple[float, float]:
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
    batch = TrainingBatches(corpus, objective, 32, 0, "cpu")[3]
    total, answers = batch_losses(weights_of(model), batch)
    assert (total.item(), answers.item()) == pytest.approx(plain_losses(model, batch), rel=1e-12)
    if objective == "answer":
        assert total.item() == pytest.approx(answers.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "objective", "length"),
    [("syllable", "answer", 2), ("syllable", "all", 0), ("character", "answer", 4)],
)
def test_training_under_the_lean_forward_follows_the_hooked_one(name, objective, length):
    """Also where oneDNN multiplies."""
    corpus = small_corpus(**CORPORA[name])
    batches = TrainingBatches(corpus, objective, 64, 0, "cpu")
    assert batches[0].common.tokens.shape[1] == length

    def curve(hooked: bool) -> Tensor:
        model = small_model(corpus, 0, "float32", n_layers=2, init_std=0.02)
        packed = None if hooked else pack(weights_of(model))
        parameters = [packed.vector] if packed else model.parameters()
        optimizer = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.1)
        losses = []
        for step in range(80):
            batch = batches[step]
            optimizer.zero_grad(set_to_none=packed is None)
            if packed is None:
                logits = hooked_at(model, batch.tokens, batch.positions)
                chosen = batch.targets.flatten() != PADDING
                loss = F.cross_entropy(logits.flatten(0, 1)[chosen], batch.targets.flatten()[chosen], reduction="sum")
                loss = loss / 64
            else:
                loss, _ = batch_losses(packed.weights, batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return torch.tensor(losses)

    expected, found = curve(hooked=True), curve(hooked=False)
    with quick_products():
        quick = curve(hooked=False)
    assert float((found - expected).abs().max()) < 1e-3
    assert float((quick - expected).abs().max()) < 1e-3
    assert expected[-1] < 0.5 * expected[0]
