"""Whether a folder can be written to, found out before long work."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def try_to_write(folder: Path) -> None:
    """Write a few bytes into a folder and delete them.

    Raises:
        OSError: With the cure, if that is not possible.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".hf_ambiser-") as file:
            file.write(b"0" * 65536)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            f"nothing can be written into {folder} ({error.strerror or error}). Free space there, or give yourself the"
            " right to write (chmod u+w, or mount it without `ro`), or choose another --out."
        ) from error
