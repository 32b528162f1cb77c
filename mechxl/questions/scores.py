"""The unification score over training, for questions that set other curves beside it."""

import numpy as np
import pandas as pd

from mechxl.data.world import stream
from mechxl.instruments.store import activations
from mechxl.measures.sample import draw_sample
from mechxl.measures.score import score
from mechxl.measures.vectors import centre, unit
from mechxl.run import Run

ENTITIES = 500


def scores_over_training(run: Run, thorough: bool) -> pd.DataFrame:
    """Score (S - W) and S - X at every checkpoint and each layer from 1 on, without intervals.

    Of mono facts (parallel ones where there are none), centred on the whole sample, as the question `unification` does.

    Args:
        run: whose activations.
        thorough: all entities rather than a seeded sample of ENTITIES.

    Returns:
        Rows (step, layer, score, alignment, n_facts); NaN where no relation has two facts.
    """
    corpus = run.corpus
    world, group = corpus.world, corpus.mixture.group
    facts = np.flatnonzero(group == ("mono" if (group == "mono").any() else "parallel"))
    entities = stream(0, "entities scored").permutation(np.unique(world.entity[facts]))
    facts = facts[np.isin(world.entity[facts], entities if thorough else entities[:ENTITIES])]
    layers = list(range(1, run.config.model.n_layers + 1))
    rng = stream(0, "score")
    sample = draw_sample(world.relation[facts], world.entity[facts], world.n_languages, rng, draws=0, permutations=0)
    h = activations(run, "resid_post", facts=facts, layers=layers, role="prompt_last").squeeze("role")
    rows = []
    for step in run.steps:
        x = h.sel(checkpoint=step).transpose("layer", "fact", "language", "d_model").values.astype(float)
        for layer, vectors in zip(layers, x, strict=True):
            found = score(unit(centre(vectors, "whole")), sample)
            numbers = {name: found[name].pooled.value for name in ("score", "alignment")}
            rows.append({"step": step, "layer": layer, "n_facts": len(facts)} | numbers)
    return pd.DataFrame(rows)
