"""How many runs of one shape a device has room for."""

import torch

from mechxl.config import RunConfig
from mechxl.training.members import ROWS_AT_ONCE
from mechxl.training.pull import SHARE as SHARE_OF_PULL

SHARE = 0.7  # of the free memory that an ensemble may take
SENTENCE = 24  # tokens of a sentence where its length is not known yet
MOST = 256  # beyond, an update of all takes longer in proportion


def room(config: RunConfig, device: str) -> int:
    """How many runs like this one can train together, by the device's free memory; on the CPU `MOST`.

    An estimate from above: what the backward keeps of every layer for the positions of a batch, logits with their
    gradient, and parameters with gradient, moments and copies.
    """
    if not device.startswith("cuda"):
        return MOST
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    model, training = config.model, config.training
    width = 8 if training.precision == "float64" else 4
    vocabulary = config.tokenization.vocab_size + 300
    by_position = model.n_layers * (16 * model.d_model + 6 * model.d_mlp + 4 * model.n_heads * SENTENCE)
    by_sentence = SENTENCE * by_position + 8 * vocabulary
    parameters = model.n_layers * (4 * model.d_model**2 + 2 * model.d_model * model.d_mlp)
    parameters += 2 * vocabulary * model.d_model
    asked = ROWS_AT_ONCE["cuda"] * SENTENCE * (8 * model.d_model + 2 * model.d_mlp)
    sentences = training.batch_size + (training.batch_size // SHARE_OF_PULL if training.pull else 0)
    per_run = sentences * by_sentence + 12 * parameters
    return max(1, min(MOST, int((SHARE * free - width * asked) / (width * per_run))))
