"""patch(run, ...): a donor's activation in a receiver's run, and the engine behind it."""
