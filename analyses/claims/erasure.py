"""Does the language stand in the way of transfer, once it is erased within each relation?

    python -m analyses erasure

Background. In the default the relation's word tells the language. An eraser that pools relations removes one direction
a language, and leaves the language readable within every relation. One that is fitted within relations removes
relations x (languages - 1) directions. An independent implementation, on one run each, found that the change of
transfer turns round between the two: pooled it falls, within relations it rises (.875 to .954 in the default; .738 to
.877, .803 to .903 and .717 to .852 elsewhere), where controls of equal rank lower it. That was seen before this study;
these runs are new, and nothing else was.

Hypothesis, two-sided. Erasing the language within relations from layer 1 on, at every prompt position, changes transfer
by value. It is open in which direction, and whether controls of equal rank and of equal removed variance do the same.

Grid, fixed before any run. The default; one relation; three languages; informativeness 1. Seeds 0 to 5, one thread,
everything else at its default.

Test. Measured at the last checkpoint, from layer 1 on, on entities that no eraser was fitted on. A run counts where the
erasure is verified: a fresh probe within relations and the language of the answers no longer tell the language (the
question `language_identity` says by which bound). Three differences of transfer by value a run: within relations less
nothing erased; within relations less the random subspace of equal rank; within relations less pooled. Each: two-sided
exact sign test over the runs that count, with Holm's correction over the three, and a t interval by setting. Runs of
one seed share the seeds of world and weights, so the same test over seeds, of the mean over settings, stands beside
(six seeds: p is at least .031). The hypothesis is refuted if the first does not differ from 0 (p > .05 after Holm);
that the language is the cause is refuted if the second does not. Where fewer than six runs count, nothing is concluded,
and the note says so. The rest is described.
"""

from typing import Any

import pandas as pd

from analyses.statistics import Rows
from mechxl.plots import Panel
from mechxl.run import Run

GRID = {
    "seeds": 6,
    "base": {"training.threads": 1},
    "runs": [
        {"name": "default"},
        {"name": "one_relation", "world.n_relations": 1},
        {"name": "three_languages", "languages.count": 3},
        {"name": "informative_1", "mixture.informativeness": 1.0},
    ],
}


def measure(run: Run) -> list[dict[str, Any]]:
    """One run's row."""
    raise NotImplementedError


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """Tables."""
    raise NotImplementedError


def figures(rows: Rows) -> list[Panel]:
    """Figures."""
    raise NotImplementedError
