"""What leaves this machine: cards that keep a human's edits, the check for what must not leave, the push."""
