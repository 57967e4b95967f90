"""What a card says of how many raters a model is worth."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.made_report import made_cell, made_clips, made_whole

from hf_ambiser.cards.facts import Facts
from hf_ambiser.cards.rater_equivalence import worth_in_raters
from hf_ambiser.metrics import rater_equivalence
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_scores.held_out import WHOLE


def facts_of(folder: Path) -> Facts:
    """The facts of a run folder as far as this text reads them."""
    nothing = SimpleNamespace()
    return Facts(FinishedRun.read(folder), {}, nothing, None, nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "skill,words", [(0.45, "is worth **about "), (0.1, "**fewer than 1 rater** "), (1.0, "**more than 4 raters** ")]
)
def test_the_sentence_is_the_function_on_all_test_utterances(tmp_path, skill, words):
    facts = facts_of(made_whole(tmp_path, skill=skill))
    table = facts.scored.predictions(WHOLE)
    answers = (table["probabilities"], table["votes"], table["speaker"])
    found, brier = rater_equivalence(*answers), rater_equivalence(*answers, score="brier")
    text = worth_in_raters(facts, WHOLE)
    assert words in text and text.count(found.interval) >= 1 and f" {brier.interval}. " in text
    assert f"On these {found.n_utterances} utterances the model is worth **" in text and found.n_utterances == 144
    if found.worth.bound == "=":
        assert f"**about {found.worth.value:.1f} raters** {found.interval}" in text
    assert f"{found.curve[0].model:.2f} bit for the model and {found.curve[0].raters:.2f} bit for one other" in text
    assert "smoothed shares" in text and f"over {found.n_speakers} speakers. So few speakers" in text
    assert [worth_in_raters(facts, split) for split in ("d3", "test_clear")] == ["", ""]


def test_where_the_whole_set_is_not_known_every_split_has_it_with_a_warning(tmp_path):
    clips = {"d3": made_clips(n=60), "mine": made_clips(n=60, part="mine", n_speakers=12)}
    facts = facts_of(made_cell(tmp_path, family="ipr-paper", clips=clips))
    assert facts.whole == ""
    assert "The votes themselves decided which utterances are here" in worth_in_raters(facts, "d3")
    mine = worth_in_raters(facts, "mine")
    assert "decided which utterances" not in mine and "So few speakers" not in mine and "over 12 speakers" in mine
    for path in (tmp_path / "predictions").iterdir():
        path.unlink()
    assert worth_in_raters(facts_of(tmp_path), "d3") == ""


def test_why_nothing_can_be_said(tmp_path):
    facts = facts_of(made_cell(tmp_path, family="ipr-paper", clips={"d3": made_clips(n=10)}))
    text = worth_in_raters(facts, "d3")
    assert text == (
        "How many raters the model is worth cannot be said here: 10 utterances have two votes, and 30 are needed."
    )


def test_a_card_of_700_utterances_waits_less_than_two_seconds(tmp_path):
    facts = facts_of(made_cell(tmp_path, family="slc-strict", clips={"test": made_clips(n=700, n_speakers=20)}))
    start = time.perf_counter()
    assert "700 utterances" in worth_in_raters(facts, "test")
    assert time.perf_counter() - start < 2


def test_facts_are_of_the_run_that_they_are_given(tmp_path):
    """`replace` must not keep the completed scores of another run."""
    first = facts_of(made_whole(tmp_path / "a", skill=0.1))
    assert first.scores
    second = replace(first, run=FinishedRun.read(made_whole(tmp_path / "b", skill=3.0)))
    assert not np.isclose(first.scores[WHOLE]["all"]["js"], second.scores[WHOLE]["all"]["js"])
