"""activations(run, ...): a model's activations at any hook, as a labelled lazy array, cached in the run."""
