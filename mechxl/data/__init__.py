"""The training data: worlds, languages, mixtures and tokens, and what can be computed about them before training."""
