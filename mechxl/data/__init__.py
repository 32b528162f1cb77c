"""What is told: worlds, languages, mixtures, tokens, and what is known about them before any training."""
