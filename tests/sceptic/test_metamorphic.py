"""What must not matter is changed in a run: the findings may change in what follows from it, and in nothing else."""

from functools import cache

import numpy as np
import pytest

from mechxl import Run, ask, patch
from tests.sceptic.turned import CHANGES

KEYS = ["step", "layer", "group", "centring", "measure"]
DRAWN = {"procrustes"}  # fitted on a half of the entities that is drawn by their numbers
LOOSE = {"checkerboard": 2e-3, "retrieval": 1e-2, "mexa": 1e-2}  # ties and ranks hang on rounding


@pytest.fixture(scope="module")
def unchanged(readings, found):
    """The run as it is, which has two checkpoints, and the tables about it."""
    return readings("varied").run, found("varied", "unification")


@pytest.fixture(scope="module")
def changed(readings, tmp_path_factory):
    """Gives the run after a change; made once."""

    @cache
    def after(change: str) -> Run:
        return CHANGES[change](readings("varied").run, tmp_path_factory.mktemp("changed") / "run")

    return after


@pytest.fixture(scope="module")
def measured(changed):
    """Gives the tables about a changed run, asked once; not of words renamed, which patching shows for less."""

    @cache
    def tables(change: str) -> dict:
        return ask(changed(change), "unification").tables

    return tables


MEASURED = [change for change in CHANGES if change != "words"]


@pytest.mark.parametrize("change", MEASURED)
def test_every_measure_and_its_null_stay(change, unchanged, measured):
    after = measured(change)
    joined = unchanged[1]["measures"].merge(after["measures"], on=KEYS, suffixes=("", "_after"))
    assert len(joined) == len(unchanged[1]["measures"])
    for row in joined.to_dict("records"):
        if row["measure"] in DRAWN and change in ("entities", "languages"):
            continue
        near = LOOSE.get(row["measure"], 5e-5)
        assert row["value_after"] == pytest.approx(row["value"], abs=near, nan_ok=True), row
        assert row["n_after"] == row["n"]
        if change == "basis":  # nothing is drawn anew
            for number in ("low", "high", "null"):
                assert row[f"{number}_after"] == pytest.approx(row[number], abs=10 * near, nan_ok=True), row
        elif not np.isnan(row["null"]):  # permutations are drawn by entities' numbers and languages' places
            assert row["null_after"] == pytest.approx(row["null"], abs=0.05), row


@pytest.mark.parametrize("change", MEASURED)
def test_pairs_of_languages_change_places_with_the_languages_alone(change, unchanged, measured):
    after = measured(change)
    before, now = unchanged[1]["pairs"], after["pairs"]
    if change == "languages":
        now = now.rename(columns={"from": "to", "to": "from"})
    keys = ["step", "layer", "group", "measure", "from", "to"]
    joined = before.merge(now, on=keys, suffixes=("", "_after"), validate="one_to_one")
    assert len(joined) == len(before) == len(now)
    joined = joined[~joined["measure"].isin(DRAWN)]
    for row in joined.to_dict("records"):
        assert row["value_after"] == pytest.approx(row["value"], abs=LOOSE.get(row["measure"], 5e-5), nan_ok=True), row
    last = before[before["step"] == unchanged[0].steps[-1]]
    w = last.query("measure == 'W' and group == 'mono' and layer == 1").set_index("from")["value"]
    assert abs(w["A"] - w["B"]) > 1e-3  # so that a swap could be seen


@pytest.mark.parametrize("change", CHANGES)
def test_only_a_turn_moves_the_vectors_and_only_new_words_move_the_words(change, unchanged, changed):
    run = changed(change)
    model, old = run.model(-1), unchanged[0].model(-1)
    assert (change != "basis") == bool((model.W_E == old.W_E).all())
    text = [(one.corpus.lexicon.words[one.corpus.lexicon.names[:, 0]]).tolist() for one in (run, unchanged[0])]
    assert (change == "words") == set(text[0]).isdisjoint(text[1])
    assert (sorted(text[0]) == sorted(text[1])) == (change != "words")


@pytest.mark.parametrize("change", ["basis", "words"])
def test_patching_does_not_hang_on_the_basis_or_on_the_words(change, unchanged, changed):
    """Pairs are drawn by entities' numbers, and directions are named by languages: these two changes leave both."""
    run = changed(change)
    before, after = (
        patch(one, donor="A", receiver="B", at="attn_out", group="parallel") for one in (unchanged[0], run)
    )
    assert len(before["pair"]) >= 10
    for column in ("donor_fact", "fact", "outcome"):
        np.testing.assert_array_equal(after[column], before[column])
    for column in ("log_prob_donor", "log_prob_receiver", "logit_diff"):
        np.testing.assert_allclose(after[column], before[column], atol=1e-3)
