"""How many threads a cell computes with."""

from __future__ import annotations

import os


def threads_of_a_cell(jobs: int) -> int:
    """Return the threads of one of `jobs` cells that run at a time: they share the cores, and each has at least one.

    Cores are those that this process may use. `OMP_NUM_THREADS` is an upper bound, as it is for torch: threads that
    have no core of their own wait for each other at every operation, so on a machine that others use, too, or with two
    studies side by side, more of them can be many times slower.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fair = max(1, cores // jobs)
    given = os.environ.get("OMP_NUM_THREADS", "")
    return min(fair, int(given)) if given.isdecimal() and int(given) else fair
