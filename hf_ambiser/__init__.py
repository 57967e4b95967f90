"""hf_ambiser."""
