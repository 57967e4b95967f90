"""The contract on disk: what a run writes, and what a card, a report or another run reads.

It imports nothing else of the package but `untrusted`.
"""
