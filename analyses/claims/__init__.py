"""Studies of runs: a hypothesis, a grid and a test that were fixed before the runs, and what came out."""
