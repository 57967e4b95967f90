"""Writes the rows of the side-by-side benchmark as text: the Markdown table that the documentation holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hf_ambiser.benchmark.against.rows import FASTER, reached
from hf_ambiser.benchmark.table import aligned


_COLUMNS = ("what", "encoder", "ours", "the other", "ratio (95 %)", "goal", "reached", "rounds")
NOTE = (
    "Times are the median over rounds (least to most), of all utterances of a round; rounds alternate, ours then the"
    " other. Ratio: mean of the rounds' ratios with its 95 % interval. Reached: 'yes' and 'no' are certain by the"
    " interval, with a question mark the interval holds the goal"
)


def describe_against(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the table, then the streams, what else was found in each row, and where its time goes."""
    compared = [row for row in rows if "ratio" in row]
    parts = [aligned(_COLUMNS, [_cells(row) for row in compared]), f"{NOTE}."] if compared else []
    parts += [_stream(row) for row in rows if "rtf" in row.get("figures", {})]
    remarks = [f"- {row['row']}, against {row['other']}: {_remark(row)}" for row in compared]
    remarks += [f"- {row['row']} failed: {row['error']}" for row in rows if "error" in row]
    parts += ["\n".join(remarks)] if remarks else []
    parts += [_operators(row) for row in rows if row.get("operators")]
    return "\n\n".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    ours, other = row["wall_s"].values()
    ratio = row["ratio"]
    value = f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
    goal = f"{'>=' if row['meaning'] == FASTER else '<='} {row['goal']:g}"
    return [row["what"], row["encoder"], _seconds(ours), _seconds(other), value, goal, verdict(row), str(len(ours))]


def verdict(row: Mapping[str, Any]) -> str:
    """Say whether the goal was reached, with a question mark where the interval holds it."""
    ratio, goal = row["ratio"], row["goal"]
    certain = not ratio["low"] < goal < ratio["high"]
    return ("yes" if reached(row) else "no") + ("" if certain else "?")


def _seconds(rounds: Sequence[float]) -> str:
    middle, least, most = statistics.median(rounds), min(rounds), max(rounds)
    if middle < 1:
        return f"{1000 * middle:.3g} ms ({1000 * least:.3g} to {1000 * most:.3g})"
    return f"{middle:.3g} s ({least:.3g} to {most:.3g})"


def _remark(row: Mapping[str, Any]) -> str:
    ours, other = (row["utterances"] / statistics.median(rounds) for rounds in row["wall_s"].values())
    cpu = row["cpu_ratio"]
    said = [
        f"{ours:.3g} and {other:.3g} utterances/s",
        f"ratio of processor times {cpu['value']:.2f} ({cpu['low']:.2f} to {cpu['high']:.2f})",
    ]
    return "; ".join([*said, *([row["note"]] if row["note"] else [])]) + "."


def _stream(row: Mapping[str, Any]) -> str:
    figures = row["figures"]
    cells = [
        [name, *(f"{figures[key][which]:.3g}" for which in ("median", "p95", "max"))]
        for name, key in (("with an answer", "answer_ms"), ("without one", "chunk_without_answer_ms"))
    ]
    about = (
        f"Stream, {row['encoder']}: chunks of {figures['chunk_s']:g} s, a window of {figures['window_s']:g} s, an"
        f" answer every {figures['hop_s']:g} s ({figures['answers']} answers); real-time factor {figures['rtf']:.3f}."
    )
    return f"{about}\n\n{aligned(('chunk', 'median ms', '95 % below', 'most'), cells)}"


def _operators(row: Mapping[str, Any]) -> str:
    lines = [f"Where the time of {row['row']} goes, under torch's profiler:"]
    for way, found in row["operators"].items():
        most = ", ".join(f"{one['name']} {100 * one['share']:.0f} % ({one['calls']})" for one in found["most"])
        lines.append(
            f"- {way}, {found['wall_s']:.2f} s: {most}; outside torch's operators {100 * found['outside']:.0f} %"
        )
    return "\n".join(lines)
