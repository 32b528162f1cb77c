"""Several runs side by side: groups, clocks, onsets, and paired differences over seeds."""
