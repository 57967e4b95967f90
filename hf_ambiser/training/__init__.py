"""What all methods share: the trainer and its arguments, and what an optimiser step sees of a built data set."""
