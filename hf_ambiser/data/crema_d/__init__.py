"""The files of a CREMA-D release: its table of votes, its raters' answers, the names of its audio."""
