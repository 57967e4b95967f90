"""Many runs: a plan, its cells, the processes that run them, and the time they take."""
