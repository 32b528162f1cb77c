"""patching: is the representation that looks unified the one that the model uses?

A fact told in one language is the donor, another fact told in another language the receiver. The donor's activation at
one place (component, layer, role) is put into the receiver's run: whose value comes out, in which language? Interchange
accuracy is how often the donor's value comes out in the receiver's language; causal unification divides it by what the
same donor facts reach in the receiver's own language.

Pairs are drawn once, for all checkpoints: at each, those count whose two facts it answers rightly unpatched. The
even-numbered pairs choose the place at the last checkpoint, the others are measured.
"""

import numpy as np
import pandas as pd

from mechxl.data.world import stream
from mechxl.findings import Finding
from mechxl.instruments.patched import BY_HEAD
from mechxl.instruments.patching import Place
from mechxl.instruments.store import activations
from mechxl.measures.interchange import best_place
from mechxl.measures.sample import draw_sample
from mechxl.measures.score import score
from mechxl.measures.vectors import centre, unit
from mechxl.model.hooked import load_parameters
from mechxl.model.memory import kept_memory
from mechxl.questions.language_identity import MAIN_ROLE, distinct_roles
from mechxl.questions.patching_controls import controls
from mechxl.questions.patching_figures import figures as figures
from mechxl.questions.patching_pairs import Spots, draw_sets
from mechxl.questions.patching_words import words
from mechxl.questions.unification import few_steps
from mechxl.run import Run

PAIRS = 400  # of each group, over all pairs of languages
FEW_STEPS = 8
SCORED_ENTITIES = 500
FEWEST_PAIRS = 10  # that are measured at a checkpoint


def compute(run: Run, thorough: bool = False) -> Finding:
    """Grids of places at 8 checkpoints, the chosen place at all of them, heads and controls at the last.

    Args:
        run: a run with checkpoints.
        thorough: grids at all checkpoints, and as many pairs as there are.
    """
    corpus, n_blocks = run.corpus, run.config.model.n_layers
    facts = np.flatnonzero(corpus.world.seen)
    roles, same = distinct_roles(corpus, facts)
    sets = draw_sets(corpus, corpus.world.n_facts if thorough else PAIRS)
    notes = {
        "layers": n_blocks,
        "heads": run.config.model.n_heads,
        "steps": run.steps,
        "few_steps": list(run.steps if thorough else few_steps(run.steps, FEW_STEPS)),
        "roles": roles,
        "same": same,
        "main_role": MAIN_ROLE,
        "languages": corpus.lexicon.language_names,
        "groups": [one.group for one in sets],
        "shared_facts": run.config.world.shared_facts,
        "fewest": FEWEST_PAIRS,
    }
    if not sets:
        reason = "no pair of facts of one relation and different values, each told in another language"
        return Finding("patching", [f"Nothing to patch: {reason}."], {"places": pd.DataFrame()}, notes)
    spots = Spots(corpus, sets, roles, _grid(n_blocks, len(roles)), n_blocks)
    model, rng = run.model(), stream(0, "pairs resampled")
    chosen = _choose(spots, model)
    notes["place"] = {**spots.named(chosen), "at": chosen}
    alone = Spots(corpus, sets, roles, [spots.places[chosen]], n_blocks)
    grids, curve = [], []
    with kept_memory():
        for step in run.steps:
            load_parameters(model, run.checkpoint(step))
            if step in notes["few_steps"]:
                grids += [{"step": step} | row for row in spots.rows(model, rng, FEWEST_PAIRS)]
            curve += [{"step": step} | row for row in alone.rows(model, rng, FEWEST_PAIRS, outcomes=True)]
    heads = Spots(corpus, sets, roles, _by_head(n_blocks, len(roles), run.config.model.n_heads), n_blocks)
    tables = {
        "places": pd.DataFrame(grids),
        "curve": pd.DataFrame(curve),
        "heads": pd.DataFrame(heads.rows(model, rng, FEWEST_PAIRS)),
        "controls": controls(run, sets, alone, model),
        "beside": _beside(run),
    }
    return Finding("patching", words(tables, notes), tables, notes)


def _grid(n_blocks: int, n_roles: int) -> list[Place]:
    """The stream after the embeddings, then of each block its parts: what attention and MLP add, and the stream."""
    spots = [("resid_pre", 0)]
    spots += [(name, block) for block in range(n_blocks) for name in ("attn_out", "resid_mid", "mlp_out", "resid_post")]
    return [Place(component, block, role) for component, block in spots for role in range(n_roles)]


def _by_head(n_blocks: int, n_roles: int, n_heads: int) -> list[Place]:
    return [
        Place(component, block, role, head)
        for component in BY_HEAD
        for block in range(n_blocks)
        for head in range(n_heads)
        for role in range(n_roles)
    ]


def _choose(spots: Spots, model: object) -> int:
    """The place with the highest interchange accuracy in the choosing halves, all groups and directions alike."""
    hits = [(across.mean(axis=1), within.mean(axis=1)) for across, within in spots.choosing(model) if across.shape[1]]
    if not hits:  # nothing is answered rightly: the first place that could be one
        return int(np.argmax(spots.free)) if spots.free.any() else 0
    across, ceiling = np.mean(hits, axis=0)
    free = spots.free if spots.free.any() else np.ones(len(spots.places), dtype=bool)
    return best_place(across, ceiling, free)


def _beside(run: Run) -> pd.DataFrame:
    """Score at each layer >= 1 of every checkpoint, and recall and transfer, for curves beside the patches."""
    corpus = run.corpus
    world, group = corpus.world, corpus.mixture.group
    facts = np.flatnonzero(group == ("mono" if (group == "mono").any() else "parallel"))
    entities = stream(0, "entities scored").permutation(np.unique(world.entity[facts]))[:SCORED_ENTITIES]
    facts = facts[np.isin(world.entity[facts], entities)]
    layers = list(range(1, run.config.model.n_layers + 1))
    sample = draw_sample(
        world.relation[facts], world.entity[facts], world.n_languages, stream(0, "score"), draws=0, permutations=0
    )
    h = activations(run, "resid_post", facts=facts, layers=layers, role=MAIN_ROLE)
    metrics, rows = run.metrics.set_index("step"), []
    for step in run.steps:
        x = (
            h.sel(checkpoint=step)
            .squeeze("role")
            .transpose("layer", "fact", "language", "d_model")
            .values.astype(float)
        )
        found = {f"score_{layer}": _score(x[at], sample) for at, layer in enumerate(layers)}
        row = {name: metrics[f"{name}_accuracy"].get(step, np.nan) for name in ("recall", "transfer")}
        rows.append({"step": step, "n_facts": len(facts)} | row | found)
    table = pd.DataFrame(rows)
    table["reason"] = np.where(table.notna().all(axis=1), "", "no transfer items, or too few facts of a relation")
    return table


def _score(x: np.ndarray, sample: object) -> float:
    return score(unit(centre(x, "whole")), sample)["score"].pooled.value  # pyright: ignore[reportArgumentType]
