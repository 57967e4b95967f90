"""What became of labels in training: which changed, how good they are, recovery from noise, each one's history."""
