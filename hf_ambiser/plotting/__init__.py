"""How this package draws: axes, panels and colours, and each figure that a card and a report share."""
