"""Find the column of audio in Parquet and Arrow files, as `datasets` stores it: `{bytes, path}`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hf_ambiser.files.read import FileError


if TYPE_CHECKING:
    import pyarrow as pa

_AUDIO = "audio"


def audio_column(schema: pa.Schema, where: Path) -> str:
    """Return the column that holds encoded audio: `audio`, or else the first one of its kind.

    Raises:
        FileError: If there is none.
    """
    kind = [field.name for field in schema if holds_audio(field.type)]
    if not kind:
        raise FileError(
            where, f"has no column of audio ({{bytes, path}}); it has {schema.names}", "Give another source."
        )
    return _AUDIO if _AUDIO in kind else kind[0]


def holds_audio(kind: pa.DataType) -> bool:
    """Whether a column of this type may hold encoded files."""
    import pyarrow as pa

    return pa.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}
