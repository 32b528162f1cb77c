"""activations(run, ...): what the model holds at each hook, labelled, lazy, and kept beside the run."""
