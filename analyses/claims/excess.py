"""When do the languages unify, once the trained null is taken off: before recall, or after it?

    python -m analyses excess

Question. The page dated unification by the rise of S - W. That curve rises where nothing can unify too: in the trained
null (`world.shared_facts 0`), as the offset that the languages begin with decays. Here unification is the excess of a
run over its null: the run's number less the null's of the same seeds, layer and checkpoint, of S - X first and of
S - W beside it. Two statements of the page are asked again: "unification precedes recall", and "separate first, unified
later" (S - W falls below 0 and rises later).

Known before these runs, of another seed of the default: at layer 1 S - W has risen by half at step 226, in its null at
193; the excess of S - W at 257, that of S - X at 408. So the direction of (b) below is no surprise; these seeds test
it. They were used by the study `rest`, which looked at rest and at transfer only.

Hypothesis, without a side. If S - W dates unification, then it rises at another time than in the null, the excess rises
with it, and the excess precedes recall as S - W does. If its rise is the decay of the offset, it rises at the time of
its null, and the excess later.

Grid, fixed before any of these runs. The default and `world.shared_facts 0`, seeds 24 to 35, everything else at its
default, one thread each. The null of a run is the run `null` of its seed.

Test. Mono facts, same-relation baseline, whole-sample centring, layers 1 and 2. Times are the half-rise that assumes no
shape (question `phases`): of S - X, of S - W and of their excess over the checkpoints, of recall and transfer over the
evaluations. For S - X and S - W, at both layers, over seeds, two-sided exact sign tests of ln ratios:
(a) the run's rise against its null's; (b) the excess against the run's rise; (c) the excess against recall; (d) the
excess against transfer. And (e), at both layers: the excess of S - W at the checkpoint where the run's S - W is lowest
(chosen by the run alone), against 0. 18 tests, Holm; with 12 seeds none can go below .009 after it. A seed where one of
the two does not rise is left out of that test, and counted.

What would refute what. "Unification precedes recall" holds at a layer if the excess of S - X rises earlier than recall
with p <= .05 after Holm; it is refuted if it rises later with p <= .05; otherwise the order can't be told. "S - W dates
unification" is refuted if its excess rises later than it does (b), or if (a) can't tell the run from its null.
"Separate first" is about facts if (e) is below 0; if (e) can't be told from 0, the separation is that of the null.
Described beside: the share of the rise of S - W, from its lowest checkpoint to the end, that the null makes too;
resolved onsets; ends; how far S - X of the nulls scatters over seeds, which the interval of one pair of runs can't
show.
"""

GRID = {
    "seeds": [24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35],
    "base": {"training.threads": 1},
    "runs": [
        {"name": "default"},
        {"name": "null", "world.shared_facts": 0.0},
    ],
}
LAYERS = (1, 2)
