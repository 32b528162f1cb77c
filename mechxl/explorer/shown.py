"""What the explorer shows, as numbers: from a run and a choice, by the instruments and measures that questions use."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from mechxl.explorer.choice import Choice, measured_facts, shown_places
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
    """The facts shown, each in both languages: language by language.

    Attributes:
        fact: of each rendering.
        language: of each rendering.
        text: as a person reads it.
        plane: on the two principal components of all that were measured.
        explained: the share of their variance that these hold, 0 to 1.
        board: cosines of all renderings.
        facts: how many facts were measured.
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
    """What became of a click: a donor's stream in a receiver's run, at every layer and role.

    Attributes:
        donor: (fact, language).
        receiver: (fact, language).
        before: the receiver's answer without a patch; empty: none of the values.
        answer: the word by layer (index) and role (column); empty: none.
        outcome: whose value in whose language each is, an index into OUTCOMES.
        gain: log p of the donor's value less that of the receiver's, both in the receiver's language, in nats.
    """

    donor: tuple[int, int]
    receiver: tuple[int, int]
    before: str
    answer: pd.DataFrame
    outcome: pd.DataFrame
    gain: pd.DataFrame

    def said(self, layer: int, role: str) -> str:
        """What is answered at one place, and what that is."""
        word = self.answer.loc[layer, role]
        return f"{word or 'no value'} ({OUTCOMES[self.outcome.loc[[layer], [role]].to_numpy()[0, 0]]})"


def renderings(run: Run, choice: Choice) -> Renderings:
    """The map and the checkerboard of the facts shown."""
    facts, places = measured_facts(run, choice), shown_places(run, choice)
    h = centre(_vectors(run, choice, choice.step)[choice.layer], choice.centring)
    kept = h[places].transpose(1, 0, 2)  # language by language, as the checkerboard
    plane, explained = np.zeros((kept.shape[0] * kept.shape[1], 2)), 0.0
    if np.ptp(h.reshape(-1, h.shape[2]), axis=0).any():  # else there is nothing to map, as at layer 0 of one token
        plane, explained = principal_plane(h.reshape(-1, h.shape[2]), kept.reshape(-1, h.shape[2]))
    fact, language = np.tile(facts[places], 2), np.repeat(choice.pair, len(places))
    text = [run.corpus.text(int(f), int(a)) for f, a in zip(fact, language, strict=True)]
    return Renderings(fact, language, text, plane, explained, cosine_matrix(h[places]), len(facts))


def curves(run: Run, choice: Choice) -> pd.DataFrame:
    """The score S - W of the facts measured at every checkpoint, a column a layer; NaN where it is not defined."""
    return _curves(run, replace(choice, step=0, layer=0, shown=0))  # what they do not depend on


@lru_cache(maxsize=KEPT)
def _curves(run: Run, choice: Choice) -> pd.DataFrame:
    facts, world = measured_facts(run, choice), run.corpus.world
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
    """The patterns of the block before the layer chosen, on one prompt.

    Returns:
        Rows (head, query's position), columns the key's position; and the prompt's tokens. No rows at layer 0.
    """
    sentence = run.corpus.sequences(np.array([fact]), np.array([language]))
    length = int(sentence.prompt_length[0])
    tokens = [str(run.tokenizer.id_to_token(int(token))) for token in sentence.tokens[0, :length]]
    if choice.layer == 0:
        return pd.DataFrame(columns=range(length)), tokens
    pattern = activations(run, "pattern", steps=choice.step, layers=[choice.layer], facts=[fact], role="all")
    pattern = pattern.isel(language=language, fact=0, layer=0, checkpoint=0)
    position = pattern["position"].values
    asked = {int(at): row for row, at in enumerate(position) if 0 <= at < length}  # roles at one position: one row
    values = pattern.isel(role=[asked[at] for at in sorted(asked)]).transpose("head_index", "role", "key_pos").values
    index = pd.MultiIndex.from_product([range(len(values)), sorted(asked)], names=["head", "position"])
    return pd.DataFrame(values[..., :length].reshape(-1, length), index=index), tokens


def receiver_of(run: Run, choice: Choice, fact: int, language: int) -> tuple[int, int] | None:
    """Whom a fact is patched into: in the pair's other language, the first fact of its relation with another value.

    Of those shown, then of those measured; None where there is none, or the fact has no value.
    """
    world = run.corpus.world
    [other] = set(choice.pair) - {language}
    facts = measured_facts(run, choice)
    for f in np.concatenate([facts[shown_places(run, choice)], facts]).tolist():
        values = world.value[[fact, f]][:, [language, other]]
        alike = world.relation[f] != world.relation[fact] or world.entity[f] == world.entity[fact]
        if not alike and (values >= 0).all() and values[0, 0] not in values[1] and values[0, 1] != values[1, 1]:
            return f, other
    return None


def patched(run: Run, choice: Choice, fact: int, language: int) -> Patched | None:
    """The stream of a fact in one language put into another fact's run in the other; None where there is no receiver.

    Args:
        run: whose model, at the step chosen.
        choice: of the controls.
        fact: the donor.
        language: that the donor is told in.
    """
    if (receiver := receiver_of(run, choice, fact, language)) is None:
        return None
    to, other = receiver
    found = patch(run, donor=language, receiver=other, pairs=[(fact, to)], step=choice.step).isel(head=0, pair=0)
    asked = Questions.of(run.corpus, np.array([to]), np.array([other]))
    before = int(ask_questions(run.model(choice.step), asked, answer_trie(run.corpus)).word[0])
    gain = found["log_prob_donor"] - found["log_prob_receiver"]
    layers, roles = found["layer"].values, found["role"].values
    grids = (pd.DataFrame(grid.values, layers, roles) for grid in (found["answer"], found["outcome"], gain))
    word = str(run.corpus.lexicon.words[before]) if before >= 0 else ""
    return Patched((fact, language), receiver, word, *grids)


def _vectors(run: Run, choice: Choice, step: int) -> Float[np.ndarray, "layer fact two d"]:
    """The stream of the facts measured in the pair's languages, at one checkpoint."""
    h = _stream(run, replace(choice, step=0, layer=0, shown=0, centring=""))
    return h.sel(checkpoint=step).transpose("layer", "fact", "language", "d_model").values.astype(float)


@lru_cache(maxsize=KEPT)
def _stream(run: Run, choice: Choice) -> xr.DataArray:
    """Lazy: what is looked at is read from the run's activations.zarr, or computed and kept there."""
    h = activations(run, "resid_post", facts=measured_facts(run, choice), role=choice.role)
    return h.isel(language=list(choice.pair), role=0)
