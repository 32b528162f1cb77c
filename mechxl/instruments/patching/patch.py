"""`patch(run, donor=, receiver=, at=)`: patching for notebooks."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mechxl.data.corpus import Corpus
from mechxl.data.roles import PROMPT_ROLES, role_names
from mechxl.errors import InputError
from mechxl.instruments.patching.engine import Patched, run_patches
from mechxl.instruments.patching.pairs import OUTCOMES, Pairs, answered_rightly, draw_pairs, outcomes
from mechxl.instruments.patching.plan import Place
from mechxl.instruments.selection import choose_steps
from mechxl.model.blocks import BY_HEAD, COMPONENTS
from mechxl.model.weights import weights_of
from mechxl.run import Run


def patch(
    run: Run,
    *,
    donor: str | int,
    receiver: str | int,
    at: str = "resid_post",
    roles: Sequence[str] | str = "all",
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    step: int = -1,
    donor_step: int | None = None,
    mean: bool = False,
    n: int = 256,
    group: str = "mono",
    seed: int = 0,
    pairs: ArrayLike | None = None,
) -> xr.Dataset:
    """Patches a component from donors into receivers at every layer and role, pair by pair.

    Args:
        run: a run with checkpoints.
        donor: language of the donors, by name or number.
        receiver: language of the receivers.
        at: a component: resid_pre, resid_mid, resid_post, attn_out, mlp_out, q, k, v, z or pattern.
        roles: roles of the prompt, or "all".
        layers: for resid_post, 0 (embeddings) to the number of blocks; for the others, from 1. None: all.
        heads: for q, k, v, z and pattern: the heads to patch, each alone; None: all heads together.
        step: a saved step; negative: from the end.
        donor_step: the checkpoint that the donors run in; None: `step`.
        mean: mean ablation: the donors' mean replaces each donor's activation. For resample ablation, take donors of
            the receiver's language and look at the receiver's value.
        n: the most pairs.
        group: mono or parallel facts.
        seed: of the sample of pairs.
        pairs: None: a sample. Else pairs (donor fact, receiver fact) whose facts have one relation and different
            values. They are all kept, even if an unpatched answer is wrong; n, group and seed have no effect.

    Returns:
        By (layer, role, head, pair): outcome (index into OUTCOMES), answer (the decoded value word; empty if it is
        none), log_prob_donor and log_prob_receiver (nats, of the two values in the receiver's language), logit_diff,
        and there (whether both sentences have the role). The coordinates donor_fact and fact name the pairs; in a
        sample no entity is in two pairs. The attribute `kept` is the share of pairs whose unpatched answers are both
        right.

    Example:
        >>> patched = patch(run, donor="A", receiver="B", at="attn_out")
        >>> (patched["outcome"] == 0).mean("pair")  # interchange accuracy by layer and role
        >>> pair = (int(patched["donor_fact"][0]), int(patched["fact"][0]))
        >>> patch(run, donor="A", receiver="B", pairs=[pair])["answer"].squeeze().to_pandas()  # one pair's answers

    Raises:
        InputError: a component, layer, head, role, language or step is unknown; no pair has both answers right; the
            facts of a given pair differ in relation or have the same value; no pair has a role in both sentences; or
            the model's architecture is not mechxl's.
    """
    corpus, names, model = run.corpus, run.corpus.lexicon.language_names, run.config.model
    if at not in COMPONENTS:
        raise InputError(f"at = {at!r}: there is no such component; there are: {', '.join(COMPONENTS)}")
    donor, receiver = _language(names, donor), _language(names, receiver)
    layers = _choose("layers", layers, range(0 if at == "resid_post" else 1, model.n_layers + 1))
    if heads is not None and at not in BY_HEAD:
        raise InputError(f"heads: {at} has none; {', '.join(BY_HEAD)} have")
    head_choices = [None] if heads is None else _choose("heads", heads, range(model.n_heads))
    chosen_roles = choose_prompt_roles(corpus, roles)
    (receiver_step,) = choose_steps(run, step)
    (from_step,) = choose_steps(run, step if donor_step is None else donor_step)
    receiver_model = run.model(receiver_step)
    donor_model = receiver_model if from_step == receiver_step else run.model(from_step)
    if pairs is None:
        drawn = draw_pairs(corpus, 4 * n, donor=donor, receiver=receiver, group=group, seed=seed)
    else:
        drawn = _given(corpus, pairs, donor, receiver)
    right = answered_rightly(receiver_model, corpus, drawn.fact, drawn.language)
    right &= answered_rightly(donor_model, corpus, drawn.donor_fact, drawn.donor_language)
    if pairs is None and not right.any():
        raise InputError(
            f"{run.path}, step {receiver_step}: the model answers both facts rightly in none of {len(drawn)} pairs "
            f"of {group} facts (donors in {names[donor]}, receivers in {names[receiver]}); "
            "take a later step or another group (there are: "
            f"{', '.join(sorted(set(corpus.mixture.group) - {'unseen'}))})"
        )
    chosen_pairs = drawn[right][:n] if pairs is None else drawn
    places = [
        Place("resid_pre" if at == "resid_post" and not layer else at, max(layer - 1, 0), role, head)
        for layer in layers
        for role in range(len(chosen_roles))
        for head in head_choices
    ]
    patched = run_patches(
        weights_of(receiver_model),
        corpus,
        chosen_pairs,
        chosen_roles,
        places,
        donor_weights=weights_of(donor_model),
        mean=mean,
    )
    if not patched.there.any():
        raise InputError(
            f"roles = {', '.join(chosen_roles)}: no pair has one of them in both sentences"
            + (", with prompts of one length, as a pattern needs; use q, k or v" if at == "pattern" else "")
            + f"; roles: {', '.join(choose_prompt_roles(corpus, 'all'))}"
        )
    coordinates = {
        "layer": layers,
        "role": chosen_roles,
        "head": ["all" if head is None else str(head) for head in head_choices],
    }
    dataset = _dataset(corpus, chosen_pairs, patched, coordinates)
    about = {"component": at, "donor": names[donor], "receiver": names[receiver], "kept": float(right.mean())}
    return dataset.assign_attrs(about, outcomes=list(OUTCOMES))


def _dataset(
    corpus: Corpus, pairs: Pairs, patched: Patched, coordinates: Mapping[str, Sequence[int] | Sequence[str]]
) -> xr.Dataset:
    """The results by layer, role, head and pair."""
    shape = (*map(len, coordinates.values()), len(pairs))
    by_place_and_pair = {
        "outcome": outcomes(corpus, pairs, patched.word),
        "answer": np.where(patched.word < 0, "", corpus.lexicon.words[patched.word]),
        "log_prob_donor": patched.log_prob[..., 0],
        "log_prob_receiver": patched.log_prob[..., 1],
        "logit_diff": patched.logit_diff,
        "there": patched.there,
    }
    return xr.Dataset(
        {name: ((*coordinates, "pair"), values.reshape(shape)) for name, values in by_place_and_pair.items()},
        coords={**coordinates, "donor_fact": ("pair", pairs.donor_fact), "fact": ("pair", pairs.fact)},
    )


def choose_prompt_roles(corpus: Corpus, roles: Sequence[str] | str) -> list[str]:
    """The given roles, or all roles of the prompt; InputError if these prompts lack one."""
    known = [role for role in role_names(corpus) if role in PROMPT_ROLES]
    if roles == "all":
        return known
    asked = [roles] if isinstance(roles, str) else list(roles)
    for role in asked:
        if role not in known:
            raise InputError(f"roles = {role!r}: no such role in these prompts; there are: {', '.join(known)}")
    return asked


def _given(corpus: Corpus, pairs: ArrayLike, donor: int, receiver: int) -> Pairs:
    """The pairs that the caller gives; InputError if a pair can't be patched."""
    asked = np.asarray(pairs)
    if asked.ndim != 2 or asked.shape[1] != 2 or not np.issubdtype(asked.dtype, np.integer):
        raise InputError("pairs: must be a list of pairs (donor fact, receiver fact) of fact numbers")
    world, relation = corpus.world, corpus.world.relation
    for f, g in asked.tolist():
        for fact in (f, g):
            if not 0 <= fact < world.n_facts:
                raise InputError(f"pairs: fact {fact}: there are 0 to {world.n_facts - 1:,}")
            if (world.value[fact, [donor, receiver]] < 0).any():
                raise InputError(f"pairs: fact {fact}: has no value: its entity is unseen; take another fact")
        if relation[f] != relation[g]:
            raise InputError(
                f"pairs: facts {f} and {g} have relations {relation[f]} and {relation[g]}; take two of one relation"
            )
        if world.value[f, donor] == world.value[g, receiver]:
            raise InputError(
                f"pairs: facts {f} and {g} have the same value, so answers can't tell them apart; take others"
            )
    return Pairs.of(asked[:, 0], donor, asked[:, 1], receiver)


def _language(names: Sequence[str], language: str | int) -> int:
    if isinstance(language, str) and language in names:
        return list(names).index(language)
    if isinstance(language, int) and 0 <= language < len(names):
        return language
    raise InputError(f"language {language!r}: there is no such language; there are: {', '.join(names)}")


def _choose(argument: str, asked: Sequence[int] | None, known: range) -> list[int]:
    chosen = list(known) if asked is None else list(asked)
    for number in chosen:
        if number not in known:
            raise InputError(f"{argument} = {number}: there is none; there are {known[0]} to {known[-1]}")
    return chosen
