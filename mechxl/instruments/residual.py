"""Residual stream vectors of facts in every language at the last token of the prompt."""

import numpy as np
import torch
from jaxtyping import Float, Int

from mechxl.data.corpus import crossed
from mechxl.model.hooked import residual_at
from mechxl.run import Run


def residuals(run: Run, step: int, facts: Int[np.ndarray, " fact"]) -> Float[np.ndarray, "layer fact language d_model"]:
    """h(f, a): the residual stream at the prompt's last token, for facts crossed with all languages, tag shown.

    Args:
        run: a run.
        step: a saved step.
        facts: which facts, told or not, unseen ones too.

    Returns:
        Layer 0 is the embeddings (with positions), layer l the stream after block l.

    Raises:
        InputError: the step is not saved.
    """
    n_languages = run.corpus.world.n_languages
    sequences = run.corpus.sequences(*crossed(facts, n_languages), tag=True)
    prompts = torch.as_tensor(np.maximum(sequences.prompts(), 0))
    last = torch.as_tensor(sequences.prompt_length) - 1
    layers = residual_at(run.model(step), prompts, last).numpy()
    return layers.reshape(len(layers), len(facts), n_languages, -1)
