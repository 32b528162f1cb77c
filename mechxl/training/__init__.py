"""Training: the loop, its batches and metrics, and the run directory that it fills."""
