"""Rows of a benchmark that was stopped: what its JSON file has, if it was measured as the rest would be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_ambiser.files.read import exists, read_json


def kept_rows(out: Path | None, now: Mapping[str, Mapping[str, Any]], row: Mapping[str, type]) -> list[dict[str, Any]]:
    """Return the rows of a file that have not failed; none if there is no file.

    Args:
        out: JSON file of `rows` and of the entries of `now`.
        now: `environment`, and other entries, of the rows that would be added.
        row: What each row has at least: key -> type.

    Raises:
        ValueError: If the file is another one, or was measured elsewhere or otherwise.
    """
    if out is None or not exists(out):
        return []
    before = read_json(out, "It is not the JSON of a benchmark; give another --out, or delete it.")
    before.check({"rows": [dict(row)], **dict.fromkeys(now, dict)})
    was, would = ({k: v for entry in now for k, v in held[entry].items()} for held in (before, now))
    if changed := sorted(name for name in {**was, **would} if was.get(name) != would.get(name)):
        otherwise = " or otherwise" if len(now) > 1 else ""
        raise ValueError(
            f"{out} was measured in another environment{otherwise} ({', '.join(changed)} differ), so its rows could"
            " not be compared with new ones; give another --out, or delete it."
        )
    return [one for one in before["rows"] if "error" not in one]
