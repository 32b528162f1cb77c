"""Patching by plain hooks against mechxl's `patch`, pair by pair, and against its findings."""

from itertools import product

import numpy as np
import pytest

from mechxl import patch
from tests.sceptic import answering
from tests.sceptic.conftest import NAMES
from tests.sceptic.patching import (
    Pair,
    begins,
    hook_name,
    hooks_of,
    parts,
    patched,
    right,
    sought,
    unification,
    valid_pairs,
)

DONORS_VALUE = 0  # of `outcomes`: the donor's value in the receiver's language
FEWEST = 10  # pairs; with fewer they give no number


@pytest.mark.parametrize("name", NAMES)
def test_every_pair_comes_out_as_under_a_plain_hook(name, readings):
    reading = readings(name)
    step, (a, b) = reading.run.steps[-1], (reading.n_languages - 2, reading.n_languages - 1)
    known = right(reading, step)
    for component, group in (("attn_out", "parallel"), ("resid_post", "mono")):
        theirs = patch(reading.run, donor=reading.languages[a], receiver=reading.languages[b], at=component,
                       group=group, n=40, layers=[1], roles=["name_last", "prompt_last"])  # fmt: skip
        facts = list(zip(theirs["donor_fact"].values.tolist(), theirs["fact"].values.tolist(), strict=True))
        assert facts
        donors, receivers = [(f, a) for f, _ in facts], [(g, b) for _, g in facts]
        assert all(known[item] for item in donors + receivers)
        for role in ("name_last", "prompt_last"):
            here = theirs.sel(layer=1, role=role).isel(head=0)
            answers = patched(reading, step, hook_name(component, 1), donors, receivers, role)
            wanted = [sought(reading, f, a, b) for f, _ in facts]
            shown = [want is not None for want in wanted]
            ours = [begins(answer, want or (-1,)) for answer, want in zip(answers, wanted, strict=True)]
            assert ((here["outcome"].values == DONORS_VALUE) == ours)[shown].all()
            hooks = hooks_of(reading, step, hook_name(component, 1), donors, receivers, role)
            prompts = [reading.prompt(*item) for item in receivers]
            own = [reading.answer(*item) for item in receivers]
            log_p = answering.log_probs(reading.model(step), prompts, own, hooks)
            np.testing.assert_allclose(here["log_prob_receiver"].values, log_p, atol=1e-3)


@pytest.mark.parametrize("name", ["plain", "told"])
def test_accuracy_ceiling_and_null_are_the_sceptics_over_all_pairs(name, readings, found):
    """Theirs draws pairs and uses half of them; the sceptic takes up to 150 of all that are possible.

    The bound is three standard errors of a share of so many pairs as theirs, and one pair more.
    """
    reading = readings(name)
    step, known = reading.run.steps[-1], right(reading, reading.run.steps[-1])
    places, compared = found(name, "patching")["places"], 0
    places = places[(places["step"] == step) & (places["layer"] == 1) & (places["role"] == "prompt_last")]
    for group, (direction, (a, b)) in product(("mono", "parallel"), {"forth": (0, 1), "back": (1, 0)}.items()):
        for part, transfers in parts(group).items():
            here = places.query(f"group == '{part}' and direction == '{direction}'").set_index("component")
            pairs = valid_pairs(reading, known, group, a, b, transfers)
            chosen = np.random.default_rng(0).permutation(len(pairs))[:150]
            for component in ("attn_out", "resid_post"):
                theirs = here.loc[component]
                if theirs["n"] < FEWEST:
                    assert np.isnan(theirs["accuracy"])
                    continue
                ours = unification(reading, step, hook_name(component, 1), "prompt_last",
                                   [pairs[number] for number in chosen], a, b)  # fmt: skip
                for term in ("accuracy", "ceiling", "null"):
                    share = getattr(ours, term)
                    error = np.sqrt(share * (1 - share) / theirs["n"]) + 1 / theirs["n"]
                    assert theirs[term] == pytest.approx(share, abs=3 * error), (part, direction, component, term)
                compared += 1
    assert compared >= 4


def test_on_their_own_pairs_accuracy_ceiling_null_and_causal_unification_are_the_sceptics(readings, found):
    """This run answers all facts rightly, so that `patch` gives the pairs that they draw; every second is measured."""
    reading = readings("told")
    step, known = reading.run.steps[-1], right(reading, reading.run.steps[-1])
    places = found("told", "patching")["places"].query(f"step == {step} and layer == 1 and role == 'prompt_last'")
    drawn = patch(reading.run, donor="A", receiver="B", group="mono", n=100, layers=[1], roles=["prompt_last"])
    assert drawn.attrs["kept"] == 1
    facts = list(zip(drawn["donor_fact"].values.tolist(), drawn["fact"].values.tolist(), strict=True))[1::2]
    for component in ("attn_out", "resid_post"):
        each = []
        for direction, (a, b) in {"forth": (0, 1), "back": (1, 0)}.items():
            pairs = [Pair(*(one if direction == "forth" else one[::-1])) for one in facts]
            pairs = [pair for pair in pairs if known[pair.donor, b]]
            ours = unification(reading, step, hook_name(component, 1), "prompt_last", pairs, a, b)
            each.append((direction, ours))
        for direction, ours in [*each, ("both", each[0][1].joined(each[1][1]))]:
            which = f"component == '{component}' and direction == '{direction}' and group == 'mono, transferred'"
            theirs = places.query(which).iloc[0]
            for term in ("accuracy", "ceiling", "null"):
                assert theirs[term] == pytest.approx(getattr(ours, term), abs=1e-5), (component, direction, term)
            assert theirs["unification"] == pytest.approx(ours.ratio, abs=1e-4), (component, direction)


@pytest.mark.parametrize("name", ["plain", "told"])
def test_causal_unification_is_what_lies_above_the_null(name, found):
    """(accuracy - null) / (ceiling - null), from the three terms that stand beside it."""
    rows = found(name, "patching")["places"].dropna(subset=["unification"])
    assert len(rows)
    above = (rows["accuracy"] - rows["null"]) / (rows["ceiling"] - rows["null"])
    np.testing.assert_allclose(rows["unification"], above, atol=1e-4)
    assert (rows["ceiling"] > rows["null"]).all()
