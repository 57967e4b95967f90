"""How this package draws: figures, panels and colours, and each diagram that a card and a report share."""
