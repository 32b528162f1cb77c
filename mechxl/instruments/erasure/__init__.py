"""Edits the residual stream at the positions of the prompt: erases a language (leace) or adds one (steering)."""
