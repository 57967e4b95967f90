"""Metrics in the form that `evaluate.load` takes."""
