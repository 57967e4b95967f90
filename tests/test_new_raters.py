"""Rater-disjoint scoring: the votes of a test split by raters whom the training side does not know."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.crema_d_tree import made_corpus
from helpers.made_ratings import sixty_rows, tones, write_csv

from hf_ambiser.data.build import build
from hf_ambiser.data.new_raters import votes_of_new_raters
from hf_ambiser.data.ratings.from_ratings import build_from_ratings


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> tuple[Path, list[tuple[str, str, str, str]], dict]:
    """Two raters rate everything; three others differ from speaker to speaker."""
    folder = tmp_path_factory.mktemp("named")
    rows = [(u, r if r in ("r0", "r1") else f"{r}_{s}", label, s) for u, r, label, s in sixty_rows()]
    table = write_csv(folder / "ratings.csv", rows)
    tones(folder / "clips", sorted({f"{row[0]}.wav" for row in rows}))
    report = build_from_ratings(table, folder / "clips", folder / "out", progress=False, no_speakers=False)
    return folder / "out", rows, report.content["configs"]["slc-strict"]["splits"]


def test_the_votes_are_those_of_raters_that_the_training_side_does_not_know(named):
    folder, rows, splits = named
    classes = ("anger", "happiness", "neutral", "sadness")
    for split in [name for name in splits if name.startswith("test") and splits[name]["rows"]]:
        found = votes_of_new_raters(folder, "slc-strict", split)
        by_hand = Counter((u, label) for u, rater, label, _ in rows if rater not in ("r0", "r1"))
        assert found.votes.tolist() == [[by_hand[name, label] for label in classes] for name in found.id]
        assert found.known == 2 and found.new % 3 == 0 and found.new > 0
        assert found.votes.sum() == 3 * len(found.id)
    # Of the split itself nobody is new, and what is not learnt from makes nobody known.
    assert votes_of_new_raters(folder, "slc-strict", split, [split]).votes.sum() == 0
    assert votes_of_new_raters(folder, "slc-strict", split, []).votes.sum() == 5 * len(found.id)
    assert np.array_equal(found.label >= 0, [max(row) > sorted(row)[-2] for row in found.votes.tolist()])


def test_what_cannot_be_told_is_refused(named, tmp_path):
    with pytest.raises(ValueError, match="has no split 'tset'; it has"):
        votes_of_new_raters(named[0], "slc-strict", "tset")
    build("crema_d", made_corpus(tmp_path / "release", per_class=2), tmp_path / "out", configs=["slc-strict"],
          progress=False)  # fmt: skip
    with pytest.raises(ValueError, match="do not name their rater.*finishedResponses.csv"):
        votes_of_new_raters(tmp_path / "out", "slc-strict", "test")
