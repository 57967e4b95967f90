"""What became of labels in training: corrected labels, recovery from label noise, the history of each utterance."""
