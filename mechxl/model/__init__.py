"""What learns it: the HookedTransformer, its lean forward, its evaluation and its training."""
