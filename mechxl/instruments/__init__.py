"""Instruments that read a model's activations or change them: activations, patching, erasure."""
