"""The voice-only votes of a CREMA-D release, straight from its table."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest


needs_crema_d = pytest.mark.skipif("CREMA_D_ROOT" not in os.environ, reason="CREMA_D_ROOT is not set")


def voice_only_votes():
    """`(N, 6)` votes and `(N,)` speakers."""
    with open(Path(os.environ["CREMA_D_ROOT"], "processedResults", "tabulatedVotes.csv"), newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[""].startswith("1")]
    return np.array([[int(row[code]) for code in "ADFHNS"] for row in rows]), [row["fileName"][:4] for row in rows]
