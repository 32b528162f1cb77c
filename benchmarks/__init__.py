"""Measures speed and compares it with peers: `make bench` writes RESULTS.md."""
