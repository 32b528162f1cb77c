"""What a model is and how it runs: the HookedTransformer, its lean forward, and the answers that it gives."""
