"""How fast it is, against what: `make bench` writes RESULTS.md."""
