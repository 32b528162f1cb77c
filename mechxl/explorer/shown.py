"""The numbers that the explorer shows, from a run and a choice; questions use the same instruments and measures."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from mechxl.data.tokenization import token_texts
from mechxl.explorer.choice import Choice, compared_facts, shown_indices
from mechxl.instruments.activations.store import activations
from mechxl.instruments.patching.pairs import OUTCOMES
from mechxl.instruments.patching.patch import patch
from mechxl.measures.projection import principal_plane
from mechxl.measures.sample import Sample, draw_sample
from mechxl.measures.score import score
from mechxl.measures.vectors import centre, cosine_matrix, undefined, unit
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.random import generator
from mechxl.run import Run

KEPT = 16  # choices whose curves and patterns stay in memory


@dataclass(frozen=True)
class Renderings:
    """The facts shown, first all in one language, then all in the other.

    Attributes:
        fact: the fact of each rendering.
        language: the language of each rendering.
        text: the sentence of each rendering.
        plane: coordinates on the two principal components of all compared facts.
        explained: the share of the compared facts' variance along these two components, 0 to 1.
        board: cosines between all renderings.
        facts: how many facts were compared.
    """

    fact: Int[np.ndarray, " rendering"]
    language: Int[np.ndarray, " rendering"]
    text: list[str]
    plane: Float[np.ndarray, "rendering 2"]
    explained: float
    board: Float[np.ndarray, "rendering rendering"]
    facts: int


@dataclass(frozen=True)
class Patched:
    """The result of a click: the donor's stream patched into the receiver's run, at every layer and role.

    Attributes:
        donor: (fact, language).
        receiver: (fact, language).
        before: the receiver's answer without a patch; empty if it is no value word.
        answer: the word that is answered, by layer (index) and role (column); empty if it is no value word.
        outcome: whose value in which language each answer is, as an index into OUTCOMES.
        gain: log p of the donor's value minus log p of the receiver's, both in the receiver's language, in nats.
    """

    donor: tuple[int, int]
    receiver: tuple[int, int]
    before: str
    answer: pd.DataFrame
    outcome: pd.DataFrame
    gain: pd.DataFrame

    def describe(self, layer: int, role: str) -> str:
        """The answer at a layer and role, and whose value it is."""
        word = self.answer.loc[layer, role]
        return f"{word or 'no value'} ({OUTCOMES[self.outcome.loc[[layer], [role]].to_numpy()[0, 0]]})"


def renderings(run: Run, choice: Choice) -> Renderings:
    """The map and the checkerboard of the facts shown."""
    facts, indices = compared_facts(run, choice), shown_indices(run, choice)
    h = centre(_vectors(run, choice, choice.step)[choice.layer], choice.centring)
    vectors = h[indices].transpose(1, 0, 2)  # language by language, as the checkerboard
    plane, explained = np.zeros((vectors.shape[0] * vectors.shape[1], 2)), 0.0
    if np.ptp(
        h.reshape(-1, h.shape[2]), axis=0
    ).any():  # nothing to map if all vectors are equal, as for one token at layer 0
        plane, explained = principal_plane(h.reshape(-1, h.shape[2]), vectors.reshape(-1, h.shape[2]))
    fact, language = np.tile(facts[indices], 2), np.repeat(choice.pair, len(indices))
    text = [run.corpus.text(int(f), int(a)) for f, a in zip(fact, language, strict=True)]
    return Renderings(fact, language, text, plane, explained, cosine_matrix(h[indices]), len(facts))


def curves(run: Run, choice: Choice) -> pd.DataFrame:
    """The score S - W of the compared facts, by checkpoint (row) and layer (column); NaN if it is undefined."""
    return _curves(run, replace(choice, step=0, layer=0, shown=0))  # curves do not depend on these


@lru_cache(maxsize=KEPT)
def _curves(run: Run, choice: Choice) -> pd.DataFrame:
    facts, world = compared_facts(run, choice), run.corpus.world
    rng = generator(0, "explorer score")
    sample = draw_sample(world.relation[facts], world.entity[facts], 2, rng, draws=0, permutations=0)
    rows = {step: [_score(h, choice, sample) for h in _vectors(run, choice, step)] for step in run.steps}
    return pd.DataFrame.from_dict(rows, orient="index")


def _score(h: Float[np.ndarray, "fact two d"], choice: Choice, sample: Sample) -> float:
    centred = centre(h, choice.centring)
    if undefined(h, sample.relation) or not np.linalg.norm(centred, axis=-1).all():
        return np.nan
    return score(unit(centred), sample)["score"].pooled.value


def attention(run: Run, choice: Choice, fact: int, language: int) -> tuple[pd.DataFrame, list[str]]:
    """The attention patterns of the block that writes the chosen layer (block l - 1 for layer l), on one prompt.

    Returns:
        The patterns, with rows (head, query position) and columns key position, and the prompt's tokens. There are no
        rows at layer 0, since no block writes it.
    """
    sentence = run.corpus.sequences(np.array([fact]), np.array([language]))
    length = int(sentence.prompt_length[0])
    shown = token_texts(run.tokenizer)
    tokens = [shown[token] for token in sentence.tokens[0, :length].tolist()]
    if choice.layer == 0:
        return pd.DataFrame(columns=range(length)), tokens
    pattern = activations(run, "pattern", steps=choice.step, layers=[choice.layer], facts=[fact], role="all")
    pattern = pattern.isel(language=language, fact=0, layer=0, checkpoint=0)
    position = pattern["position"].values
    # roles that share a position share a row
    role_at = {int(query): role for role, query in enumerate(position) if 0 <= query < length}
    values = (
        pattern.isel(role=[role_at[query] for query in sorted(role_at)])
        .transpose("head_index", "role", "key_pos")
        .values
    )
    index = pd.MultiIndex.from_product([range(len(values)), sorted(role_at)], names=["head", "position"])
    return pd.DataFrame(values[..., :length].reshape(-1, length), index=index), tokens


def receiver_of(run: Run, choice: Choice, fact: int, language: int) -> tuple[int, int] | None:
    """The receiver that a fact is patched into: a fact of the same relation with another value, in the other language.

    It is the first such fact of those shown, else of those compared; None if there is none or the fact has no value.
    """
    world = run.corpus.world
    [other] = set(choice.pair) - {language}
    facts = compared_facts(run, choice)
    for f in np.concatenate([facts[shown_indices(run, choice)], facts]).tolist():
        values = world.value[[fact, f]][:, [language, other]]
        alike = world.relation[f] != world.relation[fact] or world.entity[f] == world.entity[fact]
        if not alike and (values >= 0).all() and values[0, 0] not in values[1] and values[0, 1] != values[1, 1]:
            return f, other
    return None


def patched(run: Run, choice: Choice, fact: int, language: int) -> Patched | None:
    """Patches a fact's stream in one language into another fact's run in the other; None if there is no receiver.

    Args:
        run: the run whose model is patched, at the chosen step.
        choice: the state of the controls.
        fact: the donor's fact.
        language: the donor's language.
    """
    if (receiver := receiver_of(run, choice, fact, language)) is None:
        return None
    receiver_fact, other = receiver
    effects = patch(run, donor=language, receiver=other, pairs=[(fact, receiver_fact)], step=choice.step)
    effects = effects.isel(head=0, pair=0)
    question = Questions.of(run.corpus, np.array([receiver_fact]), np.array([other]))
    before = int(ask_questions(run.model(choice.step), question, answer_trie(run.corpus)).word[0])
    gain = effects["log_prob_donor"] - effects["log_prob_receiver"]
    layers, roles = effects["layer"].values, effects["role"].values
    grids = (pd.DataFrame(grid.values, layers, roles) for grid in (effects["answer"], effects["outcome"], gain))
    word = str(run.corpus.lexicon.words[before]) if before >= 0 else ""
    return Patched((fact, language), receiver, word, *grids)


def _vectors(run: Run, choice: Choice, step: int) -> Float[np.ndarray, "layer fact two d"]:
    """The residual stream of the compared facts in the pair's languages, at one checkpoint."""
    h = _stream(run, replace(choice, step=0, layer=0, shown=0, centring=""))
    return h.sel(checkpoint=step).transpose("layer", "fact", "language", "d_model").values.astype(float)


@lru_cache(maxsize=KEPT)
def _stream(run: Run, choice: Choice) -> xr.DataArray:
    """The same at every checkpoint, lazily: read from the run's activations.zarr, or computed and kept there."""
    h = activations(run, "resid_post", facts=compared_facts(run, choice), role=choice.role)
    return h.isel(language=list(choice.pair), role=0)
