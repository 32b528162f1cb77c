"""The patching engine: puts a donor's activation into a receiver's run and reads the answer and its log probability.

Activation patching (interchange intervention: Geiger et al. 2021; Vig et al. 2020): the donor is a fact told in one
language, the receiver is another fact in the same or another language. The donor's component at (layer, role) replaces
the receiver's. Only prompt positions are patched, and the patch stays in place while the whole answer is decoded
greedily. Donors run once. Receivers restart at the patched layer; all roles and heads of a layer run in one batch, and
roles at the same position run once. A donor may come from another checkpoint. The donors' mean may replace each donor's
activation (mean ablation). Resample ablation takes a donor of the receiver's own language.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from mechxl.data.corpus import Corpus
from mechxl.instruments.patching.pairs import Pairs
from mechxl.instruments.patching.plan import PatchPlan, Place
from mechxl.instruments.patching.prompts import KEYS, PatchPrompts, contents
from mechxl.instruments.patching.restart import Restart
from mechxl.model.weights import Weights

ROWS_AT_ONCE = 2048  # so many rows' activations fit into a processor's cache


@dataclass(frozen=True)
class Patched:
    """The results of patches.

    Attributes:
        word: the value word that is decoded; -1: no value word.
        log_prob: of the donor's and the receiver's value in the receiver's language, summed over tokens, in nats.
        logit_diff: the logit of the donor's value minus the logit of the receiver's value, at the first token where
            they differ; NaN if they do not differ.
        there: whether both sentences have the role.
    """

    word: Int[np.ndarray, "place pair"]
    log_prob: Float[np.ndarray, "place pair 2"]
    logit_diff: Float[np.ndarray, "place pair"]
    there: Bool[np.ndarray, "place pair"]

    def split(self, sizes: Sequence[int]) -> list["Patched"]:
        """The results of consecutive parts of the pairs, of these sizes."""
        parts, start = [], 0
        for size in sizes:
            part = slice(start, start + size)
            parts.append(
                Patched(
                    word=self.word[:, part],
                    log_prob=self.log_prob[:, part],
                    logit_diff=self.logit_diff[:, part],
                    there=self.there[:, part],
                )
            )
            start += size
        return parts


def run_patches(
    weights: Weights,
    corpus: Corpus,
    pairs: Pairs,
    roles: Sequence[str],
    places: Sequence[Place],
    *,
    donor_weights: Weights | None = None,
    mean: bool = False,
) -> Patched:
    """Patches every place on every pair at one checkpoint; `run_plan` serves many checkpoints."""
    plan = PatchPlan.of(corpus, pairs, roles, places, len(weights.blocks), weights.W_E.device)
    return run_plan(plan, weights, donor_weights=donor_weights, mean=mean)


@torch.inference_mode()
def run_plan(plan: PatchPlan, weights: Weights, *, donor_weights: Weights | None = None, mean: bool = False) -> Patched:
    """Patches every place on every pair.

    Args:
        plan: places and pairs.
        weights: of the model.
        donor_weights: of the model that the donors run in; None: the same model.
        mean: replace each donor's activation by the donors' mean at its role (mean ablation).

    Returns:
        Results by (place, pair). A pattern fits only prompts of the same length; for other pairs `there` is False.
    """
    needed, n = {place.component for place in plan.places}, len(plan.candidates.tokens)
    receivers = {"resid_pre", "q", *KEYS}
    if donor_weights is None:
        both = contents(weights, plan.both, needed | receivers, plan.donors_at_last)
        from_donors = {key: content[:n] if len(content) > 1 else content for key, content in both.items()}
        unpatched = {key: content[n:] if len(content) > 1 else content for key, content in both.items()}
    else:
        from_donors = contents(donor_weights, PatchPrompts.of([plan.donor]), needed, plan.donors_at_last)
        unpatched = contents(weights, PatchPrompts.of([plan.receiver]), receivers, True)
    places_at_once = max(1, ROWS_AT_ONCE // max(n, 1))
    batches = [
        Restart(
            weights=weights,
            plan=plan,
            place_numbers=place_numbers[first : first + places_at_once],
            from_donors=from_donors,
            unpatched=unpatched,
            block=block,
            start=start,
            mean=mean,
        )
        for (block, start), place_numbers in plan.restarts.items()
        for first in range(0, len(place_numbers), places_at_once)
    ]
    word = np.full((len(plan.places), n), -1)
    log_prob, logit_diff = np.full((*word.shape, 2), np.nan), np.full(word.shape, np.nan)
    finals = [(batch, batch.final()) for batch in batches]
    if finals and plan.trie.longest == 1:  # one-token answers need no further run, so all are decoded together
        joined = replace(batches[0], place_numbers=[number for batch in batches for number in batch.place_numbers])
        finals = [(joined, torch.cat([final for _, final in finals]))]
    for batch, final in finals:
        numbers = batch.place_numbers
        word[numbers], log_prob[numbers], logit_diff[numbers] = batch.answers(final)
    word, log_prob, logit_diff = word[plan.run_at], log_prob[plan.run_at], logit_diff[plan.run_at]
    word[~plan.there], log_prob[~plan.there], logit_diff[~plan.there] = -1, np.nan, np.nan
    return Patched(word, log_prob, logit_diff, plan.there)
