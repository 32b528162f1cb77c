"""The model: the HookedTransformer, its lean forward, and its answers to questions."""
