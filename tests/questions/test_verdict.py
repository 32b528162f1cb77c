"""One verdict from the evidence: no two sentences contradict each other, whatever the evidence is."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from mechxl.measures.excess import Excess
from mechxl.questions.verdict import CausalEvidence, LayerEvidence, verdict

UNKNOWN = Excess(*[math.nan] * 5, n=0, n_null=0, reason="too few facts")


def an_excess(value, half=0.1, null=0.2):
    return Excess(value, value - half, value + half, null + value, null, 100, 90)


def a_layer(layer, alignment, retrieved=0.5, null=0.2):
    found = an_excess(retrieved - null, 0.05, null)
    return LayerEvidence(layer, an_excess(alignment), found, retrieved - 0.05, min(retrieved + 0.05, 1), 0.01)


def causal(value, half=0.1, group="mono facts"):
    return CausalEvidence(group, value, value - half, value + half, 50)


def test_all_that_finds_it_is_unified_and_nothing_is_not():
    found = verdict([a_layer(1, 0.4), a_layer(2, 0.0)], [causal(0.95)])
    assert (found.name, found.layers) == ("unified", (1,))
    nothing = verdict([a_layer(1, 0.05, 0.2)], [causal(0.02)])
    assert (nothing.name, nothing.layers, nothing.why) == ("not unified", (), "")


def test_no_bound_on_the_score_hides_what_the_evidence_finds():
    """Eight languages: a small excess that is clear, retrieval and causal unification high."""
    small = LayerEvidence(1, an_excess(0.07, 0.01), an_excess(0.6, 0.05), 0.8, 0.9, 0.01)
    assert verdict([small], [causal(1.06)]).name == "unified"


def test_where_strands_disagree_it_is_partly_unified_and_says_which():
    found = verdict([a_layer(1, 0.4)], [causal(0.02)])
    assert found.name == "partly unified"
    assert found.why == (
        "The evidence disagrees: the excess of S − X and retrieval find unification, causal unification does not."
    )
    found = verdict([a_layer(1, 0.0, 0.2)], [causal(1.0)])
    assert found.why.startswith("The evidence disagrees: causal unification finds unification, the excess")
    between = verdict([a_layer(1, 0.4)], [causal(0.5)])
    assert between.name == "partly unified"
    assert "between chance (0) and that (1)" in between.why


def test_what_is_unknown_counts_for_nothing_and_is_said():
    found = verdict([a_layer(1, 0.4)], [], "patching was not asked of this run")
    assert found.name == "unified"
    assert "vectors alone" in found.why
    assert "patching was not asked" in found.sentences()[0]
    undefined = CausalEvidence("mono facts", math.nan, math.nan, math.nan, 3, "3 pairs")
    assert "mono facts: 3 pairs" in verdict([a_layer(1, 0.4)], [undefined]).sentences()[0]
    assert verdict([a_layer(1, 0.4)], [undefined, causal(0.02, group="parallel facts")]).name == "partly unified"
    nothing = LayerEvidence(1, UNKNOWN, UNKNOWN, math.nan, math.nan, 0.01)
    assert verdict([nothing], [causal(1.0)]).name == "undecided"
    assert "no checkpoint in common" in verdict([]).sentences()[0]


def test_retrieval_that_is_full_in_both_says_nothing():
    full = LayerEvidence(1, an_excess(0.3), an_excess(0.0, 0.01, 1.0), 0.99, 1.0, 0.01)
    found = verdict([full], [causal(1.0)])
    assert found.name == "unified"
    assert "no room to be more" in found.sentences()[0]


numbers = st.floats(-0.5, 1.5)
halves = st.floats(0.0, 0.6)
excesses = st.one_of(st.just(UNKNOWN), st.builds(an_excess, numbers, halves, st.floats(0, 1)))
layers = st.builds(
    lambda alignment, retrieval, low, width: (alignment, retrieval, low, min(low + width, 1.0)),
    excesses, excesses, st.floats(0, 1), st.floats(0, 0.3),
)  # fmt: skip
causes = st.one_of(
    st.builds(causal, numbers, halves, st.sampled_from(["mono facts", "parallel facts"])),
    st.just(CausalEvidence("mono facts", math.nan, math.nan, math.nan, 0, "no pairs")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(layers, max_size=4), st.lists(causes, max_size=2))
def test_no_two_sentences_contradict_each_other(evidence, caused):
    found = verdict(
        [LayerEvidence(i, *one, chance=0.01) for i, one in enumerate(evidence, start=1)], caused, "not asked"
    )
    said = " ".join(found.sentences())
    sides = {strand.found for strand in found.strands} - {None}
    assert "nan" not in said
    assert ("exceeds that of the trained null" in said) == bool(found.layers)
    if found.name == "unified":
        assert sides == {True}
        assert found.layers
        assert "not above chance" not in said.partition("causal")[2]
    if found.name == "not unified":
        assert sides == {False}
        assert not found.layers
        assert "exceeds" not in said
        assert "above 0" not in said
    if found.name == "partly unified":
        assert found.why
        assert True in sides
        assert ("disagrees" in found.why) == (sides == {True, False})
    if found.name == "undecided":
        assert found.strands[0].found is None
        assert not found.layers
    assert [sentence[-1] for sentence in found.sentences()] == ["."] * len(found.sentences())
