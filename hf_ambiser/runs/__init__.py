"""One run from its arguments to its folder, several of them side by side, and what is read off them."""
