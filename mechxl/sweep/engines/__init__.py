"""What carries the runs of a sweep out."""
