"""A user's own table of ratings and folder of audio, read as a corpus: `hf-ambiser build --ratings TABLE`."""
