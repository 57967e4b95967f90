"""Ours and transformers side by side, in one run: same weights, utterances, precision and threads, in turns."""
