"""Inputs that nobody would write: settings, files and command lines drawn by hypothesis, and what must hold of each.

An input is taken, or refused in one sentence: status 0, 1, 2 or 130, no traceback, less than 5 s and 1 GB, and nothing
changed where it is refused. `python -m tests.fuzz --minutes 10` runs it long; `test_fuzz.py` briefly.
"""
