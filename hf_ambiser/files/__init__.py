"""Stored files: one reader for each kind. Every error names the file, what is wrong with it, and the cure.

It imports nothing else of the package.
"""
