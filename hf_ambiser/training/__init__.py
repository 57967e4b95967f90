"""What all methods share: the trainer, its arguments, and what an optimiser step sees of a built data set."""
