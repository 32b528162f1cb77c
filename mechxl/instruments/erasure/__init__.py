"""The residual stream edited at the positions of the prompt: a language erased (LEACE) or added (steering)."""
