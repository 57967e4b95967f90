"""Writes the rows of a benchmark as text: an aligned Markdown table per model, and what its figures mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


_MIB = 2**20
_COLUMNS = (
    "length s",
    "batch",
    "GFLOPs per utterance",
    "extractor ms",
    "forward ms",
    "fastest ms",
    "RTF",
    "utterances/s",
    "memory MiB",
    "runs",
)
NOTE = (
    "GFLOPs: for one utterance; a multiply-add counts 2; matrix products, convolutions, attention and recurrent layers"
    " count, Fourier transforms and element-wise work do not. Extractor: feature extraction and the copy to device;"
    " forward: the model, front end included; mean (standard deviation) over runs after warm-up. Fastest: the fastest"
    " forward pass; trust this one on a machine that also does other work. RTF: (extractor + forward) / (length x"
    " batch), from the means, as are utterances/s. Memory: peak (above the loaded model before its first run)"
)
_OF = {
    "the process, resident": "of the process, resident, with Python and torch",
    "torch's CUDA allocator": "allocated by torch's CUDA allocator, and reserved",
    None: "not measured on this system",
}


def describe(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write tables of all rows; rows of the same model, device, dtype and number of threads share one table."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_key(row), []).append(row)
    parts = [f"{_title(group)}\n\n{aligned(_COLUMNS, [_cells(row) for row in group])}" for group in groups.values()]
    measured = dict.fromkeys((row["memory"] or {}).get("of") for row in rows if "error" not in row)
    memory = "".join(f"; {_OF[of]}" for of in measured)
    return "\n\n".join([*parts, f"{NOTE}{memory}."])


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    case = row["case"]
    return row["model"], case["device"], case["dtype"], case["threads"]


def _title(rows: Sequence[Mapping[str, Any]]) -> str:
    name, device, dtype, _ = _key(rows[0])
    done = next((row for row in rows if "error" not in row), None)
    if done is None:
        return f"**{name}**, {device}, {dtype}"
    threads = "" if device != "cpu" else f", {done['threads']} thread{'s' if done['threads'] > 1 else ''}"
    return f"**{name}**, {done['parameters'] / 1e6:.2f} M parameters, {dtype}, {done['device']}{threads}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    case = row["case"]
    start = [f"{case['length']:.2f}", str(case["batch_size"])]
    if "error" in row:
        return [*start, row["error"], *[""] * (len(_COLUMNS) - 3)]
    return [
        *start,
        f"{row['flops_per_clip'] / 1e9:.3g}" if row["flops_per_clip"] < 1e9 else f"{row['flops_per_clip'] / 1e9:.2f}",
        _milliseconds(row["extractor_s"]),
        _milliseconds(row["forward_s"]),
        f"{1000 * row['forward_s']['min']:.2f}",
        f"{row['rtf']:.2g}",
        f"{row['clips_per_s']:.3g}" if row["clips_per_s"] < 100 else f"{row['clips_per_s']:.0f}",
        _memory(row["memory"]),
        str(row["runs"]),
    ]


def _milliseconds(seconds: Mapping[str, float | None]) -> str:
    sd = seconds["sd"]
    return f"{1000 * (seconds['mean'] or 0):.2f}" + (f" ({1000 * sd:.2f})" if sd is not None else "")


def _memory(memory: Mapping[str, Any] | None) -> str:
    if memory is None:
        return "not measured"
    reserved = f", {memory['reserved'] / _MIB:.0f} reserved" if "reserved" in memory else ""
    return f"{memory['peak'] / _MIB:.0f} (+{(memory['peak'] - memory['before']) / _MIB:.0f}{reserved})"


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table whose columns are also aligned as plain text, to the right."""
    table = [[cell.replace("|", "\\|") for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    lines = ["| " + " | ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in table]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
