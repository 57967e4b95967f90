"""Which utterances of a data set to rate next, and which raters' answers look wrong."""
