"""language_identity: how much of the language is in the text and in the model, how easily it is read, and is it used?

Three answers side by side. In the data, exactly: what the language says about values, and what the tokens say about the
language. In the model: linear probes for the language at each layer, role and checkpoint, and readers of the value that
are trained in one language and tried in the other. In its behaviour: recall and transfer after the language is erased
(LEACE) at every prompt position from a layer on, and which language the model answers in after a language is added.
"""

import numpy as np
import pandas as pd
from jaxtyping import Int

from mechxl.config import RunConfig
from mechxl.data.corpus import Corpus, crossed
from mechxl.data.extractability import extractability
from mechxl.data.information import BITS, informativeness, joint, mutual_information
from mechxl.data.roles import role_positions
from mechxl.findings import Finding
from mechxl.questions.common import MAIN_ROLE, distinct_roles, few_steps
from mechxl.questions.language_identity.erasing import erasure_effects
from mechxl.questions.language_identity.readings import language_readings, value_readings
from mechxl.questions.language_identity.steering import steering_effects
from mechxl.questions.language_identity.verified import BOUND
from mechxl.questions.language_identity.words import words
from mechxl.random import generator
from mechxl.run import Run

PROBED_ENTITIES = 200  # in two languages; in more as many as have so many renderings, but no fewer than
LEAST_PROBED = 60
ASKED_ENTITIES = 500  # in each half: one that erasers are fitted on, one that is asked
FOLDS = 3
FEW_STEPS = 8


def compute(run: Run, thorough: bool = False) -> Finding:
    """Probes at all checkpoints where the answer is predicted, and in all roles at 8; erasure and steering.

    Args:
        run: a run with checkpoints.
        thorough: all entities, and every part at all checkpoints.
    """
    corpus = run.corpus
    more = max(corpus.world.n_languages / 2, 1)  # languages: a probe's time grows with them and with renderings
    facts = _facts(corpus, None if thorough else max(LEAST_PROBED, int(PROBED_ENTITIES / more)))
    few = run.steps if thorough else few_steps(run.steps, max(3, int(FEW_STEPS / more)))
    roles, same = distinct_roles(corpus, facts)
    probes, relation_out, codes = language_readings(run, facts, roles, few, FOLDS)
    values = value_readings(run, facts, few, FOLDS)
    fit, asked = halves(corpus, None if thorough else ASKED_ENTITIES)
    at_end = few if thorough else few_steps(few, 3)
    erased, verified = erasure_effects(run, fit, asked, at_end)
    steered = steering_effects(run, fit, asked, run.steps[-1])
    tables = {
        "data": _in_the_data(run.config, corpus),
        "known": _known(corpus, facts, roles),
        "probes": probes,
        "relation_out": relation_out,
        "code_length": codes,
        "values": values,
        "erasure": erased,
        "verified": verified,
        "steering": steered,
        "curves": _curves(run),
    }
    notes = {
        "layers": run.config.model.n_layers,
        "steps": run.steps,
        "few_steps": list(few),
        "erasure_steps": list(at_end),
        "folds": FOLDS,
        "roles": roles,
        "same": same,
        "main_role": MAIN_ROLE,
        "languages": corpus.lexicon.language_names,
        "probed": [len(facts), len(np.unique(corpus.world.entity[facts]))],
        "bound": BOUND,
        "fitted_entities": len(np.unique(corpus.world.entity[fit])),
        "asked_entities": len(np.unique(corpus.world.entity[asked])),
    }
    return Finding("language_identity", words(tables, notes), tables, notes)


def _facts(corpus: Corpus, most: int | None) -> Int[np.ndarray, " fact"]:
    """All facts of a seeded sample of the entities that training names."""
    seen = np.flatnonzero(corpus.world.seen & corpus.world.complete)
    entities = generator(0, "entities probed").permutation(np.unique(corpus.world.entity[seen]))[:most]
    return seen[np.isin(corpus.world.entity[seen], entities)]


def halves(corpus: Corpus, most: int | None) -> tuple[Int[np.ndarray, " fact"], Int[np.ndarray, " fact"]]:
    """Facts to fit on and facts to ask, of different entities; at most so many entities in each half."""
    seen = np.flatnonzero(corpus.world.seen & corpus.world.complete)
    entities = generator(0, "entities erased").permutation(np.unique(corpus.world.entity[seen]))
    most = min(most or len(entities), len(entities) // 2)
    fit, asked = (np.isin(corpus.world.entity[seen], some) for some in (entities[:most], entities[-most:]))
    return seen[fit], seen[asked]


def _in_the_data(config: RunConfig, corpus: Corpus) -> pd.DataFrame:
    """What could be known before any training, in bits."""
    rows = []
    for mono, of in ((True, "mono facts"), (False, "all tellings")):
        found = informativeness(corpus, config.seeds.mixture, mono_only=mono)
        reason = "" if found.tellings else "there are no such tellings"
        rows.append({"quantity": f"I(value; language | relation), {of}", "bits": found.bits, "null": found.shuffled,
                     "n": found.tellings, "reason": reason})  # fmt: skip
    read = extractability(corpus, config.seeds.mixture)
    for quantity, bits in (
        ("H(language)", read.language_bits),
        ("I(language; prompt)", read.prefix_bits[-1]),
        ("online code length of a bag of tokens", read.code_length),
    ):
        why = "exact: no null"
        rows.append({"quantity": quantity, "bits": bits, "null": np.nan, "n": read.coded_entities, "reason": why})
    return pd.DataFrame(rows)


def _known(corpus: Corpus, facts: Int[np.ndarray, " fact"], roles: list[str]) -> pd.DataFrame:
    """Bits that the tokens up to each role, and its own token, give about the language: exact over these prompts."""
    fact, language = crossed(facts, corpus.world.n_languages)
    tokens = corpus.sequences(fact, language).prompts()
    positions = role_positions(corpus, fact, language, roles)
    everywhere, equal = np.zeros(len(fact), dtype=int), np.full(len(fact), 1 / len(fact))
    rows = []
    for role, at in zip(roles, positions.T, strict=True):
        upto = np.where(np.arange(tokens.shape[1]) <= at[:, None], tokens, -1)
        prefix = joint(*upto.T)
        own = tokens[np.arange(len(fact)), at]
        bits = [mutual_information(language, given, everywhere, equal) * BITS for given in (prefix, own)]
        rows.append({"role": role, "prefix_bits": bits[0], "token_bits": bits[1], "n": len(fact)})
    return pd.DataFrame(rows)


def _curves(run: Run) -> pd.DataFrame:
    """Recall and transfer at every evaluation, for curves beside the probes."""
    names = {"recall_accuracy": "recall", "transfer_accuracy": "transfer"}
    table = run.metrics[["step", *names]].rename(columns=names)
    return table.assign(reason=np.where(table.notna().all(axis=1), "", "no transfer items"))
