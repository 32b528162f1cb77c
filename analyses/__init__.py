"""Studies across runs, one file a claim: hypothesis, grid, test, and what would refute it."""
