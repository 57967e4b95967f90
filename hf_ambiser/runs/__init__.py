"""One run, from its arguments to its run folder, its scores and its publication."""
