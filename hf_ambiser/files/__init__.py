"""Stored files: one reader for each kind. Every error names the file, what is wrong with it, and the cure.

So does the parser of command lines, which every command takes from here.

It imports nothing else of the package.
"""
