"""From ratings to votes to a soft label: policies, counting, models of raters. Needs numpy only."""
