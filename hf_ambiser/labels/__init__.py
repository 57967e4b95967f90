"""Turn ratings into votes and votes into soft labels: policies, counting, models of raters. Needs numpy only."""
