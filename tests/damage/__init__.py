"""A small run, damaged in every way, and what is read from it: right numbers, a refusal, or a word.

`python -m tests.damage` writes the table of docs/trust.md; `test_damage.py` reads a sample.
"""
