"""The pipeline that is saved with a model, renewed where it was saved before a decision could have a balance."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from hf_ambiser.files.digest import file_digest
from hf_ambiser.files.read import exists, read_text
from hf_ambiser.models import emotion_pipeline
from hf_ambiser.run_folder.layout import write_whole


logger = logging.getLogger(__name__)
# What the file of before does not know: it would answer the leading class, and say nothing.
_KNOWN = "balance"


def renew_pipeline(model: Path, code: Mapping[str, str]) -> dict[str, str]:
    """Replace the pipeline of a model that knows no balance by the one of today, and say so.

    Args:
        model: Folder of the model.
        code: `code` of the run's results, name -> SHA-256 of the files that were saved with it; {} without a run.

    Returns:
        The same, with the digest of today's file where it lies there. So to calibrate again also mends what a stop
        left between this file and the results. A file that is neither of before nor of today stays as unknown as it
        was.

    Raises:
        FileError: If the file cannot be read.
    """
    source = Path(emotion_pipeline.__file__)
    path = model / source.name
    if not exists(path):
        return dict(code)
    today = source.read_text(encoding="utf-8")
    if _KNOWN not in (text := read_text(path, "Save the model again.")):
        write_whole(path, text := today)
        logger.warning("%s was saved before a decision could have a balance: it is replaced by today's.", path)
    return {**code, path.name: file_digest(path)} if text == today and path.name in code else dict(code)
