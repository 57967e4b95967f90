"""The metrics in the form that `evaluate.load` takes."""
