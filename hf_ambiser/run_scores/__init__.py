"""All figures of a finished run: those that it stored, and those that its stored predictions give."""
