"""Where the time of a piece of work goes: the operators of torch that take most of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

from hf_ambiser.benchmark.against.turns import Clock


MOST = 6  # operators that are listed


def operators(once: Callable[[], Any]) -> dict[str, Any]:
    """Do the work once under torch's profiler, which makes it slower.

    Returns:
        `wall_s`, `outside` (share of it in no operator of torch: Python, numpy, reading files; on one thread), and
        `most`: name, share of the wall time and calls of the operators that take most time themselves.
    """
    with profile(activities=[ProfilerActivity.CPU]) as found:
        clock = Clock()
        once()
        wall = clock.read().wall
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    inside = sum(event.self_cpu_time_total for event in events) / 1e6
    most = [
        {"name": event.key, "share": event.self_cpu_time_total / 1e6 / wall, "calls": event.count}
        for event in events[:MOST]
    ]
    return {"wall_s": wall, "outside": max(0.0, 1 - inside / wall), "most": most}
