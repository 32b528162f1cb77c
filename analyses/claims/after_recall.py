"""Does unification go on after recall is complete?

    python -m analyses after_recall

Hypothesis. Once nearly all facts are recalled, the loss has little left to gain; yet transfer and the score of mono
facts keep rising, as weight decay goes on to favour weights that serve both languages at once. (Generalization long
after the training facts are known is what Power et al. 2022 call grokking; nobody has reported it of languages.)

Grid, fixed before any of these runs. The default with 12,000 steps instead of 3,000, evaluated every 100, with a cosine
schedule and with a constant rate: a schedule that falls is itself a cause of late change, and cosine's rate falls four
times as slowly here. Seeds 36 to 47, which no other study uses.

Test. Of each run: the first evaluation at which recall is .99 or more; transfer there, and at the end (the mean over
the last tenth of training); the score of mono facts (layer 1, same-relation baseline) at the nearest checkpoint, and
at the end. Gain = end less there. For each schedule and for both quantities: a two-sided exact sign test over twelve
seeds, with Holm's correction over the four tests, and the mean gain with a t interval. It is refuted for a quantity
and a schedule if the mean gain is not above 0 or p > .05 after Holm. A gain that shows with cosine alone is called an
effect of the schedule. Runs whose recall never reaches .99 are counted and left out. Described only: whether each run
rests (last tenth), and how transfer moves between steps 3,000 and 12,000.
"""

GRID = {
    "seeds": [36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47],
    "base": {"training": {"steps": 12000, "evaluate_every": 100}},
    "runs": [
        {"name": "cosine", "training.schedule": "cosine"},
        {"name": "constant", "training.schedule": "constant"},
    ],
}
