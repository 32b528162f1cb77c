"""How often measures err: their intervals, tests and onsets on planted data whose truth is known."""
