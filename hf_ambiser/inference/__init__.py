"""From recordings to answers: audio in, windows, speech or silence, a model, and what it says."""
