"""Publish on the Hub: write cards that keep a human's edits, check files for leaks, push in one commit."""
