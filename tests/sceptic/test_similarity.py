"""Measures of unification, as the sceptic computes them, against mechxl's findings about four runs."""

import numpy as np
import pytest

from tests.sceptic import similarity
from tests.sceptic.conftest import NAMES

EXACT = 2e-4  # float32 there, float64 here
WHOLE = {"retrieval": similarity.retrieval, "mexa": similarity.mexa, "cka": similarity.cka}
WHOLE |= {"checkerboard": similarity.checkerboard}


def measured(tables, **where):
    """The values of a finding's table of measures, by measure."""
    table = tables["measures"]
    for column, value in where.items():
        table = table[table[column] == value]
    return dict(zip(table["measure"], table["value"], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_score_and_its_parts_are_the_sceptics_at_first_and_last_and_under_every_centring(name, readings, found):
    reading, tables = readings(name), found(name, "unification")
    for group in ("mono", "parallel", "unseen"):
        facts = np.flatnonzero(reading.group == group)
        for step in (reading.run.steps[0], reading.run.steps[-1]):
            streams = reading.stream(step, facts)
            for layer in (1, streams.shape[0] - 1):
                for centring in ("none", "whole", "per_language"):
                    theirs = measured(tables, step=step, layer=layer, group=group, centring=centring)
                    h = similarity.centred(streams[layer], centring)
                    for measure, ours in similarity.score_parts(h, reading.relation[facts]).items():
                        if measure in theirs:  # groups other than the headline have fewer
                            assert theirs[measure] == pytest.approx(ours, abs=EXACT), (group, step, layer, measure)


@pytest.mark.parametrize("name", NAMES)
def test_retrieval_mexa_cka_and_the_checkerboard_are_the_sceptics(name, readings, found):
    reading, tables = readings(name), found(name, "unification")
    facts, step = reading.mono(), reading.run.steps[-1]
    streams, relation = reading.stream(step, facts), reading.relation[facts]
    for layer in range(1, len(streams)):
        theirs = measured(tables, step=step, layer=layer, group="mono", centring="whole")
        h = similarity.centred(streams[layer])
        for measure, ours in WHOLE.items():
            assert theirs[measure] == pytest.approx(similarity.average(ours, h, relation), abs=2e-3), (layer, measure)


def test_the_permuted_mean_of_the_score_is_x_less_w(readings, found):
    for name in NAMES:
        theirs = found(name, "unification")["measures"].query("measure == 'score' and layer == 1 and group == 'mono'")
        reading = readings(name)
        last = theirs[(theirs["step"] == reading.run.steps[-1]) & (theirs["centring"] == "whole")].iloc[0]
        h = similarity.centred(reading.stream(reading.run.steps[-1], reading.mono())[1])
        parts = similarity.score_parts(h, reading.relation[reading.mono()])
        assert last["null"] == pytest.approx(parts["X"] - parts["W"], abs=0.02), name


def test_the_procrustes_residual_lies_among_those_of_the_sceptics_halves(readings, found):
    """The fitted half is drawn, so theirs must be one of many. Of four runs, only this one has facts enough."""
    reading = readings("told")
    facts, step = reading.mono(), reading.run.steps[-1]
    streams, relation, entity = reading.stream(step, facts), reading.relation[facts], reading.entity[facts]
    rng, seen = np.random.default_rng(0), np.unique(entity)
    for layer in range(1, len(streams)):
        theirs = measured(found("told", "unification"), step=step, layer=layer, group="mono", centring="whole")
        h, ours = similarity.centred(streams[layer]), []
        for _ in range(30):
            fitted = np.isin(entity, rng.permutation(seen)[: (len(seen) + 1) // 2])
            ours.append(
                np.mean(
                    [
                        similarity.procrustes(h[relation == r, a], h[relation == r, b], fitted[relation == r])
                        for r in np.unique(relation)
                        for a, b in ((0, 1), (1, 0))
                    ]
                )
            )
        assert min(ours) - np.std(ours) < theirs["procrustes"] < max(ours) + np.std(ours), (layer, ours)


def test_where_a_relation_has_one_vector_at_the_embeddings_no_measure_is_given(readings, found):
    embedded = found("plain", "unification")["measures"].query("layer == 0")
    h = readings("plain").stream(readings("plain").run.steps[-1], readings("plain").mono())[0]
    relation = readings("plain").relation[readings("plain").mono()]
    for one in np.unique(relation):
        assert np.ptp(h[relation == one], axis=0).max() == 0
    assert embedded["value"].isna().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_turn_and_an_offset_of_one_language_change_what_sees_them_and_nothing_else(name, readings):
    """Real activations, so that the words of the docs about what a measure cannot see are tried on them."""
    reading = readings(name)
    facts = reading.mono()
    relation, h = reading.relation[facts], reading.stream(reading.run.steps[-1], facts)[1]
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(h.shape[2], h.shape[2])))
    turned, moved = h.copy(), h.copy()
    turned[:, 1] = h[:, 1] @ turn
    moved[:, 1] = h[:, 1] + 20 * h.std() * turn[0]

    def read(vectors):
        parts = similarity.score_parts(similarity.centred(vectors), relation)
        return parts | {
            measure: similarity.average(take, similarity.centred(vectors), relation) for measure, take in WHOLE.items()
        }

    plain, after_turn, after_offset, all_turned = read(h), read(turned), read(moved), read(h @ turn)
    for measure, value in plain.items():
        assert all_turned[measure] == pytest.approx(value, abs=1e-9), measure
    assert after_turn["cka"] == pytest.approx(plain["cka"], abs=1e-9)
    assert after_offset["cka"] == pytest.approx(plain["cka"], abs=1e-9)
    for measure in ("alignment", "retrieval", "mexa", "checkerboard"):
        assert after_turn[measure] < plain[measure] / 2, measure
    assert after_offset["score"] < min(plain["score"], -0.5)
