"""`patch(run, donor=, receiver=, at=)`: patching for notebooks."""

import sys
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool
from numpy.typing import ArrayLike

from mechxl.data.corpus import Corpus
from mechxl.data.roles import PROMPT_ROLES, role_names
from mechxl.errors import InputError
from mechxl.instruments.patching.engine import Patched, run_patches
from mechxl.instruments.patching.pairs import OUTCOMES, Pairs, answered_rightly, draw_pairs, outcomes
from mechxl.instruments.patching.plan import Place
from mechxl.instruments.selection import choose_steps
from mechxl.measures.statistics import wilson_ends
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
    pairs: ArrayLike | Literal["all"] | None = None,
) -> xr.Dataset:
    """Patches a component from donors into receivers at every layer and role, pair by pair.

    Args:
        run: a run with checkpoints.
        donor: language of the donors, by name or number.
        receiver: language of the receivers.
        at: a component: resid_pre, resid_mid, resid_post, attn_out, mlp_out, q, k, v, z or pattern.
        roles: roles of the prompt, or "all".
        layers: for resid_post, 0 (embeddings) to the number of blocks; for the others, from 1. Layer l is
            TransformerLens's block l - 1. None: all.
        heads: for q, k, v, z and pattern: the heads to patch, each alone; None: all heads together.
        step: a saved step; negative: from the end.
        donor_step: the checkpoint that the donors run in; None: `step`.
        mean: mean ablation: the donors' mean replaces each donor's activation. For resample ablation, take donors of
            the receiver's language and look at the receiver's value.
        n: the most pairs. If fewer come back, a line on stderr says how many, and why.
        group: mono or parallel facts.
        seed: of the sample of pairs.
        pairs: None: a sample. "all": as many as can be drawn with no entity in two pairs; n has no effect. Else pairs
            (donor fact, receiver fact) whose facts have one relation and different values. They are all kept, even if
            an unpatched answer is wrong; n, group and seed have no effect.

    Returns:
        By (layer, role, head, pair): outcome (index into OUTCOMES), answer (the decoded value word; empty if it is
        none), log_prob_donor and log_prob_receiver (nats, of the two values in the receiver's language), logit_diff,
        and there (whether both sentences have the role). By (layer, role, head): accuracy (interchange accuracy: the
        share of the n pairs with the role whose answer becomes the donor's value in the receiver's language), low and
        high (Wilson's 95 % interval over pairs; NaN if an entity is in two of the given pairs, as these are not
        independent) and n. Layer l is the output of TransformerLens's block l - 1. The coordinates donor_fact and fact
        name the pairs; in a sample no entity is in two pairs. The attribute `kept` is the share of pairs whose
        unpatched answers are both right.

    Example:
        >>> patched = patch(run, donor="A", receiver="B", at="attn_out")
        >>> patched[["accuracy", "low", "high", "n"]].to_dataframe()  # interchange accuracy by layer and role
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
    sampled, most = True, n if pairs is None else corpus.world.n_facts
    if pairs is None or (isinstance(pairs, str) and pairs == "all"):
        drawn = draw_pairs(corpus, 4 * most, donor=donor, receiver=receiver, group=group, seed=seed)
    else:
        sampled, drawn = False, _given(corpus, pairs, donor, receiver)
    right = answered_rightly(receiver_model, corpus, drawn.fact, drawn.language)
    right &= answered_rightly(donor_model, corpus, drawn.donor_fact, drawn.donor_language)
    if sampled and not right.any():
        raise InputError(
            f"{run.path}, step {receiver_step}: the model answers both facts rightly in none of {len(drawn)} pairs "
            f"of {group} facts (donors in {names[donor]}, receivers in {names[receiver]}); "
            "take a later step or another group (there are: "
            f"{', '.join(sorted(set(corpus.mixture.group) - {'unseen'}))})"
        )
    chosen_pairs = drawn[right][:most] if sampled else drawn
    if pairs is None and len(chosen_pairs) < n:
        print(_fewer(len(chosen_pairs), n, len(drawn), group), file=sys.stderr)
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


def _fewer(kept: int, asked: int, drawn: int, group: str) -> str:
    """Why fewer pairs are patched than were asked for."""
    return (
        f"mechxl: patch: {kept:,} of {asked:,} pairs. The {group} facts give {drawn:,} pairs in which no entity occurs "
        f"twice; in {drawn - kept:,} of them the model's unpatched answer is wrong."
    )


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
    by_place = _accuracy(by_place_and_pair["outcome"] == 0, patched.there, _independent(corpus, pairs))
    return xr.Dataset(
        {name: ((*coordinates, "pair"), values.reshape(shape)) for name, values in by_place_and_pair.items()}
        | {name: (tuple(coordinates), values.reshape(shape[:-1])) for name, values in by_place.items()},
        coords={**coordinates, "donor_fact": ("pair", pairs.donor_fact), "fact": ("pair", pairs.fact)},
    )


def _accuracy(
    hit: Bool[np.ndarray, "place pair"], there: Bool[np.ndarray, "place pair"], independent: bool
) -> dict[str, np.ndarray]:
    """Interchange accuracy by place, with Wilson's interval over pairs and their number; NaN where there is no pair."""
    n = there.sum(axis=1)
    share = np.where(n > 0, (hit & there).sum(axis=1) / np.maximum(n, 1), np.nan)
    low, high = np.full(len(n), np.nan), np.full(len(n), np.nan)
    for count in np.unique(n[n > 0]) if independent else ():
        at = n == count
        variance = share[at] * (1 - share[at]) / max(count - 1, 1)
        low[at], high[at] = wilson_ends(share[at], variance, int(count), int(count))
    return {"accuracy": share, "low": low, "high": high, "n": n}


def _independent(corpus: Corpus, pairs: Pairs) -> bool:
    """Whether no entity is in two pairs."""
    entity = corpus.world.entity[np.stack([pairs.donor_fact, pairs.fact])]
    return len(np.unique(entity)) == entity.size - int((entity[0] == entity[1]).sum())


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
            numbering = " (layer l is block l - 1)" if argument == "layers" else ""
            raise InputError(f"{argument} = {number}: there is none; there are {known[0]} to {known[-1]}{numbering}")
    return chosen
