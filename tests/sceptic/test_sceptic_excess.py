"""The excess over the trained null, as the sceptic computes it, against mechxl's finding."""

import numpy as np
import pytest

from mechxl import ask
from tests.sceptic import similarity
from tests.sceptic.reading import Reading

MEASURES = ("alignment", "score")  # S - X, S - W


def parts(reading, step, layer):
    """The score and its parts of mono facts at the prompt's last token, centred on the whole sample."""
    facts = reading.mono()
    h = similarity.centred(reading.stream(step, facts)[layer])
    return similarity.score_parts(h, reading.relation[facts])


def test_the_excess_is_the_run_less_its_null_at_every_checkpoint_and_layer(with_null):
    """Both are read anew: the null has facts, words and parameters of its own."""
    table = ask(with_null, "unification").tables["excess"].query("group == 'mono'")
    run, null = Reading(with_null), Reading(with_null.null)
    shared = run.value[run.mono()]
    assert (shared == shared[:, :1]).all()
    assert not (null.value[null.mono()] == null.value[null.mono()][:, :1]).all()
    for step in with_null.steps:
        for layer in (1, 2):
            own, chance = parts(run, step, layer), parts(null, step, layer)
            records = table.query(f"step == {step} and layer == {layer}").to_dict("records")
            here = {row["measure"]: row for row in records}
            for measure in MEASURES:
                row, ours = here[measure], own[measure] - chance[measure]
                assert row["value"] == pytest.approx(ours, abs=4e-4), (step, layer, measure)
                assert row["run"] == pytest.approx(own[measure], abs=2e-4)
                assert row["null"] == pytest.approx(chance[measure], abs=2e-4)
                assert row["low"] <= row["value"] <= row["high"]
    assert np.isfinite(table.query("layer > 0 and measure == 'alignment'")["value"]).all()
