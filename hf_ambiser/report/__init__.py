"""The report on a folder of runs: tables, tests, figures, a page to listen to; from run folders and nothing else."""
