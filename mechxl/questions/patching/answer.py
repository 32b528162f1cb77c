"""patching: is the representation that looks unified the one that the model uses?

A fact told in one language is the donor, another fact told in another language the receiver. The donor's activation at
one place (component, layer, role) is put into the receiver's run: whose value comes out, in which language? Interchange
accuracy is how often the donor's value comes out in the receiver's language. Causal unification compares it with what
the same donor facts reach in the receiver's own language, both above what permuted donors reach. Mono facts are apart
by whether the donor fact transfers at the checkpoint.

Pairs are drawn once, for all checkpoints: at each, those count whose two facts it answers rightly unpatched. The
even-numbered pairs choose the place at the last checkpoint, the others are measured.
"""

import numpy as np
import pandas as pd

from mechxl.findings import Finding
from mechxl.instruments.checkpoints import read_checkpoint, use_checkpoint
from mechxl.instruments.patching.plan import Place
from mechxl.model.blocks import BY_HEAD
from mechxl.questions.common import MAIN_ROLE, distinct_roles, few_steps, scores_over_training
from mechxl.questions.patching.controls import controls
from mechxl.questions.patching.groups import draw_groups
from mechxl.questions.patching.places import PatchedPlaces
from mechxl.questions.patching.rows import choose, interchange_rows
from mechxl.questions.patching.words import PARTS, words
from mechxl.run import Run
from mechxl.training.memory import kept_memory

PAIRS = 400  # of each group, over all pairs of languages
FEW_STEPS = 8
FEWEST_PAIRS = 10  # that are measured at a checkpoint


def compute(run: Run, thorough: bool = False) -> Finding:
    """Grids of places at 8 checkpoints, the chosen place at all of them, heads and controls at the last.

    Args:
        run: a run with checkpoints.
        thorough: grids at all checkpoints, and as many pairs as there are.
    """
    corpus, n_blocks = run.corpus, run.config.model.n_layers
    facts = np.flatnonzero(corpus.world.seen & corpus.world.complete)
    roles, same = distinct_roles(corpus, facts)
    groups = draw_groups(corpus, corpus.world.n_facts if thorough else PAIRS)
    notes = {
        "layers": n_blocks,
        "heads": run.config.model.n_heads,
        "steps": run.steps,
        "few_steps": list(run.steps if thorough else few_steps(run.steps, FEW_STEPS)),
        "roles": roles,
        "same": same,
        "main_role": MAIN_ROLE,
        "languages": corpus.lexicon.language_names,
        "groups": [name for one in groups for name in PARTS[one.group]],
        "shared_facts": run.config.world.shared_facts,
        "fewest": FEWEST_PAIRS,
    }
    if not groups:
        reason = "no pair of facts of one relation and different values, each told in another language"
        return Finding("patching", [f"Nothing to patch: {reason}."], {"places": pd.DataFrame()}, notes)
    grid = PatchedPlaces(corpus, groups, roles, _grid(n_blocks, len(roles)), n_blocks)
    model = run.model()
    chosen = choose(grid, model)
    notes["place"] = {**grid.named(chosen), "at": chosen}
    chosen_place = PatchedPlaces(corpus, groups, roles, [grid.places[chosen]], n_blocks)
    grid_rows, curve_rows = [], []
    with kept_memory():
        for step in run.steps:
            use_checkpoint(run, step, read_checkpoint(run, step), model)
            if step in notes["few_steps"]:
                grid_rows += [{"step": step} | row for row in interchange_rows(grid, model, FEWEST_PAIRS)]
            rows = interchange_rows(chosen_place, model, FEWEST_PAIRS, with_outcomes=True)
            curve_rows += [{"step": step} | row for row in rows]
    heads = PatchedPlaces(corpus, groups, roles, _by_head(n_blocks, len(roles), run.config.model.n_heads), n_blocks)
    tables = {
        "places": pd.DataFrame(grid_rows),
        "curve": pd.DataFrame(curve_rows),
        "heads": pd.DataFrame(interchange_rows(heads, model, FEWEST_PAIRS)),
        "controls": controls(run, groups, chosen_place, model),
        "beside": _beside(run, thorough),
    }
    return Finding("patching", words(tables, notes), tables, notes)


def _grid(n_blocks: int, n_roles: int) -> list[Place]:
    """The stream after the embeddings, then of each block its parts: what attention and MLP add, and the stream."""
    parts = [("resid_pre", 0)]
    parts += [(name, block) for block in range(n_blocks) for name in ("attn_out", "resid_mid", "mlp_out", "resid_post")]
    return [Place(component, block, role) for component, block in parts for role in range(n_roles)]


def _by_head(n_blocks: int, n_roles: int, n_heads: int) -> list[Place]:
    return [
        Place(component, block, role, head)
        for component in BY_HEAD
        for block in range(n_blocks)
        for head in range(n_heads)
        for role in range(n_roles)
    ]


def _beside(run: Run, thorough: bool) -> pd.DataFrame:
    """Score at each layer from 1 on, recall and transfer at every checkpoint, for curves beside the patches."""
    scores = scores_over_training(run, thorough).pivot(index="step", columns="layer", values="score")
    metrics = run.metrics.set_index("step")[["recall_accuracy", "transfer_accuracy"]].reindex(scores.index)
    rates = metrics.rename(columns=lambda name: str(name).removesuffix("_accuracy"))
    table = rates.join(scores.rename(columns=lambda layer: f"score_{layer}")).reset_index()
    table["reason"] = np.where(table.notna().all(axis=1), "", "no transfer items, or too few facts of a relation")
    return table
