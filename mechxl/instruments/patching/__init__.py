"""patch(run, ...) puts a donor's activation into a receiver's run; the other files are its engine."""
